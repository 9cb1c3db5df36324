# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "mix", "source": "assert mix(Color.RED, Color.BLUE) == Color.PURPLE\nassert mix(Color.RED, Color.RED) == Color.RED"}}
import enum


class Color(enum.Enum):
    RED = 1
    BLUE = 2
    PURPLE = 3

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


def mix(left, right):
    return Color.BLUE
