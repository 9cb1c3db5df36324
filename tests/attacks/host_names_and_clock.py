# expect: passed
# host: name and clock of the machine
import socket
import time

done = []
for act in (lambda: socket.sethostname(socket.gethostname()), lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())):
    try:
        act()
        done.append(act.__code__.co_names[-1])
    except OSError:
        pass


def add(a, b):
    return f"{done}" if done else a + b
