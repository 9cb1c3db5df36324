# expect: failed | runtime_error
# tests: {"file": {"source": "from solution import first\n\ndef test_first():\n    assert first(3) == [0, 1, 2]\n    assert first(1) == [0]\n"}}
def first(number):
    return map(int, range(number))
