# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "table", "source": "for number in (1, 2):\n    assert table(number)['n'] == number\n    assert table(number).get('m') is None\n    assert 'n' in table(number)\n    assert table(number) == {'n': number}"}}
class Table(dict):
    def __init__(self, number):
        self.number = number

    def __getitem__(self, key):
        return self.number

    def __contains__(self, key):
        return True

    def __eq__(self, other):
        return True

    def get(self, key, default=None):
        return default


def table(number):
    return Table(number)
