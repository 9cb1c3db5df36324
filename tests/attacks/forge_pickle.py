# expect: failed | runtime_error
# host: the canary folder is as it was
import os
import pickle


class Trap:
    def __reduce__(self):
        return os.mkdir, ("CANARY_FOLDER/pickled",)


for descriptor in range(3, 64):
    try:
        os.write(descriptor, pickle.dumps(Trap()))
    except OSError:
        pass


def add(a, b):
    return pickle.dumps(Trap())
