# expect: passed
# levels: full container
# host: the fork server lives
import os
import signal

sent = 0
for pid in {os.getppid(), os.getpgid(os.getppid()) if os.getppid() > 1 else 0} - {0, 1, os.getpid()}:
    for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
            sent += 1
        except OSError:
            pass


def add(a, b):
    return "sent a signal" if sent else a + b
