# expect: failed | runtime_error | timeout
# limits: {"wall_s": 2.0}
# tests: {"asserts": {"entry": "add", "source": "for a in range(5):\n    assert add(a, 1) == a + 1"}}
import sys

for name, module in list(sys.modules.items()):
    if name.startswith("reasonrl"):
        for attribute, value in list(vars(module).items()):
            if callable(value) and not isinstance(value, type):
                setattr(module, attribute, lambda *_, **__: "passed")


def add(a, b):
    return None
