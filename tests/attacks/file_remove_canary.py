# expect: passed
# levels: full container
# host: the canary folder is as it was
import contextlib
import os

done = []
for act in (
    lambda: os.remove("CANARY_FOLDER/secret"),
    lambda: os.rename("CANARY_FOLDER/secret", "CANARY_FOLDER/moved"),
    lambda: os.rename("CANARY_FOLDER/secret", "moved"),
    lambda: os.truncate("CANARY_FOLDER/secret", 0),
    lambda: os.mkdir("CANARY_FOLDER/folder"),
    lambda: os.symlink("/", "CANARY_FOLDER/root"),
    lambda: os.mkfifo("CANARY_FOLDER/pipe"),
):
    with contextlib.suppress(OSError):
        act()
        done.append(act.__code__.co_firstlineno)


def add(a, b):
    return f"{done}" if done else a + b
