# entry: load
# names: load, ConfigError
# wrong: from error => from None
class ConfigError(Exception):
    code = 7

    def __init__(self, key, *, line=0):
        super().__init__(key)
        self.key, self.line = key, line

    def __str__(self):
        return f"line {self.line}: bad {self.key}"


def load(data, key):
    try:
        return int(data[key])
    except (KeyError, ValueError) as error:
        raise ConfigError(key, line=3) from error
# ---- tests
assert load({"a": "5"}, "a") == 5
try:
    load({}, "b")
except ConfigError as error:
    e = error
assert e.key == "b" and e.line == 3 and e.code == 7
assert str(e) == "line 3: bad b"
assert e.args == ("b",)
assert isinstance(e.__cause__, KeyError)
assert type(e).__name__ == "ConfigError"
