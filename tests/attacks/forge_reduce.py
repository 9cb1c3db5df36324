# expect: failed
# host: the canary folder is as it was
import os


class Trap:
    def __reduce__(self):
        return os.mkdir, ("CANARY_FOLDER/pickled",)

    __getstate__ = __reduce__

    def __json__(self):
        return 5

    to_json = __json__


def add(a, b):
    return Trap()
