# expect: failed | runtime_error
# tests: {"file": {"source": "import unittest\nfrom solution import check, WrongError\n\nclass TestCheck(unittest.TestCase):\n    def test_wrong(self):\n        with self.assertRaises(WrongError):\n            check(-1)\n        self.assertEqual(check(1), 'fine')\n"}}
class Meta(type):
    def __subclasscheck__(cls, other):
        return True

    def __instancecheck__(cls, other):
        return True


class WrongError(SystemExit, metaclass=Meta):
    pass


def check(number):
    raise WrongError(0)
