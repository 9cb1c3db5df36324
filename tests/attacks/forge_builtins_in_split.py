# expect: failed | runtime_error | compile_error
# tests: {"asserts": {"entry": "add", "source": "results = [add(a, 1) == a + 1 for a in range(5)]\nassert all(results)\nassert isinstance(add(1, 2), int)"}}
import builtins

builtins.all = builtins.any = builtins.isinstance = builtins.issubclass = lambda *_: True
builtins.range = lambda *_: []


def add(a, b):
    return None
