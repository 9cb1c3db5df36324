# expect: runtime_error
class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def add(a, b):
    raise Unprintable
