"""Runs one program on a server of others, where no fork server holds it.

Its text is sent as a script, to be started in a folder with the files `child.zip` (this package), `body`, `stdin` and
`limits`; it leaves `stdout`, `stderr` and `answers` there.
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
"""What the descriptors from 0 on are."""


def main() -> None:
    """Put everything where `play` expects it."""
    sys.path.insert(0, os.path.abspath("child.zip"))
    from reasonrl.sandbox.child.play import play, prepare

    with open("limits") as file:
        cpu_s, output_bytes = json.load(file)
    opened = [fcntl.fcntl(os.open(name, flags, 0o600), fcntl.F_DUPFD, len(FILES)) for name, flags in FILES]
    for wanted, descriptor in enumerate(opened):
        os.dup2(descriptor, wanted)
    os.closerange(len(FILES), max(opened) + 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (output_bytes, output_bytes))
    resource.setrlimit(
        resource.RLIMIT_CPU, (cpu_s, cpu_s + 1)
    )  # at the first the program is told, at the second killed
    prepare()
    play()


if __name__ == "__main__":
    main()
