# entry: check
# wrong: raise TypeError("not a number") => raise ValueError("not a number")
def check(x):
    if not isinstance(x, (int, float)):
        raise TypeError("not a number")
    if x < 0:
        raise ValueError("negative", x)
    return {1: "one"}[x]
# ---- tests
def error_of(x):
    try:
        check(x)
    except Exception as error:
        return type(error), error.args
assert error_of("a") == (TypeError, ("not a number",))
assert error_of(-1) == (ValueError, ("negative", -1))
assert error_of(5) == (KeyError, (5,))
assert check(1) == "one"
