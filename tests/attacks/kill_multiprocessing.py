# expect: passed
# levels: full container
# host: no process, semaphore or socket is left
import multiprocessing

try:
    pool = multiprocessing.get_context("fork").Pool(2)
    ran = pool.map(abs, [-1, -2])
    pool.terminate()
except (OSError, ImportError):
    ran = None


def add(a, b):
    return "ran processes" if ran else a + b
