# expect: passed
# levels: full container
# host: the canary folder is as it was
import os

written = False
try:
    os.symlink("CANARY_FOLDER", "here")
    with open("here/through_link", "w") as file:
        file.write("was here")
    written = True
except OSError:
    pass
try:
    os.symlink("CANARY_FOLDER/secret", "file")
    with open("file", "a") as file:
        file.write("was here")
    written = True
except OSError:
    pass


def add(a, b):
    return "wrote through a link" if written else a + b
