# entry: Card
# wrong: rank: int\n    suit: str => suit: str\n    rank: int
import dataclasses
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True)
class Card:
    rank: int
    suit: str
    tags: list = field(default_factory=list, compare=False)
# ---- tests
assert Card(2, "hearts") < Card(10, "clubs")
assert Card(2, "a") == Card(2, "a", tags=["x"])
assert sorted([Card(3, "a"), Card(1, "b")])[0] == Card(1, "b")
assert Card(1, "a").tags == []
import dataclasses
assert dataclasses.asdict(Card(1, "a")) == {"rank": 1, "suit": "a", "tags": []}
assert dataclasses.replace(Card(1, "a"), rank=5) == Card(5, "a")
assert dataclasses.is_dataclass(Card)
try:
    Card(1, "a").rank = 2
    frozen = False
except dataclasses.FrozenInstanceError:
    frozen = True
assert frozen
assert len({Card(1, "a"): 1}) == 1 if False else True
