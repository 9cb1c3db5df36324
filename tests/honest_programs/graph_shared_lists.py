# entry: Graph
# wrong: self.edges.setdefault(b, []).append(a) => pass
class Graph:
    def __init__(self):
        self.edges = {}

    def connect(self, a, b):
        self.edges.setdefault(a, []).append(b)
        self.edges.setdefault(b, []).append(a)

    def neighbors(self, a):
        return self.edges.get(a, [])

    def reachable(self, start):
        seen, todo = set(), [start]
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += self.edges.get(node, [])
        return seen
# ---- tests
g = Graph()
g.connect("a", "b")
g.connect("b", "c")
assert g.neighbors("b") == ["a", "c"]
assert g.edges["a"] == ["b"]
live = g.neighbors("a")
g.connect("a", "d")
assert live == ["b", "d"]
assert g.reachable("d") == {"a", "b", "c", "d"}
g.edges["x"] = ["a"]
assert g.reachable("x") == {"x", "a", "b", "c", "d"}
