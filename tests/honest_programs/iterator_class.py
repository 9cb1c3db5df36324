# entry: Fib
# wrong: self.a, self.b = self.b, self.a + self.b => self.a, self.b = self.b, self.b + 1
class Fib:
    def __init__(self, limit):
        self.limit, self.a, self.b = limit, 0, 1

    def __iter__(self):
        return self

    def __next__(self):
        if self.a > self.limit:
            raise StopIteration
        value = self.a
        self.a, self.b = self.b, self.a + self.b
        return value
# ---- tests
assert list(Fib(10)) == [0, 1, 1, 2, 3, 5, 8]
f = Fib(3)
assert next(f) == 0 and next(f) == 1
assert 5 in Fib(10)
assert max(Fib(30)) == 21
