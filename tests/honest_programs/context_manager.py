# entry: Transaction
# names: Transaction, opened, suppress
# wrong: self.log.append("rollback") => self.log.append("commit")
from contextlib import contextmanager


class Transaction:
    def __init__(self):
        self.log = []

    def __enter__(self):
        self.log.append("begin")
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.log.append("commit")
        else:
            self.log.append("rollback")
        return kind is ValueError


@contextmanager
def opened(name, log):
    log.append("open " + name)
    try:
        yield name.upper()
    finally:
        log.append("close " + name)


@contextmanager
def suppress(kind):
    try:
        yield
    except kind:
        pass
# ---- tests-file
t = Transaction()
with t as same:
    assert same is t
assert t.log == ["begin", "commit"]
with t:
    raise ValueError("swallowed")
assert t.log[-1] == "rollback"
try:
    with t:
        raise KeyError("through")
    passed = False
except KeyError:
    passed = True
assert passed
log = []
with opened("a", log) as value:
    inside = value
assert inside == "A"
with suppress(ZeroDivisionError):
    1 / 0
