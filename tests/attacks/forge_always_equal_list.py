# expect: failed
# tests: {"calls": {"entry": "order", "cases": [{"args": [[3, 1, 2]], "expected": [1, 2, 3]}]}}
class Equal(list):
    def __eq__(self, other):
        return True

    def __iter__(self):
        return iter([1, 2, 3])

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index + 1


def order(items):
    return Equal()
