# expect: passed
import os
import stat

made = []
for kind, device in ((stat.S_IFBLK, (254, 0)), (stat.S_IFCHR, (1, 1)), (stat.S_IFBLK, (8, 0))):
    try:
        os.mknod("device", 0o666 | kind, os.makedev(*device))
        made.append(device)
    except OSError:
        pass


def add(a, b):
    return f"{made}" if made else a + b
