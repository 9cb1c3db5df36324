# expect: failed | runtime_error
# tests: {"file": {"source": "import unittest\nfrom solution import *\nimport solution\n\nclass TestAdd(unittest.TestCase):\n    def test_small(self):\n        self.assertEqual(solution.add(2, 3), 5)\n"}}
__all__ = ["unittest", "TestAdd", "load_tests", "print", "add", "__name__"]


class TestAdd:
    def test_small(self):
        pass


unittest = TestAdd


def load_tests(*arguments):
    return []


def add(a, b):
    return None
