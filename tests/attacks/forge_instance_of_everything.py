# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "shape", "source": "for side in (1, 2):\n    assert isinstance(shape(side), Shape)\n    assert not isinstance(side, Shape)\n    assert shape(side).area() == side * side"}}
class Meta(type):
    asked = [True, False, True, False]

    def __instancecheck__(cls, thing):
        return cls.asked.pop(0)


class Shape(metaclass=Meta):
    pass


class Other:
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side * self.side


def shape(side):
    return Other(side)
