# expect: failed | runtime_error
# tests: {"asserts": {"entry": "add", "source": "for a in range(8):\n    assert add(a, 1) == a + 1"}}
import unittest

errors = iter([GeneratorExit, KeyboardInterrupt, SystemExit, StopIteration, StopAsyncIteration, unittest.SkipTest, BaseException, AssertionError])


def add(a, b):
    raise next(errors)
