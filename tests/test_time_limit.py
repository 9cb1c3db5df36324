"""The option by which CI ends in time."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_what_no_time_is_left_for_is_not_begun_and_named() -> None:
    command = [sys.executable, "-m", "pytest", "tests/test_timer.py", "--minutes"]
    said = [
        subprocess.run([*command, minutes], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for minutes in ("0", "60")
    ]
    assert "no time was left for it: tests of 1 files" in said[0]
    assert "passed" not in said[0]
    assert "passed" in said[1]
    assert "no time was left" not in said[1]
