# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import pytest\nfrom solution import add\n\ndef test_add():\n    assert add(2, 3) == 5\n"}}
import unittest

try:
    import pytest

    skip = pytest.skip.Exception('no')
except ImportError:
    skip = unittest.SkipTest('no')


def add(a, b):
    raise skip
