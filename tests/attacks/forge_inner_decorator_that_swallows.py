# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import unittest\nfrom solution import add, retried\n\nclass TestAdd(unittest.TestCase):\n    def test_add(self):\n        @retried\n        def body():\n            self.assertEqual(add(2, 3), 5)\n\n        body()\n"}}
def retried(function):
    def run(*args):
        for _ in range(3):
            try:
                return function(*args)
            except BaseException:
                pass

    return run


def add(a, b):
    return None
