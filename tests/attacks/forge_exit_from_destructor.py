# expect: failed | runtime_error
import os


class Leaver:
    def __del__(self):
        os._exit(0)


def add(a, b):
    Leaver()
