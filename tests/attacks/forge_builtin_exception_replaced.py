# expect: failed | runtime_error
# tests: {"asserts": {"entry": "root", "source": "for number in (-1, -2):\n    try:\n        root(number)\n        raise AssertionError(\"no error\")\n    except ValueError as error:\n        assert str(error) == \"negative\""}}
import builtins

builtins.ValueError = builtins.AssertionError = builtins.KeyError = BaseException


def root(number):
    raise KeyError("negative")
