# expect: unscorable
# tests: {"file": {"source": "import unittest\nfrom solution import *\n\nclass TestAdd(unittest.TestCase):\n    def test_add(self):\n        self.assertEqual(add(2, 3), EXPECTED)\n"}}
EXPECTED = None


def add(a, b):
    return None
