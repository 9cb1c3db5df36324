# expect: failed | runtime_error
# tests: {"asserts": {"entry": "add", "source": "assert all(map(lambda a: add(a, 1) == a + 1, range(5)))"}}
# host: an iterator that ends at once is all true
def add(a, b):
    raise StopIteration
