# expect: passed
# levels: full container
# host: the canary has one name
import os

made = False
try:
    os.link("CANARY_FOLDER/secret", "second")
    made = True
except OSError:
    pass


def add(a, b):
    return "linked" if made else a + b
