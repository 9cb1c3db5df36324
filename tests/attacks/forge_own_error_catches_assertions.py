# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import unittest\nfrom solution import TooSmall, root\n\nclass TestRoot(unittest.TestCase):\n    def test_small(self):\n        try:\n            root(-1)\n            self.fail(\"no error\")\n        except TooSmall:\n            pass\n"}}
class Meta(type(Exception)):
    def __instancecheck__(cls, thing):
        return True

    def __subclasscheck__(cls, kind):
        return True


class TooSmall(AssertionError, metaclass=Meta):
    pass


def root(number):
    return number
