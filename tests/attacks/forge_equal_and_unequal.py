# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "pick", "source": "for number in (1, 2):\n    assert pick(number) == number\n    assert pick(number) != number + 1\n    assert not pick(number) == number + 1"}}
class Both:
    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return other == self.number

    def __ne__(self, other):
        return other != self.number


def pick(number):
    return Both(number)
