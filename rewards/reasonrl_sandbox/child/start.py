"""What the host starts: loads the fork server alone, without the host's code. Run as a file, with a JSON text."""

import json
import os
import sys
from types import ModuleType


def load_bare() -> None:
    """Put empty packages in place of `reasonrl_sandbox` and this one, whose `__init__` load code for the host.

    Programs inherit this interpreter's memory, so nothing that they need not see is ever imported into it.
    """
    folder = os.path.dirname(os.path.abspath(__file__))
    for name, path in (("reasonrl_sandbox", os.path.dirname(folder)), ("reasonrl_sandbox.child", folder)):
        package = ModuleType(name)
        package.__path__ = [path]
        sys.modules[name] = package


if __name__ == "__main__":
    load_bare()
    from reasonrl_sandbox.child.server import main

    main(json.loads(sys.argv[1]))
