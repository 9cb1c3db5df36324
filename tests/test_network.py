"""`benchmarks/network.py`: hosts of one machine."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None, reason="needs Linux, root and ip"
)

ROOT: Final = Path(__file__).parent.parent
PREFIX: Final = f"t{os.getpid() % 100000}-"
SLEEP: Final = f"6{os.getpid()}"
"""Seconds that the programs on the hosts would take, and what they are known by."""

PROGRAM: Final = """
import sys, time
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from network import Network
with Network(["one", "two"], {prefix!r}, "10.99.7") as network:
    command = "hostname; getent hosts two; ls /dev/shm; sleep {sleep} & wait"
    asked = network["one"].start(["sh", "-c", command], Path("one"))
    asked.wait_until_said("two", 30)
    network["two"].cut(0.1, until_ended=asked)
    print(asked.tail().split(), flush=True)
    time.sleep(600)
"""


def _listed() -> str:
    commands = (["ip", "netns", "list"], ["ip", "-brief", "link"], ["ls", "/etc/netns"], ["ps", "-eo", "args"])
    found = (subprocess.run(command, capture_output=True, text=True, check=False).stdout for command in commands)
    return "\n".join(found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_hosts_know_each_other_and_are_removed_with_all_that_runs_there(tmp_path: Path, number: int) -> None:
    program = PROGRAM.format(benchmarks=str(ROOT / "benchmarks"), prefix=PREFIX, sleep=SLEEP)
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == "['one', '10.99.7.2', 'two']\n"
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert not re.search(rf"\b{PREFIX}|sleep {SLEEP}", _listed())
