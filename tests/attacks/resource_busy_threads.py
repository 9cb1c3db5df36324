# expect: timeout
# limits: {"cpu_s": 0.5}
import hashlib
import threading
import time

end = time.time() + 30
data = b"x" * (1 << 20)


def hash_on():
    while time.time() < end:
        hashlib.sha256(data).digest()  # releases the lock of the interpreter


threads = [threading.Thread(target=hash_on) for _ in range(4)]
for thread in threads:
    thread.start()


def add(a, b):
    for thread in threads:
        thread.join()
    return a + b
