# expect: runtime_error
import os


def add(a, b):
    os.abort()
