"""A policy trained on a reward model alone gets better, then worse; KL puts that off."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
WINDOW = 5


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:  # Any: JSON values
    """What the benchmark measured, as its own command writes it."""
    folder = tmp_path_factory.mktemp("over-optimization")
    script = [sys.executable, str(ROOT / "benchmarks" / "over_optimization.py")]
    out = folder / "curves.json"
    done = subprocess.run(
        [*script, "--folder", str(folder), "--steps", "48", "--ways", "alone", "kl", "--json", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def levels(values: list[float]) -> list[float]:
    return [fmean(values[end - WINDOW : end]) for end in range(WINDOW, len(values) + 1)]


def peak_of(values: list[float]) -> tuple[float, int]:
    """The highest level and the last step of its window."""
    highest = max(levels(values))
    return highest, levels(values).index(highest) + WINDOW


@pytest.mark.slow
def test_over_optimisation(curves: dict[str, Any]) -> None:  # Any: as above
    alone, kl = curves["proxy alone"], curves["KL 0.1 in the reward"]
    level, step = peak_of(alone["gold"])
    assert level > alone["gold"][0] + 0.1, "the gold figure rises first"
    assert levels(alone["gold"])[-1] < level - 0.15, "then it falls"
    assert levels(alone["proxy"])[-1] > levels(alone["proxy"])[step - WINDOW] + 0.1, "while the proxy goes on rising"
    assert alone["alarm"] is not None
    assert step - WINDOW < alone["alarm"] <= step + 24, "the alarm comes after the peak, and not long after"
    assert peak_of(kl["gold"])[0] > level or peak_of(kl["gold"])[1] > step, "KL puts the peak higher or later"
    assert levels(kl["gold"])[-1] > levels(alone["gold"])[-1] + 0.15, "and what is left in the end is more"
