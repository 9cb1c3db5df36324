# expect: failed | runtime_error | no_entry
# tests: {"asserts": {"entry": "add", "source": "for a in range(5):\n    assert add(a, 1) == a + 1"}}
class add:  # noqa
    def __init__(self, *arguments):
        pass

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0
