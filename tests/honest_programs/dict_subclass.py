# entry: DotDict
# wrong: return self[name] => return name
class DotDict(dict):
    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name)

    def __setattr__(self, name, value):
        self[name] = value
# ---- tests
d = DotDict(a=1)
assert d.a == 1
d.b = 2
assert d["b"] == 2
assert d == {"a": 1, "b": 2}
assert sorted(d) == ["a", "b"]
assert dict(d) == {"a": 1, "b": 2}
assert "a" in d
assert not hasattr(d, "zzz")
