# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "double", "source": "for number in (1, 2):\n    assert isinstance(double(number), int)\n    assert type(double(number)) is int\n    assert double(number) == 2 * number"}}
class Lie:
    __class__ = int

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __index__(self):
        return 0


Lie.__name__ = Lie.__qualname__ = "int"
Lie.__module__ = "builtins"


def double(number):
    return Lie()
