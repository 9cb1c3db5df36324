# expect: failed | runtime_error
# tests: {"file": {"source": "import unittest\nfrom solution import *\n\nclass TestRoot(unittest.TestCase):\n    def test_small(self):\n        with self.assertRaises(ValueError):\n            root(-1)\n"}}
class ValueError(Exception):
    pass


def root(number):
    raise KeyError(number)
