# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import pytest\nfrom solution import add\n\n@pytest.mark.parametrize('a, b', [(1, 2), (3, 4)])\ndef test_add(a, b):\n    assert add(a, b) == pytest.approx(a + b)\n    assert pytest.approx(a + b) == add(a, b)\n"}}
class Yes:
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__

    def __hash__(self):
        return 0

    def __bool__(self):
        return True

    def __sub__(self, other):
        return 0

    __rsub__ = __mod__ = __abs__ = lambda self, *_: 0

    def __getattr__(self, name):
        return self

    def __call__(self, *_, **__):
        return self

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


def add(a, b):
    return Yes()
