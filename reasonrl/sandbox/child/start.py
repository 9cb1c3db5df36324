"""What the host starts: loads the fork server without loading reasonrl around it. Run as a file, with a JSON text."""

import json
import os
import sys
from types import ModuleType


def load_bare() -> None:
    """Put empty packages in place of the ones above the child's, whose code is for the host."""
    folder = os.path.dirname(os.path.abspath(__file__))
    names = ["reasonrl", "reasonrl.sandbox", "reasonrl.sandbox.child"]
    folders = [os.path.dirname(os.path.dirname(folder)), os.path.dirname(folder), folder]
    for name, path in zip(names, folders, strict=True):
        package = ModuleType(name)
        package.__path__ = [path]
        sys.modules[name] = package


if __name__ == "__main__":
    load_bare()
    from reasonrl.sandbox.child.server import main

    main(json.loads(sys.argv[1]))
