# expect: unscorable
# tests: {"asserts": {"entry": "add", "source": "for a, b, total in CASES:\n    assert add(a, b) == total"}}
CASES = []


def add(a, b):
    return None
