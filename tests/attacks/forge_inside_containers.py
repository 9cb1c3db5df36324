# expect: failed
# tests: {"calls": {"entry": "pairs", "cases": [{"args": [2], "expected": [[0, 1], {"k": 2}]}]}}
class Equal:
    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash("k")


def pairs(number):
    return [[Equal(), Equal()], {Equal(): Equal()}]
