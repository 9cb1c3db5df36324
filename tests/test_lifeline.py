"""A rank that is lost in any way ends all others within a bounded time, and rank 0 with the one cause."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lifeline_cases import SILENCE_S

pytestmark = pytest.mark.slow

Found = dict[str, Any]
"""Any: what the ranks of each case said, and their exit codes."""


@pytest.fixture(scope="module")
def found() -> Found:
    """All cases, at the same time."""
    script = Path(__file__).with_name("lifeline_cases.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
    cases: Found = json.loads(done.stdout)
    return cases


KILLED = ["killed", "killed, and the others notice first", "killed in asyncio", "killed, and an engine tells of it"]


@pytest.mark.parametrize("case", KILLED)
def test_a_killed_rank_is_the_cause_whoever_notices_first(case: str, found: Found) -> None:
    assert re.fullmatch(
        r"RankLostError: rank 1 of 3 \(\S+, process \d+\) ended without a word: .*\n", found[case]["said"]
    )
    assert found[case]["codes"] == [5, -9, 1]


@pytest.mark.parametrize("case", ["failed", "failed, and the others notice first"])
def test_a_rank_that_fails_says_why(case: str, found: Found) -> None:
    assert re.fullmatch(
        r"RankLostError: rank 2 of 3 \(\S+, process \d+\) failed: MemoryError: no memory left\n", found[case]["said"]
    )
    assert found[case]["codes"] == [5, 1, 1]


def test_a_stopped_rank_is_named_after_its_silence(found: Found) -> None:
    said, codes = found["stopped"]["said"], found["stopped"]["codes"]
    assert re.match(rf"RankLostError: rank 1 of 3 \(.*\) has been silent for {SILENCE_S:g} s \(learner.parallel", said)
    assert said.count("\n") == 1
    assert codes == [5, None, 1]  # who is stopped is the launcher's to kill


def test_the_others_end_with_rank_0_and_one_says_so_where_it_cannot(found: Found) -> None:
    killed, stopped, failed = (found[f"rank 0 {how}"] for how in ("killed", "stopped", "failed"))
    assert re.fullmatch(r"error: rank 0 \(\S+, process \d+\) ended without a word: .*\n", killed["said"])
    assert killed["codes"] == [-9, 1, 1]
    assert found["rank 0 killed under guard"] == {"said": "", "codes": [-9, 1, 1]}
    assert re.fullmatch(r"error: rank 0 \(\S+, process \d+\) has been silent for 4 s .*\n", stopped["said"])
    assert stopped["codes"] == [None, 1, 1]
    assert failed["said"] == "ValueError: rank 0's own\n"
    assert failed["codes"] == [5, 1, 1]


def test_a_run_that_ends_well_ends_all_ranks_well(found: Found) -> None:
    assert found["all is well"] == {"said": "", "codes": [0, 0, 0]}
