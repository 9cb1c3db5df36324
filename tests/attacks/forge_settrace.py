# expect: failed | runtime_error
import sys


def trace(frame, event, argument):
    if event == "return" and "expected" in frame.f_locals:
        frame.f_locals["expected"] = argument
    frame.f_locals.update(passed=True, ok=True, equal=True)
    return trace


sys.settrace(trace)
sys.setprofile(trace)
frame = sys._getframe()
while frame:
    frame.f_trace = trace
    frame = frame.f_back


def add(a, b):
    return None
