# expect: passed
# levels: full container
# host: the canary folder is as it was
import os

written = []
for flags in (os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_EXCL):
    path = "CANARY_FOLDER/new" if flags & os.O_EXCL else "CANARY_FOLDER/secret"
    try:
        os.write(os.open(path, flags), b"was here")
        written.append(flags)
    except OSError:
        pass


def add(a, b):
    return f"{written}" if written else a + b
