# entry: Record
# wrong: return self._data[name] => return self._data.get(name, name)
class Record:
    def __init__(self, **data):
        self._data = data

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._data[name]
        except KeyError:
            raise AttributeError(f"no field {name}") from None

    def __dir__(self):
        return sorted(self._data)
# ---- tests
r = Record(a=1, b=[2])
assert r.a == 1 and r.b == [2]
assert not hasattr(r, "c")
assert dir(r) == ["a", "b"]
try:
    r.zzz
except AttributeError as error:
    text = str(error)
assert text == "no field zzz"
