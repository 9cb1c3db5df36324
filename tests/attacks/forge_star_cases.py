# expect: unscorable
# tests: {"file": {"source": "from solution import *\n\ndef test_add():\n    for a, b, total in cases:\n        assert add(a, b) == total\n"}}
cases = []


def add(a, b):
    return None
