# pytest: yes
# names: read_config, clock
# wrong: value.strip() => value
import time


def clock():
    return time.time()


def stamp():
    return f"at {clock():.0f}"


def read_config(path):
    pairs = (line.split("=") for line in open(path) if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}
# ---- tests
import pytest
import solution
from solution import read_config
def test_file(tmp_path):
    path = tmp_path / "c.ini"
    path.write_text("a = 1\nb=2\n")
    assert read_config(path) == {"a": "1", "b": "2"}
def test_clock(monkeypatch):
    monkeypatch.setattr(solution, "clock", lambda: 12)
    assert solution.stamp() == "at 12"
def test_name(monkeypatch):
    monkeypatch.setattr("solution.clock", lambda: 13.2)
    assert solution.stamp() == "at 13"
