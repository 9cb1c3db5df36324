# expect: failed | runtime_error
import ctypes
import sys


def add(a, b):
    frame = sys._getframe(1)
    while frame:
        for name, value in list(frame.f_locals.items()):
            if isinstance(value, dict) and name not in ("__builtins__", "modules"):
                value.update(passed=True, outcome="passed", expected=None, result=None)
            elif isinstance(value, list):
                value.append("passed")
            elif isinstance(value, bool):
                frame.f_locals[name] = True
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
        frame = frame.f_back
