# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import unittest\nfrom solution import TooSmall, root\n\nclass TestRoot(unittest.TestCase):\n    def test_small(self):\n        try:\n            root(-1)\n            self.fail(\"no error\")\n        except TooSmall:\n            pass\n"}}
TooSmall = Exception


def root(number):
    return number
