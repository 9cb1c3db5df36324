# entry: rank
# wrong: reverse=True => reverse=False
class Player:
    def __init__(self, name, score):
        self.name, self.score = name, score


def rank(pairs):
    return sorted((Player(*pair) for pair in pairs), key=lambda p: p.score, reverse=True)
# ---- tests
players = rank([("a", 1), ("b", 3), ("c", 2)])
assert [p.name for p in players] == ["b", "c", "a"]
assert sorted(players, key=lambda p: p.name)[0].score == 1
assert max(players, key=lambda p: p.score).name == "b"
assert {p.name: p.score for p in players} == {"a": 1, "b": 3, "c": 2}
assert any(p.name == "c" for p in players)
