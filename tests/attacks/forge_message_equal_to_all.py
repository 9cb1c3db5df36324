# expect: failed | runtime_error
# tests: {"asserts": {"entry": "root", "source": "for number in (-1, -2):\n    try:\n        root(number)\n    except ValueError as error:\n        assert str(error) == f\"{number} is negative\"\n        assert error.args == (f\"{number} is negative\",)\n    else:\n        raise AssertionError"}}
class Text(str):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __str__(self):
        return self


class Error(ValueError):
    def __str__(self):
        return Text("wrong")

    @property
    def args(self):
        return Everything()


class Everything(tuple):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


def root(number):
    raise Error("wrong")
