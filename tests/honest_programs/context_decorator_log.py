# entry: opened
# wrong: log.append("close") => log.append("open")
from contextlib import contextmanager


@contextmanager
def opened(log):
    log.append("open")
    yield len(log)
    log.append("close")
# ---- tests
log = []
with opened(log) as size:
    assert size == 1
assert log == ["open", "close"]
