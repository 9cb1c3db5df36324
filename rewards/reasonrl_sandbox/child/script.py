"""Runs one program on a SandboxFusion server, without a fork server.

This file is sent as the script to run, in a folder with the files `child.zip` (this package), `body`, `stdin` and
`limits`; it writes `stdout`, `stderr` and `answers` there.
"""

import fcntl
import json
import os
import resource
import sys

FILES = (
    ("stdin", os.O_RDONLY),
    ("stdout", os.O_WRONLY | os.O_CREAT),
    ("stderr", os.O_WRONLY | os.O_CREAT),
    ("body", os.O_RDONLY),
    ("answers", os.O_WRONLY | os.O_CREAT),
)
"""Files of the descriptors 0, 1, ..., as `execute` expects them."""


def main() -> None:
    """Open the files, set the limits, and run the program."""
    sys.path.insert(0, os.path.abspath("child.zip"))
    from reasonrl_sandbox.child.execute import execute, prepare_interpreter

    with open("limits") as file:
        cpu_s, output_bytes = json.load(file)
    opened = [fcntl.fcntl(os.open(name, flags, 0o600), fcntl.F_DUPFD, len(FILES)) for name, flags in FILES]
    for wanted, descriptor in enumerate(opened):
        os.dup2(descriptor, wanted)
    os.closerange(len(FILES), max(opened) + 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (output_bytes, output_bytes))
    # At the soft limit the kernel sends SIGXCPU, which a program can catch; at the hard limit SIGKILL.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    prepare_interpreter()
    execute()


if __name__ == "__main__":
    main()
