# expect: failed | runtime_error
# tests: {"asserts": {"entry": "add", "source": "for a in range(5):\n    assert add(a, 1) == a + 1"}}
class Equal:
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


def add(a, b):
    return Equal()
