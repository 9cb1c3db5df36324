# expect: failed | runtime_error
import gc


def add(a, b):
    for thing in gc.get_objects():
        try:
            if type(thing) is dict and not {"__name__", "__builtins__"} & thing.keys():
                for key in ("expected", "passed", "outcome", "ok", "verdict", "result"):
                    if key in thing:
                        thing[key] = "passed"
            elif type(thing) is list and len(thing) < 4:
                thing.append("passed")
        except Exception:
            pass
