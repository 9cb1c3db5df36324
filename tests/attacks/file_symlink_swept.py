# expect: passed
# host: whoever cleans up does not follow links, so the canary folder is as it was
import contextlib
import os

with contextlib.suppress(OSError):
    os.mkdir("sub")
    os.symlink("CANARY_FOLDER", "sub/link")
    os.symlink("CANARY_FOLDER/secret", "link")
    os.symlink(".", "sub/loop")
    os.symlink("sub", "loop")


def add(a, b):
    return a + b
