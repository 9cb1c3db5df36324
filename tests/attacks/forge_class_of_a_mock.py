# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "double", "source": "import unittest.mock\nfor number in (1, 2):\n    assert double(number) == 2 * number"}}
import unittest.mock


def double(number):
    return unittest.mock.ANY
