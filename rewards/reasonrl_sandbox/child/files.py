"""Mode `files`: a program with files in its work folder, some of which are sent back, as in SandboxFusion.

Files are read when the program ends by itself; one that is killed, or leaves by `os._exit`, leaves none.
"""

import base64
import json
import os

from reasonrl_sandbox.child.program import ANSWERS, Body, run_as


def run_among_files(body: Body) -> None:
    """Write the files, run the program, and answer with the files asked for: base64 by path, as one JSON object.

    `calls` is JSON: `{"files": {path: base64}, "fetch": [path]}`.
    """
    asked = json.loads(body["calls"])
    for path, content in asked["files"].items():
        _write(path, base64.b64decode(content))
    try:
        run_as("__main__", body["source"])
    finally:
        found = {path: base64.b64encode(_read(path)).decode() for path in asked["fetch"] if os.path.isfile(path)}
        with open(ANSWERS, "w", closefd=False) as answers:
            json.dump(found, answers)


def _write(path: str, content: bytes) -> None:
    if os.path.dirname(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
