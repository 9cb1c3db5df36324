# expect: failed
# tests: {"calls": {"entry": "count", "cases": [{"args": ["aab"], "expected": {"a": 2, "b": 1}}]}}
class Equal(dict):
    def __eq__(self, other):
        return True

    def items(self):
        return [("a", 2), ("b", 1)]

    def keys(self):
        return ["a", "b"]

    def __getitem__(self, key):
        return {"a": 2, "b": 1}[key]

    def __len__(self):
        return 2


def count(text):
    return Equal()
