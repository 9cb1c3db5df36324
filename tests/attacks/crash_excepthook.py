# expect: runtime_error
import os
import sys

sys.excepthook = lambda *_: os._exit(0)
sys.unraisablehook = sys.excepthook


def add(a, b):
    raise RuntimeError("no")
