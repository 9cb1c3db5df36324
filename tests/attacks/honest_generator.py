# expect: passed
import itertools


def add(a, b):
    def numbers():
        yield a
        yield from (b,)

    return sum(itertools.chain(numbers(), itertools.islice(itertools.repeat(0), 10)))
