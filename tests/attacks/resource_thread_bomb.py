# expect: passed
# limits: {"num_threads": 16}
# levels: full container
import threading

stop = threading.Event()
started = 0
try:
    for _ in range(300):
        threading.Thread(target=stop.wait, args=(5,), daemon=True).start()
        started += 1
except RuntimeError:
    pass
stop.set()


def add(a, b):
    # the limit leaves room for the sandbox's own processes: up to 8 more
    return "too many threads" if started > 16 + 8 else a + b
