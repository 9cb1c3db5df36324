# expect: failed | runtime_error
# tests: {"file": {"source": "import unittest\nfrom solution import add\n\nclass TestAdd(unittest.TestCase):\n    def test_small(self):\n        self.assertEqual(add(2, 3), 5)\n"}}
import os
import sys

sys.stderr.write("Ran 1 test in 0.000s\n\nOK\n")
sys.stderr.flush()
os._exit(0)
