# expect: failed | runtime_error
# tests: {"file": {"source": "import unittest\nfrom solution import add\n\nclass TestAdd(unittest.TestCase):\n    def test_small(self):\n        self.assertEqual(add(2, 3), 5)\n    def test_zero(self):\n        self.assertEqual(add(-4, 4), 0)\n"}}
import unittest

unittest.TestCase.assertEqual = lambda *_: None
unittest.TestCase.run = unittest.TestSuite.run = lambda self, result=None, debug=False: result
unittest.TestResult.wasSuccessful = lambda self: True
unittest.main = lambda *_, **__: print("OK")


def add(a, b):
    return None
