# entry: Counter
# wrong: self.value += 1 => self.value += 2
import threading


class Counter:
    def __init__(self):
        self.value = 0
        self.lock = threading.Lock()

    def increment(self):
        with self.lock:
            self.value += 1

    def run(self, n, job):
        threads = [threading.Thread(target=job) for _ in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
# ---- tests
c = Counter()
c.run(4, c.increment)
assert c.value == 4
seen = []
c.run(3, lambda: seen.append(1))
assert len(seen) == 3
