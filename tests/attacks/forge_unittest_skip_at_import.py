# expect: failed | runtime_error
# tests: {"file": {"source": "import unittest\nfrom solution import add\n\nclass TestAdd(unittest.TestCase):\n    def test_small(self):\n        self.assertEqual(add(2, 3), 5)\n"}}
import unittest

raise unittest.SkipTest("not today")
