"""Shared fixtures: small real models and tokenizers, made on the spot; nothing is downloaded."""

import gc
import os
import signal
import time
from importlib import metadata
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: each has a core of its own
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What tests import stays: to look for garbage in all of it again and again takes time.
gc.set_threshold(*gc.get_threshold()[:2], 100)

# Who runs in the background of a shell ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


BEGUN_S = time.monotonic()
NO_TIME = "no time was left for it"


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    """Entry points are install metadata: say how to get them instead of failing one by one."""
    if not metadata.entry_points(group="reasonrl"):
        pytest.exit("reasonrl is not installed here. Run: pip install -e '.[test]'", returncode=4)


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, metavar="N", help="begin no test after N minutes; name what was left out")


LONGEST = {"test_over_optimization_demonstration", "test_vllm_server"}
"""Files that take longest, one of the slow tests and one of vLLM's."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("minutes")
    if minutes is not None and time.monotonic() - BEGUN_S > 60 * minutes:
        pytest.skip(NO_TIME)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the files of tests for which no time was left."""
    skipped = terminalreporter.stats.get("skipped", [])
    files = sorted({report.nodeid.partition("::")[0] for report in skipped if NO_TIME in str(report.longrepr)})
    if files:
        terminalreporter.write_sep("=", f"{NO_TIME}: tests of {len(files)} files")
        terminalreporter.write_line(" ".join(files))
