# entry: Config
# wrong: self.values = dict(values) => self.values = values
import copy


class Config:
    def __init__(self, values):
        self.values = dict(values)

    def clone(self):
        return copy.deepcopy(self)

    def __eq__(self, other):
        return self.values == other.values
# ---- tests
import copy
given = {"a": 1}
c = Config(given)
given["a"] = 2
d = copy.deepcopy(c)
d.values["a"] = 5
assert c.values == {"a": 1}
e = copy.copy(c)
assert e is not c and e == c
assert c.clone() == c
import pickle
assert pickle.loads(pickle.dumps(c)) == c
first = {"k": [1]}
kept = Config(first)
kept.values["k2"] = 1
assert first == {"k": [1]}
