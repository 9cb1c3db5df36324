# entry: level
# names: level, Level, Perm
# wrong: HIGH = 10 => HIGH = 7
import enum


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Perm(enum.Flag):
    R = 4
    W = 2


def level(n):
    return Level.HIGH if n > 5 else Level.LOW
# ---- tests
assert level(9) == Level.HIGH
assert level(9) == 10
assert level(1) < level(9)
assert level(1).name == "LOW"
assert (Perm.R | Perm.W).value == 6
assert Perm.R in (Perm.R | Perm.W)
