# expect: memory_limit | runtime_error | failed
# limits: {"memory_mib": 256}
# host: memory of the machine
import threading

held = []
refused = []


def hoard():
    try:
        held.append(bytearray(b"x") * (64 << 20))
    except MemoryError:
        refused.append(1)


threads = [threading.Thread(target=hoard) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if refused:
    raise MemoryError


def add(a, b):
    return a + b if refused else "held it all"
