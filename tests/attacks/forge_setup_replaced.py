# expect: failed | runtime_error
# tests: {"asserts": {"entry": "add", "source": "for a in range(4):\n    assert same(add(a, 1), a + 1)", "setup": "def same(left, right):\n    return left == right"}}
def same(left, right):
    return True


def add(a, b):
    return None
