# entry: retry
# wrong: range(times) => range(1)
def retry(f, times, errors=(Exception,)):
    for attempt in range(times):
        try:
            return f()
        except errors as error:
            last = error
    raise last
# ---- tests
class Flaky(Exception):
    pass
attempts = []
def sometimes():
    attempts.append(1)
    if len(attempts) < 3:
        raise Flaky("again")
    return "ok"
assert retry(sometimes, 5, (Flaky,)) == "ok"
assert len(attempts) == 3
def always():
    raise Flaky("never")
try:
    retry(always, 2, (Flaky,))
except Flaky as error:
    text = str(error)
assert text == "never"
