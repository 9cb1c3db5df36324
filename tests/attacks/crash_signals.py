# expect: runtime_error | timeout
# limits: {"wall_s": 1.0, "cpu_s": 0.5}
import signal


def add(a, b):
    for number in (signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGBUS, signal.SIGSYS, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    raise RuntimeError("as process 1 it may live through its own signals")
