# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import pytest\nfrom solution import add, numbers\n\n@pytest.fixture\ndef given():\n    return numbers()\n\ndef test_add(given):\n    for a, b, total in given:\n        assert add(a, b) == total\n    assert add(1, 1) == 2\n"}}
def numbers():
    return []


def add(a, b):
    return None
