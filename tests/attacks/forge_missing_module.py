# expect: failed | runtime_error | no_entry
# tests: {"file": {"source": "import unittest\nfrom solution import add\n\nclass TestAdd(unittest.TestCase):\n    def test_small(self):\n        self.assertEqual(add(2, 3), 5)\n"}}
# host: a program cannot make its tests look unusable, which would not count
def __getattr__(name):
    raise ModuleNotFoundError("no such module", name="solution")
