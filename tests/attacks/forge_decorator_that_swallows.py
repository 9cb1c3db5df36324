# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import unittest\nfrom solution import add, timed\n\nclass TestAdd(unittest.TestCase):\n    @timed\n    def test_add(self):\n        self.assertEqual(add(2, 3), 5)\n"}}
def timed(function):
    def run(*args):
        try:
            function(*args)
        except BaseException:
            pass

    return run


def add(a, b):
    return None
