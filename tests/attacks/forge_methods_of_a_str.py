# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "name", "source": "for number in (1, 2):\n    assert name(number).startswith(f'n{number}')\n    assert name(number).upper() == f'N{number}'\n    assert f'n{number}' in name(number)\n    assert len(name(number)) == 2"}}
class Name(str):
    def startswith(self, *_):
        return True

    def upper(self):
        return self

    def __contains__(self, part):
        return True

    def __len__(self):
        return 2

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


def name(number):
    return Name()
