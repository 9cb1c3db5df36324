# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "from solution import add, timed\n\n@timed\ndef test_add():\n    assert add(2, 3) == 5\n\nclass TestAdd:\n    @timed\n    def test_more(self):\n        assert add(1, 1) == 2\n"}}
def timed(function):
    return lambda *args: None


def add(a, b):
    return None
