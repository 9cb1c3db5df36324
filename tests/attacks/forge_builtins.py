# expect: failed | runtime_error | compile_error
import builtins

builtins.all = builtins.any = builtins.isinstance = builtins.issubclass = lambda *_: True
builtins.abs = lambda _: 0
builtins.AssertionError = type("Quiet", (Exception,), {})
builtins.repr = builtins.str = lambda *_: "passed"


def add(a, b):
    return None
