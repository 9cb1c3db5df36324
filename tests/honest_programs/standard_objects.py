# entry: find
# names: find, writer, queue
# wrong: (\w+)@(\w+) => (\w)@(\w+)
import io
import queue as queues
import re


def find(text):
    return re.search(r"(\w+)@(\w+)", text)


def writer():
    return io.StringIO()


def queue(items):
    q = queues.Queue()
    for item in items:
        q.put(item)
    return q
# ---- tests-file
import re
m = find("to ann@home now")
assert m is not None
assert m.group(1) == "ann" and m[2] == "home"
assert m.groups() == ("ann", "home")
assert m.span() == (3, 11)
assert find("nothing") is None
assert isinstance(m, re.Match)
w = writer()
w.write("abc")
assert w.getvalue() == "abc"
q = queue([1, 2])
assert q.qsize() == 2 and q.get() == 1
