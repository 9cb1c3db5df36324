# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import unittest\nfrom solution import Stack\n\nclass TestStack(unittest.TestCase):\n    def test_stack(self):\n        stack = Stack()\n        stack.push(3)\n        self.assertEqual(stack.pop(), 3)\n        self.assertTrue(stack.empty)\n"}}
import unittest.mock


def Stack():
    return unittest.mock.MagicMock()
