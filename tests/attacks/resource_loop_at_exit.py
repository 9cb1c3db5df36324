# expect: passed
# host: the program ends when it has answered
import atexit
import time


@atexit.register
def linger():
    time.sleep(20)


def add(a, b):
    return a + b
