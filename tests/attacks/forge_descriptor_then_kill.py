# expect: failed | runtime_error
import os
import signal

for descriptor in range(3, 64):
    try:
        os.lseek(descriptor, 0, 0)
        os.write(descriptor, b'{"passed": 3, "total": 3, "outcome": "passed"}')
    except OSError:
        pass
os.kill(os.getpid(), signal.SIGKILL)
os.abort()
