# expect: passed
# levels: full container
# host: the canary folder is as it was
import subprocess

try:
    subprocess.run(["/bin/sh", "-c", "touch CANARY_FOLDER/by_shell"], check=False)
    ran = True
except OSError:
    ran = False


def add(a, b):
    return "ran a shell" if ran else a + b
