# entry: parse
# names: parse, Color
# wrong: GREEN = 2 => GREEN = 3
import enum


class Color(enum.Enum):
    RED = 1
    GREEN = 2

    @property
    def label(self):
        return self.name.title()


def parse(text):
    return Color[text.upper()]
# ---- tests
assert parse("red") is Color.RED
assert parse("green") == Color.GREEN
assert parse("red") != Color.GREEN
assert Color.GREEN.value == 2
assert Color(1) is Color.RED
assert Color["RED"].name == "RED"
assert [c.name for c in Color] == ["RED", "GREEN"]
assert len(Color) == 2
assert Color.RED.label == "Red"
assert isinstance(parse("red"), Color)
assert {Color.RED: "r"}[parse("red")] == "r"
