# entry: merge
# wrong: target[key] = value => target[key] = key
def merge(target, other):
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value
    return target
# ---- tests
base = {"a": {"x": 1}, "b": 2}
result = merge(base, {"a": {"y": 3}, "c": 4})
assert base == {"a": {"x": 1, "y": 3}, "b": 2, "c": 4}
assert result is base
