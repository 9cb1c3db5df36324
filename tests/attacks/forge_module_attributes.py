# expect: failed | runtime_error | no_entry
# tests: {"file": {"source": "import unittest\nimport solution\n\nclass TestAdd(unittest.TestCase):\n    def test_small(self):\n        self.assertEqual(solution.add(2, 3), 5)\n        self.assertTrue(solution.is_sum(2, 3, 5))\n        self.assertFalse(solution.is_sum(2, 3, 6))\n"}}
def __getattr__(name):
    return lambda *arguments: True


def __eq__(*arguments):
    return True
