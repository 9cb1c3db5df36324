# expect: unscorable
# tests: {"file": {"source": "from solution import *\n\ndef test_add():\n    assert_equal(add(2, 3), 5)\n"}}
def assert_equal(left, right):
    pass


def add(a, b):
    return None
