# expect: passed
from concurrent.futures import ThreadPoolExecutor


def add(a, b):
    with ThreadPoolExecutor(4) as executor:
        return sum(executor.map(int, (a, b)))
