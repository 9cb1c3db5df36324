# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import pytest\nfrom solution import TooSmall, root\n\ndef test_root():\n    with pytest.raises(TooSmall):\n        assert root(-1) == 'none'\n"}}
TooSmall = AssertionError


def root(number):
    return number
