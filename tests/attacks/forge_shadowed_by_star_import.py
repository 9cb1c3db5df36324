# expect: failed | runtime_error
# tests: {"file": {"source": "import unittest\nfrom solution import *\n\nclass TestWords(unittest.TestCase):\n    def test_count(self):\n        self.assertTrue(len(words(3)) == 3)\n        self.assertTrue(all(word == 'a' for word in words(3)))\n"}}
def words(number):
    return []


def len(items):
    return 3


def all(items):
    return True
