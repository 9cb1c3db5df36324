# expect: unscorable
# tests: {"file": {"source": "from solution import *\n\ndef test_half():\n    assert math.isclose(half(3), 1.5)\n"}}
class math:  # noqa: N801
    @staticmethod
    def isclose(left, right):
        return True


def half(number):
    return None
