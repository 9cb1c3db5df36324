# expect: passed
import os

won = []
for change in (lambda: os.setuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try:
        change()
        won.append("changed")
    except OSError:
        pass


def add(a, b):
    return f"root {won} {os.getuid()}" if won or 0 in (os.getuid(), os.geteuid()) else a + b
