# entry: SortedList
# wrong: bisect.insort(self, item) => self.append(item)
import bisect


class SortedList(list):
    def add(self, item):
        bisect.insort(self, item)
        return self

    @property
    def median(self):
        return self[len(self) // 2]
# ---- tests
s = SortedList()
s.add(3).add(1).add(2)
assert s == [1, 2, 3]
assert isinstance(s, list)
assert s[0] == 1 and len(s) == 3
assert s.median == 2
assert list(s) == [1, 2, 3]
assert 2 in s
assert s[1:] == [2, 3]
