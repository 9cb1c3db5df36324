# expect: passed
# tests: {"file": {"source": "import unittest\nfrom solution import add\n\nclass TestAdd(unittest.TestCase):\n    def test_small(self):\n        self.assertEqual(add(2, 3), 5)\n    def test_zero(self):\n        self.assertEqual(add(-4, 4), 0)\n    def test_text(self):\n        with self.assertRaises(TypeError):\n            add('a', 1)\n"}}
def add(a, b):
    return a + b
