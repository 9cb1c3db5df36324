# entry: averager
# wrong: total / count => total
def averager():
    total = count = 0
    average = None
    while True:
        term = yield average
        if term is None:
            return total
        total += term
        count += 1
        average = total / count
# ---- tests
g = averager()
next(g)
assert g.send(10) == 10
assert g.send(20) == 15
try:
    g.send(None)
except StopIteration as end:
    value = end.value
assert value == 30
