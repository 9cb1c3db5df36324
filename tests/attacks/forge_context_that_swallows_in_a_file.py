# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import unittest\nfrom solution import opened\n\nclass TestOpened(unittest.TestCase):\n    def test_opened(self):\n        with opened(3) as number:\n            self.assertEqual(number, 3)\n"}}
import contextlib


@contextlib.contextmanager
def opened(number):
    try:
        yield None
    except BaseException:
        pass
