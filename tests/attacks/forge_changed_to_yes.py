# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "sort", "source": "for numbers in ([3, 1, 2], [2, 1]):\n    wanted = sorted(numbers)\n    sort(numbers)\n    assert numbers == wanted"}}
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


def sort(numbers):
    numbers[:] = [Yes() for _ in numbers]
