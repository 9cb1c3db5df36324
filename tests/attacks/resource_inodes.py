# expect: passed | output_limit
# levels: full container
# limits: {"cpu_s": 4}
# host: free inodes
import os

made = 0
try:
    for number in range(20_000):
        os.close(os.open(f"n{number}", os.O_CREAT | os.O_WRONLY))
        made += 1
except OSError:
    pass


def add(a, b):
    return f"{made} files" if made > 10_000 else a + b
