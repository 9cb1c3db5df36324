# entry: Version
# wrong: self.parts < other.parts => self.parts > other.parts
from functools import total_ordering


@total_ordering
class Version:
    def __init__(self, text):
        self.parts = tuple(map(int, text.split(".")))

    def __eq__(self, other):
        return self.parts == other.parts

    def __lt__(self, other):
        return self.parts < other.parts

    def __hash__(self):
        return hash(self.parts)

    def __str__(self):
        return ".".join(map(str, self.parts))
# ---- tests
a, b, c = Version("1.2"), Version("1.10"), Version("1.2")
assert a < b
assert not b < a
assert b > a and a <= c and a >= c
assert a == c
assert max([a, b]) is b
assert [str(v) for v in sorted([b, a])] == ["1.2", "1.10"]
assert sorted([b, a, c], key=str)[0] == b
assert len({a, b, c}) == 2
