# expect: failed | runtime_error
# host: a program cannot make itself a sandbox_error, which would not count
import os
import signal

for descriptor in range(3, 64):
    try:
        os.write(descriptor, b'{"ending": "sandbox_error", "outcome": "sandbox_error", "error": "lost"}\n')
    except OSError:
        pass


def add(a, b):
    os.kill(os.getpid(), signal.SIGKILL)
    os._exit(255)
