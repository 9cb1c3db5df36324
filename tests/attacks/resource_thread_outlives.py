# expect: passed
# host: the program ends when it has answered
import threading
import time

threading.Thread(target=time.sleep, args=(20,)).start()


def add(a, b):
    return a + b
