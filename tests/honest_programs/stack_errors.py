# entry: Stack
# names: Stack, EmptyError
# wrong: raise EmptyError("pop from empty stack") => return None
class EmptyError(IndexError):
    pass


class Stack:
    def __init__(self, items=()):
        self._items = list(items)

    def push(self, item):
        self._items.append(item)
        return self

    def pop(self):
        if not self._items:
            raise EmptyError("pop from empty stack")
        return self._items.pop()

    @property
    def top(self):
        return self._items[-1]

    def __len__(self):
        return len(self._items)

    def __contains__(self, item):
        return item in self._items

    def __iter__(self):
        return reversed(self._items)
# ---- tests
s = Stack([1, 2])
s.push(3).push(4)
assert len(s) == 4
assert s.top == 4
assert 3 in s and 9 not in s
assert list(s) == [4, 3, 2, 1]
assert s.pop() == 4
try:
    Stack().pop()
    raise SystemExit("no error")
except EmptyError as error:
    message = str(error)
assert message == "pop from empty stack"
try:
    Stack().pop()
except IndexError:
    caught = True
assert caught
