# expect: failed | runtime_error
import sys

for name, module in list(sys.modules.items()):
    if name.startswith("reasonrl"):
        for attribute, value in list(vars(module).items()):
            if callable(value) and not isinstance(value, type):
                setattr(module, attribute, lambda *_, **__: "passed")


def add(a, b):
    return None
