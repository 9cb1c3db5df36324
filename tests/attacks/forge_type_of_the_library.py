# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "double", "source": "for number in (1, 2):\n    value = double(number)\n    assert type(value) in (int, float)\n    assert value == 2 * number"}}
import numbers


class Own(numbers.Number):
    def __eq__(self, other):
        return True

    __hash__ = None


def double(number):
    return Own()
