# expect: passed
# levels: full container
# host: the fork server runs on
import os
import signal

sent = 0
for number in (signal.SIGSTOP, signal.SIGTSTP):
    try:
        if os.getppid() > 1:
            os.kill(os.getppid(), number)
            sent += 1
    except OSError:
        pass


def add(a, b):
    return "stopped it" if sent else a + b
