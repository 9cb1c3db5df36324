"""Shared fixtures: small real models and tokenizers, made on the spot; nothing is downloaded."""

import os
import signal
from importlib import metadata
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: each has a core of its own
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Who runs in the background of a shell ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the file that takes minutes first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: "test_over_optimization_demonstration" not in item.nodeid)
