"""``reasonrl tasks``: lists, problems on show, checks that find what is wrong, and overlap without a run."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.errors import ReasonRLError

HEAD = """
import time
from reasonrl import Measurement, Problem, Suite, digest, split_of

loads = []

def number(rollout):
    found = rollout.text.partition("<answer>")[2].partition("</answer>")[0]
    return Measurement(float(found == rollout.problem.answer), found)

def problems(numbers, answer=lambda n: n + 1):
    return [Problem(id=digest(n), task="t", prompt=f"What comes after {n}?", answer=str(answer(n))) for n in numbers]

def suite(metric=number, found=None):
    return Suite(name="mine", problems=found or problems(range(30)), metric=metric, template="bare", max_new_tokens=8)
"""

SUITES = {
    "good": ("return suite()", None),
    "no_answer": ("return suite(found=problems(range(30)) + problems([99], lambda n: ''))", "empty reply scores (1 "),
    "pays_anything": ("return suite(lambda_)", "a wrong reply scores (30 problems)"),
    "pays_empty": ("return suite(empty)", "an empty reply scores (30 problems)"),
    "unread": ("return suite(never)", "a right answer does not score 1 (30 problems)"),
    "repeated": ("return suite(found=problems([*range(30), 3]))", "1 ids of heldout problems stand for several"),
    "unstable": ("loads.append(1); return suite(found=problems(range(len(loads), 30)))", "a second load gives other"),
    "fails": ("return suite(broken)", "scoring fails (error: ValueError: no"),
}

METRICS = """
def lambda_(rollout):
    return Measurement(float("<answer>" in rollout.text))

def empty(rollout):
    return Measurement(1.0 if not rollout.text else number(rollout).value)

def never(rollout):
    return Measurement(0.0)

def broken(rollout):
    raise ValueError("no")
"""


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it said."""
    done = CliRunner().invoke(app, ["tasks", *arguments])
    if isinstance(done.exception, ReasonRLError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


@pytest.mark.parametrize("name", SUITES)
def test_a_check_finds_what_is_wrong_with_a_suite(in_folder: Path, name: str) -> None:
    body, said = SUITES[name]
    (in_folder / f"{name}.py").write_text(f"{HEAD}{METRICS}\ndef {name}(*, load):\n    {body}\n")
    code, told = call("check", f"./{name}.py:{name}", "--workers", "1")
    if said is None:
        assert (code, "30 of 30 score 1 (as answer_tag: 30)" in told) == (0, True), told
    else:
        assert (said in told, code) == (True, 4), told


TASKS = '''
def apart(*, split, seed):
    """Ask; scored by the reward ``exact_answer``."""
    return [one for one in problems(range(300)) if split_of(one.id) == split]

def mixed(*, split, seed):
    """Ask; scored by the reward ``exact_answer``."""
    return problems(range(20) if split == "train" else range(15, 40))

def unknown(*, split, seed):
    """Ask."""
    return problems(range(20))
'''


@pytest.mark.slow
def test_a_task_is_scored_by_the_reward_that_it_names_and_its_splits_are_compared(in_folder: Path) -> None:
    (in_folder / "mine.py").write_text(HEAD + TASKS)
    code, told = call("check", "./mine.py:apart", "--workers", "1", "--num-problems", "10", "--json")
    (found,) = json.loads(told)["reports"]
    assert (code, found["scored_by"], found["num_checked"]) == (
        0,
        "reward 'exact_answer'",
        {"train": 10, "heldout": 10},
    )
    assert sum(found["ways"].values()) == found["replies"]["right"]["num_full"] == 20
    code, told = call("check", "./mine.py:mixed", "--workers", "1")
    assert (code, "the splits are not apart: 5 of 25" in told) == (4, True), told
    code, told = call("check", "./mine.py:unknown")
    assert (code, "names no reward: give --reward NAME" in told) == (2, True)
    assert call("check", "./mine.py:unknown", "--reward", "exact_answer", "--workers", "1")[0] == 4


def test_problems_are_shown_with_prompt_answer_and_columns(in_folder: Path) -> None:
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n), "level": n} for n in range(20)]
    (in_folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, told = call("show", "jsonl", "-n", "2", "--data", "rows.jsonl", "--template", "plain")
    assert code == 0
    assert "20 train problems, shown with template 'plain'" in told
    assert told.count("prompt:\nQuestion: What is") == 2
    assert "--- answer: 0" in told
    assert "--- meta: level" in told
    assert "give" not in told
    for arguments, said in (
        (("show", "jsonl", "--data", "rows.jsonl"), "add -n 3"),
        (("show", "arithmetic", "-n", "1", "--data", "x"), "reads no file"),
        (("show", "arithmetic", "-n", "1", "--param", "max_term=3"), "Did you mean 'max_terms'"),
    ):
        code, told = call(*arguments)
        assert (code, said in told) == (2, True), told


def test_a_list_says_what_is_known_of_published_data() -> None:
    code, told = call("list")
    assert code == 0
    assert "openai/gsm8k | 7,473 train, 1,319 test | MIT" in told
    assert "warning" not in told
    code, told = call("show", "gsm8k")
    assert "license: MIT" in told


@pytest.mark.parametrize(
    ("planted", "code"),
    [
        ("What is left of 17 apples when three are eaten and 4 more are picked by Ann?", 3),
        ("Question: What is left of 17 apples when 3 are eaten and 4 more are picked by Ann?\nThink.", 3),
        ("Answer in a word: Who was first?\nWho rowed to the island?", 3),
        ("What is right of the apples when all are gone?", 0),
    ],
)
def test_overlap_is_found_without_a_run(in_folder: Path, planted: str, code: int) -> None:
    held = ["What is left of 17 apples when 3 are eaten and 4 more are picked by Ann?", "Who rowed to the island?"]
    for name, texts in (("train", [f"Why is item {n} odd?" for n in range(20)] + [planted]), ("held", held)):
        rows = [json.dumps({"question": text, "answer": "1"}) for text in texts]
        (in_folder / f"{name}.jsonl").write_text("\n".join(rows))
    arguments: list[Any] = ["--train-data", "train.jsonl", "--data", "held.jsonl", "--param", "metric=last_number"]
    found, told = call("overlap", "jsonl", "jsonl", *arguments, "--out", "found.json")
    assert found == code, told
    written = json.loads((in_folder / "found.json").read_text())
    assert written["suites"]["jsonl"]["verdict"] == ("overlap" if code else "apart")
