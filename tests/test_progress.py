"""How far a command is, with the time left: plain lines where there is no terminal."""

import sys
from pathlib import Path

import pytest

from reasonrl.api import evaluation_progress, progress
from reasonrl.evaluation.suite_run import SuiteProgress
from reasonrl.models import fetch
from reasonrl.plugins.types import Measurement, Suite
from reasonrl.types import Problem, Rollout


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    monkeypatch.setattr(evaluation_progress, "time", found)
    return found


def test_a_line_every_ten_seconds_says_how_much_is_done_and_how_long_the_rest_takes(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.progress("sampling") as tell:
        tell(20, 100)  # what an earlier call has done costs nothing now
        for done in range(21, 101):
            clock.now += 1
            tell(done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["sampling: 20 of 100 problems", "sampling: 30 of 100 problems, 0:01:10 left"]
    assert lines[-1] == "sampling: 100 of 100 problems"
    assert len(lines) == 9


def test_bytes_are_shown_as_megabytes(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress("downloading", unit="bytes") as tell:
        tell(0, 92_871_040)
        clock.now += 10
        tell(46_435_520, 92_871_040)
    assert capsys.readouterr().err.splitlines() == [
        "downloading: 0.0 of 92.9 MB",
        "downloading: 46.4 of 92.9 MB, 0:00:10 left",
    ]


def never(rollout: Rollout) -> Measurement:
    return Measurement(0.0)


def test_an_evaluation_says_how_long_is_left_at_the_pace_of_this_call(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = (Problem(id="p", task="sums", prompt="1 + 1?", answer="2"),)
    suite = Suite(
        name="sums", version=1, role="valid", problems=problems, metric=never, template="plain", max_new_tokens=4
    )

    def told(done: int, tokens: int) -> SuiteProgress:
        return SuiteProgress(suite=suite, done=done, total=100, earlier=40, tokens=tokens, mean=0.25)

    with evaluation_progress.evaluation_progress() as tell:
        tell(told(40, 0))
        clock.now += 20
        tell(told(60, 2000))
    assert capsys.readouterr().err.splitlines() == [
        "sums in plain: 40 of 100 completions, 25.0% so far",
        "sums in plain: 60 of 100 completions, 25.0% so far  100 tokens/s, 0:00:40 left",
    ]


def test_a_terminal_gets_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.progress("sampling") as tell:
        tell(1, 2)
        tell(2, 2)
    shown = capsys.readouterr().err
    assert "sampling" in shown
    assert "\x1b[" in shown


def test_a_download_is_watched_by_the_size_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS_BETWEEN_LOOKS", 0.02)
    code = (
        "import os, sys, time\n"
        "with open(os.path.join(os.environ['TMPDIR'], 'part'), 'wb') as file:\n"
        "    for _ in range(5):\n"
        "        file.write(bytes(1000)); file.flush(); time.sleep(0.05)\n"
        "sys.stderr.write('gone'); sys.exit(3)"
    )
    sizes: list[int] = []
    assert fetch._watched([sys.executable, "-c", code], tmp_path, sizes.append) == (3, "gone")
    assert sizes == sorted(sizes)
    assert 0 < sizes[-1] <= 5000
