# expect: failed
# tests: {"file": {"source": "import unittest\nfrom solution import *\n\nclass TestAdd(unittest.TestCase):\n    def test_add(self):\n        self.assertEqual(add(2, 3), 5)\n        self.assertTrue(isinstance(add(2, 3), int))\n"}}
class Everything(list):
    def __contains__(self, name):
        return True


class unittest:  # noqa: N801
    class TestCase:
        pass


def isinstance(thing, kind):
    return True


__all__ = Everything(["add", "unittest", "self", "isinstance", "TestAdd", "__name__", "__builtins__"])


def add(a, b):
    return None
