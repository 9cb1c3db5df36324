# expect: failed | output_limit
import itertools


def add(a, b):
    return itertools.count()
