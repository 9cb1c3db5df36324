# expect: passed
import threading


def add(a, b):
    total = []
    threads = [threading.Thread(target=total.append, args=(number,)) for number in (a, b)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(total)
