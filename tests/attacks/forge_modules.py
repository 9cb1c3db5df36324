# expect: failed | runtime_error
import sys
import types


class Yes(types.ModuleType):
    def __getattr__(self, name):
        return lambda *_, **__: True


for name in list(sys.modules):
    if name not in ("sys", "builtins", "types", "__main__"):
        sys.modules[name] = Yes(name)


def add(a, b):
    return None
