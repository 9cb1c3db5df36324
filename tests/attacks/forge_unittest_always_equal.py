# expect: failed | runtime_error
# tests: {"file": {"source": "import unittest\nfrom solution import add\n\nclass TestAdd(unittest.TestCase):\n    def test_small(self):\n        self.assertEqual(add(2, 3), 5)\n    def test_zero(self):\n        self.assertEqual(add(-4, 4), 0)\n"}}
class Equal:
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


def add(a, b):
    return Equal()
