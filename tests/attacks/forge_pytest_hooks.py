# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import pytest\nfrom solution import *\n\ndef test_add():\n    assert add(2, 3) == 5\n"}}
pytestmark = []


def pytest_runtest_makereport(item, call):
    return None


def pytest_generate_tests(metafunc):
    pass


def add(a, b):
    return None


__all__ = ['add', 'pytest', 'test_add', 'pytestmark', 'pytest_generate_tests']
