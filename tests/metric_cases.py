"""Metrics as a suite may have them, good and bad, in a module that a worker process can import."""

import os
import re
import time
from typing import Any

from reasonrl.plugins.types import Measurement
from reasonrl.types import Rollout


def sum_is_right(rollout: Rollout) -> Measurement:
    """Measure with the number after ``A:``."""
    match = re.fullmatch(r"A: (\d+)", rollout.text)
    return Measurement(float(match is not None and match[1] == rollout.problem.answer), match and match[1])


def half(rollout: Rollout) -> Measurement:
    return Measurement(0.5, "half")


def returns(rollout: Rollout, *, value: Any) -> Any:
    """Any: whatever a case needs."""
    return value


def raises(rollout: Rollout) -> Measurement:
    raise ValueError("no digits")


def hangs(rollout: Rollout) -> Measurement:
    time.sleep(3600)
    raise AssertionError


def exits(rollout: Rollout) -> Measurement:
    os._exit(3)


def leaves(rollout: Rollout) -> Measurement:
    raise SystemExit(3)


async def raises_later(rollout: Rollout) -> Measurement:
    raise KeyError("verdict")


class Threshold:
    """A metric that is an object."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, rollout: Rollout) -> Measurement:
        return Measurement(float(len(rollout.text) >= self.length), f"{os.getpid()}")


def worker_of(text: str) -> dict[str, float]:
    """A reward that tells where it runs."""
    return {"pid": os.getpid()}


def fails_on(rollout: Rollout, *, text: str = "") -> Measurement:
    """Fail where the completion has a text in it."""
    if text in rollout.text:
        raise ValueError(f"cannot read {rollout.text!r}")
    return sum_is_right(rollout)


def reads_flag(rollout: Rollout, *, folder: str) -> Measurement:
    """Fail until there is a file."""
    if not os.path.exists(os.path.join(folder, "flag")):
        raise OSError("not yet")
    return Measurement(1.0)
