"""The author kit, as somebody who writes a reward meets it."""

import ast
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reasonrl import DataError, ReasonRLError, commands
from reasonrl.config.runfile import load_run
from reasonrl.config.settings import ScoringSettings
from reasonrl_author import Report, check_reward, score_text, score_texts
from reasonrl_author.command_line import app
from reasonrl_author.pairs import read_pairs, scan_pairs

OURS = f"{Path(__file__).parent / 'author_rewards.py'}"
QUICK = ScoringSettings(workers=2, timeout_s=1.0)
"""For rewards that hang."""
CALM = ScoringSettings(workers=2, timeout_s=60.0)
"""For rewards that do not, however busy the machine is."""
KINDS = ("rollout", "group", "batch", "async")


def invoke(*arguments: str, typed: bytes = b"") -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it printed."""
    result = CliRunner().invoke(app, arguments, input=typed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def say(*arguments: str, typed: bytes = b"") -> str:
    """Run a command that succeeds."""
    code, output = invoke(*arguments, typed=typed)
    assert code == 0, output
    return output


def refuse(*arguments: str) -> str:
    """Run a command that is refused; return the one message."""
    with pytest.raises(ReasonRLError) as caught:
        invoke(*arguments)
    return str(caught.value)


def show(reward: str) -> str:
    """Run the core's command that shows a reward; return what it printed."""
    result = CliRunner().invoke(commands.app, ["rewards", "show", reward])
    assert result.exit_code == 0, result.output
    return result.output


def all_findings(report: Report) -> str:
    """What a report found, without what it saw."""
    return "\n".join(finding.says for finding in report.findings)


# rewards show


def test_a_reward_is_shown_with_all_that_its_user_needs() -> None:
    shown = show("numeric_answer")
    version = importlib.metadata.version("reasonrl")
    assert f"numeric_answer  (reasonrl-rewards (reasonrl) {version})" in shown
    assert "scores: one rollout; called in a worker process" in shown
    assert "rollout: the whole Rollout" in shown
    assert "sources: " in shown
    assert "right number" in shown


def test_a_reward_of_a_file_is_shown_with_its_place_and_its_parameters() -> None:
    shown = show(f"{OURS}:strict")
    line = (
        Path(OURS).read_text().splitlines().index("def strict(text: str, answer: str, *, scale: float = 1.0) -> Score:")
    )
    assert f"source: {OURS}:{line + 1}" in shown
    assert "answer: the problem's answer" in shown
    assert "scale: float = 1.0" in shown


def test_a_reward_of_a_group_is_shown_as_one() -> None:
    assert "scores: a group" in show(f"{OURS}:shortest")


# rewards new


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_is_whole(tmp_path: Path, kind: str) -> None:
    printed = say("new", "fair_share", "--into", str(tmp_path), "--kind", kind)
    folder = tmp_path / "fair-share-reward"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "fair_share_reward/__init__.py",
        "fair_share_reward/reward.py",
        "pyproject.toml",
        "run.yaml",
        "tests/test_fair_share.py",
    }
    assert all(str(folder / file) in printed for file in files)
    for path in folder.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text()))
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == "fair-share-reward"
    assert project["project"]["entry-points"]["reasonrl"] == {"fair-share-reward": "fair_share_reward"}
    assert [reward.name for reward in load_run(folder / "run.yaml").rewards] == ["fair_share"]
    assert not any(mark in path.read_text() for path in folder.rglob("*.*") for mark in ("{%", "{{", "PACKAGE"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_reward_of_a_new_package_pays_the_right_answer(tmp_path: Path, kind: str) -> None:
    say("new", f"of_{kind}", "--into", str(tmp_path), "--kind", kind)
    reward = f"{tmp_path}/of-{kind}-reward/of_{kind}_reward/reward.py:of_{kind}"
    right, wrong, empty = score_texts(reward, ["<answer>42</answer>", "<answer>41</answer>", ""], answer="42")
    assert right.value is not None
    assert right.value >= 1.0 > 0.1 == wrong.value
    assert empty.value == 0.0
    assert "42" in right.why
    assert score_text(reward, "<answer>41</answer>", answer="42", params={"wrong_number": 0.5}).value == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_of_a_new_package_pass_at_once(tmp_path: Path, kind: str) -> None:
    say("new", "fair_share", "--into", str(tmp_path), "--kind", kind)
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(tests, cwd=tmp_path / "fair-share-reward", capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    say("new", "fair_share", "--into", str(tmp_path))
    mine = tmp_path / "fair-share-reward" / "README.md"
    mine.write_text("mine")
    assert "exists already" in refuse("new", "fair_share", "--into", str(tmp_path))
    assert mine.read_text() == "mine"
    (tmp_path / "half-reward").write_text("a file")
    assert "exists already" in refuse("new", "half", "--into", str(tmp_path))
    assert (tmp_path / "half-reward").read_text() == "a file"


@pytest.mark.parametrize(
    ("name", "valid"),
    [("FairShare", "fair_share"), ("fair-share", "fair_share"), ("2fair", "fair"), ("class", "class_reward")],
)
def test_a_name_that_cannot_be_one_is_answered_with_the_nearest(tmp_path: Path, name: str, valid: str) -> None:
    assert f"Such as {valid!r}" in refuse("new", name, "--into", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused_with_its_owner(tmp_path: Path) -> None:
    assert "reasonrl-rewards (reasonrl) offers 'r1_format' already" in refuse(
        "new", "r1_format", "--into", str(tmp_path)
    )
    assert list(tmp_path.iterdir()) == []


# rewards try


def test_a_text_is_tried_with_everything_that_the_reward_says() -> None:
    text = "<think>No.</think><answer>42</answer>"
    tried = say("try", f"{OURS}:strict", "--text", text, "--answer", "42", "--param", "scale=3")
    for line in ("value: 3", "outcome: scored", "why: answered '42'", "  found: 1", "run time: "):
        assert line in tried


def test_texts_come_from_standard_input_and_from_files_too(tmp_path: Path) -> None:
    path = tmp_path / "reply.txt"
    path.write_text("<answer>7</answer>\n")
    reward = ("try", f"{OURS}:strict", "--answer", "42", "--text-file", str(path), "--text", "-")
    tried = say(*reward, typed=b"<answer>42</answer>\n")
    assert tried.index("value: 1") < tried.index("value: 0")


def test_a_reward_of_a_group_sees_all_texts_at_once() -> None:
    tried = say("try", f"{OURS}:shortest", "--text", "long", "--text", "s")
    assert tried.index("value: 0") < tried.index("value: 1")


def test_what_a_reward_does_while_it_is_tried_is_an_outcome() -> None:
    assert "outcome: timeout" in say("try", f"{OURS}:slow", "--text", "", "--timeout-s", "0.3")
    assert "outcome: error" in say("try", f"{OURS}:fragile", "--text", "die")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no text to score"),
        (["--text", "x", "--meta", "[1]"], "--meta"),
        (["--text", "x", "--meta", "{"], "--meta: not JSON"),
        (["--text-file", "nowhere"], "nowhere"),
        (["--text", "x", "--param", "sacle=2"], "'scale'"),
    ],
)
def test_trying_with_arguments_that_make_no_sense_is_refused(arguments: list[str], message: str) -> None:
    assert message in refuse("try", f"{OURS}:strict", *arguments)


# rewards grade


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a file of pairs. Any: JSON values."""
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return path


def read_scores(path: Path) -> list[dict[str, Any]]:
    """Read scores. Any: JSON values."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_every_row_gets_its_score_in_order_whatever_the_other_rows_do(in_folder: Path) -> None:
    texts = ["hang", *["right"] * 100, "die", *["wrong"] * 100, "raise", *["right"] * 100]
    write_rows(Path("pairs.jsonl"), [{"id": n, "answer": "right", "text": text} for n, text in enumerate(texts)])
    said = say(
        *("grade", f"{OURS}:fragile", "--pairs", "pairs.jsonl", "--out", "scores.jsonl"),
        *("--workers", "2", "--timeout-s", "3"),
    )
    scores = read_scores(Path("scores.jsonl"))
    assert [score["id"] for score in scores] == list(range(len(texts)))
    for text, score in zip(texts, scores, strict=True):
        assert set(score) == {"id", "value", "right", "outcome", "why", "parts", "run_s", "queue_s"}
        assert score["right"] == {"right": True, "wrong": False}.get(text)
        assert score["outcome"] == {"hang": "timeout", "die": "error", "raise": "error"}.get(text, "scored")
    assert "scored 300, error 2, timeout 1" in said
    assert "as it was told" in said
    assert sorted(path.name for path in Path().iterdir()) == ["pairs.jsonl", "scores.jsonl"]


def test_accuracy_is_measured_where_rows_say_what_is_expected(in_folder: Path) -> None:
    rows: list[Mapping[str, Any]] = [
        {"id": "good", "answer": "42", "text": r"\boxed{42}", "expected": True},
        {"id": "bad", "answer": "42", "text": r"\boxed{41}", "expected": False},
        {"id": "accepted", "answer": "42", "text": r"\boxed{42}", "expected": False},
        {"id": "rejected", "answer": "42", "text": r"\boxed{41}", "expected": 1},
        {"id": "unread", "answer": "Monday", "text": r"\boxed{41}", "expected": True, "kind": "words", "topic": "days"},
        {"id": "no label", "answer": "42", "text": "", "expected": None},
    ]
    write_rows(Path("pairs.jsonl"), rows)
    said = say("grade", "numeric_answer", "--pairs", "pairs.jsonl", "--out", "scores.jsonl")
    assert "accuracy: 40.00 % (2 of 5 as expected; 95 % interval 11.76 to 76.93)" in said
    assert "words: 0.00 % (0 of 1" in said
    assert "false accepts (worth more than expected): 1: 'accepted'" in said
    assert "false rejects (worth less than expected): 1: 'rejected'" in said
    assert "without a value although one was expected: 1: 'unread'" in said
    assert "not used: 'topic'" in said
    assert [score["right"] for score in read_scores(Path("scores.jsonl"))] == [True, False, True, False, None, False]


def test_strange_files_and_texts_are_graded_like_any_other(in_folder: Path) -> None:
    texts = [r"\boxed{42}", "a" * 1_000_000 + r"\boxed{42}", "\ud800\u2028\x85\0" + r"\boxed{42}", "\U0001f680", ""]
    lines = [json.dumps({"id": f"\ud83d{n}", "answer": "42", "text": text}) for n, text in enumerate(texts)]
    plain = json.dumps({"id": "as it is", "answer": "42", "text": "\u2028\x85\u00bd \\boxed{42}"}, ensure_ascii=False)
    content = b"\xef\xbb\xbf\r\n" + "\r\n\n  \r\n".join([*lines, plain]).encode()
    Path("pairs.jsonl").write_bytes(content)
    say("grade", "numeric_answer", "--pairs", "pairs.jsonl", "--out", "scores.jsonl")
    scores = read_scores(Path("scores.jsonl"))
    assert [score["id"] for score in scores] == [*(f"\ud83d{n}" for n in range(5)), "as it is"]
    assert [score["right"] for score in scores] == [True, True, True, False, False, True]


def test_a_text_that_is_an_answer_already_is_read_as_one(in_folder: Path) -> None:
    rows = [
        {"id": "1", "answer": "42", "text": "42"},
        {"id": "2", "answer": "42", "text": r"\boxed{42}", "kind": "reply"},
        {"id": "3", "answer": "42", "text": "42", "kind": "bare"},
    ]
    write_rows(Path("pairs.jsonl"), rows)
    command = ("grade", "numeric_answer", "--pairs", "pairs.jsonl", "--out", "scores.jsonl", "--overwrite")
    say(*command)
    assert [score["right"] for score in read_scores(Path("scores.jsonl"))] == [False, True, True]
    say(*command, "--bare")
    assert [score["right"] for score in read_scores(Path("scores.jsonl"))] == [True, True, True]
    message = refuse("grade", f"{OURS}:strict", "--pairs", "pairs.jsonl", "--out", "other.jsonl", "--bare")
    assert "no parameter 'sources'" in message


def test_scores_and_pairs_are_not_overwritten(in_folder: Path) -> None:
    pairs = write_rows(Path("pairs.jsonl"), [{"id": "1", "answer": "42", "text": "42"}])
    Path("scores.jsonl").write_text("mine")
    command = ("grade", "numeric_answer", "--pairs", "pairs.jsonl", "--out")
    assert "--overwrite" in refuse(*command, "scores.jsonl")
    assert "the file of pairs" in refuse(*command, "./pairs.jsonl", "--overwrite")
    assert "cannot be written" in refuse(*command, "nowhere/scores.jsonl")
    assert Path("scores.jsonl").read_text() == "mine"
    assert len(read_scores(pairs)) == 1


def test_an_answer_that_is_a_number_keeps_its_spelling(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    spelled = ["42", "1.50", "1e3", "123456789012345678901234567890", "-0.0"]
    path.write_text("".join(f'{{"id": {n}, "answer": {answer}, "text": ""}}\n' for n, answer in enumerate(spelled)))
    assert [pair.answer for pair in read_pairs(path)] == spelled


GOOD = '{"id": "1", "answer": "2", "text": "3"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":3: not JSON"),
        ("[1]", ":3: a list, not an object"),
        ('{"id": "2", "answer": "2"}', ":3: no 'text'"),
        ('{"id": "1", "answer": "2", "text": "3"}', ":3: id '1' is that of line 1 too"),
        ('{"id": 1, "answer": "2", "text": "3"}', ":3: id 1 is that of line 1 too"),
        ('{"id": "2", "answer": "2", "text": 3}', ":3: 'text' is a number; it must be a string"),
        ('{"id": true, "answer": "2", "text": "3"}', ":3: 'id' is true or false"),
        ('{"id": "2", "answer": null, "text": "3"}', ":3: 'answer' is null; write it as a string"),
        ('{"id": "2", "answer": ["2"], "text": "3"}', ":3: 'answer' is a list; write it as a string"),
        ('{"id": "2", "answer": "2", "text": "3", "expected": "yes"}', ":3: 'expected' is a string"),
        ('{"id": "2", "answer": "2", "text": "3", "meta": []}', ":3: 'meta' is a list; it must be an object"),
        ('{"id": "2", "answer": NaN, "text": "3"}', ":3: not JSON (NaN"),
        ("[" * 100_000, ":3: not JSON"),
        ('{"id": "2", "answer": "2", "text": "\xff"}', ":3: not UTF-8"),
    ],
)
def test_a_line_that_is_no_row_is_named_before_anything_is_graded(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(f"{GOOD}\n\n{line}\n".encode("latin-1"))
    with pytest.raises(DataError) as caught:
        scan_pairs(path)
    assert f"{path}{message}" in str(caught.value)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="no rows"):
        scan_pairs(tmp_path / "pairs.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        scan_pairs(tmp_path / "nowhere.jsonl")


def test_a_mistake_in_a_file_is_one_message_and_leaves_nothing_behind(in_folder: Path) -> None:
    Path("pairs.jsonl").write_text(f"{GOOD}\n{GOOD}\n")
    command = [sys.executable, "-m", "reasonrl", "rewards", "grade", "numeric_answer", "--pairs", "pairs.jsonl"]
    ran = subprocess.run([*command, "--out", "v.jsonl"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr == "error: pairs.jsonl:2: id '1' is that of line 1 too; every row needs its own.\n"
    assert [path.name for path in Path().iterdir()] == ["pairs.jsonl"]


# rewards check


@pytest.mark.slow
def test_a_good_reward_has_no_findings() -> None:
    code, printed = invoke("check", f"{OURS}:strict", "--answer", "42", "--wrong", "6*7", "--workers", "2")
    assert code == 0, printed
    assert "Nothing found." in printed
    assert "reads answers marked as answer_tag, r1; not as boxed" in printed
    assert "of two answers in one reply the last counts" in printed
    assert "deterministic: " in printed
    assert "calls a second" in printed
    assert "it leaves what it is given as it was" in printed


def test_a_careless_reward_is_told_all_its_faults_in_words() -> None:
    found = all_findings(check_reward(f"{OURS}:careless", answers=["42"], settings=QUICK))
    for says in (
        "paid: an answer inside <think>",
        "paid: an answer that names several",
        "paid: an equation with the answer on one side",
        "paid: an answer that is denied",
        "RUNS THE TEXT OF A REPLY AS CODE",
        "changes what it is given",
        "fails (ValueError) on",
        "a reply of null bytes",
        "a reply of a million letters",
        "runs out of time on a tower of powers",
    ):
        assert says in found
    assert "every answer" not in found
    assert "deterministic" not in found


@pytest.mark.slow
def test_what_a_list_of_all_answers_is_worth_is_said() -> None:
    report = check_reward(f"{OURS}:anywhere", answers=["42"], settings=CALM)
    found = all_findings(report)
    assert "paid: a list of every answer there might be, in one mark" in found
    assert "paid: any of several answers, whether the right one comes first or last" in found
    assert "paid: a wrong answer" in found
    assert "got 1; the answer is '42'" in str(report)


@pytest.mark.slow
def test_a_reward_that_pays_everything_is_found_out() -> None:
    code, printed = invoke("check", f"{OURS}:generous", "--json", "--workers", "2")
    report = json.loads(printed)
    assert code == 1
    says = " ".join(finding["says"] for finding in report["findings"])
    assert "every reply gets 1, whatever it says" in says
    assert "although it asks for 'answer'" in says


@pytest.mark.slow
def test_a_reward_that_draws_at_random_is_not_deterministic() -> None:
    assert "is not deterministic" in all_findings(check_reward(f"{OURS}:noisy", settings=CALM))


@pytest.mark.slow
def test_a_reward_that_counts_its_calls_depends_on_the_order() -> None:
    assert "depends on the order" in all_findings(check_reward(f"{OURS}:counting", settings=CALM))


@pytest.mark.slow
def test_a_reward_that_goes_by_the_place_in_its_group_depends_on_the_order() -> None:
    assert "depends on the order" in all_findings(check_reward(f"{OURS}:first", settings=CALM))
    assert check_reward(f"{OURS}:shortest", settings=CALM).findings == ()


def test_a_reward_that_hangs_is_not_waited_for_on_every_reply() -> None:
    settings = ScoringSettings(workers=2, timeout_s=0.3)
    report = check_reward(f"{OURS}:slow", settings=settings)
    assert all_findings(report) == "runs out of time on an ordinary reply"
    assert report.num_replies < 20


def test_a_reward_that_returns_no_number_is_told_so_once() -> None:
    report = check_reward(f"{OURS}:wordy", settings=CALM)
    (only,) = report.findings
    assert "fails (TypeError) on an ordinary reply" in only.says
    assert "returned 'good'" in only.got


@pytest.mark.slow
def test_a_reward_that_looks_at_the_form_only_is_told_what_was_not_checked() -> None:
    report = check_reward("r1_format", task="arithmetic", num_problems=2, settings=CALM)
    assert not report.findings, str(report)
    assert "not checked: what answers are paid" in str(report)


@pytest.mark.slow
def test_pairs_say_what_a_right_reply_looks_like(tmp_path: Path) -> None:
    meta = {"numbers": [3, 5, 7]}
    rows = [
        {"id": "right", "answer": "22", "text": "<answer>3*5+7</answer>", "meta": meta, "expected": True},
        {"id": "wrong", "answer": "22", "text": "<answer>22</answer>", "meta": meta, "expected": False},
        {"id": "not so", "answer": "22", "text": "<answer>3+5+7</answer>", "meta": meta, "expected": True},
    ]
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)
    report = check_reward("countdown", pairs=pairs, settings=CALM)
    (only,) = report.findings
    assert only.says == "a right answer is not paid"
    assert only.reply == "<answer>3+5+7</answer>"


@pytest.mark.slow
def test_problems_that_a_reward_cannot_judge_are_named() -> None:
    report = check_reward("numeric_answer", answers=["Monday"], settings=CALM)
    assert "it can judge none of these problems" in all_findings(report)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "rewards: no 'nothing'"),
        (["numeric_answer", "--task", "arithmetik"], "Did you mean 'arithmetic'?"),
        (["numeric_answer", "--task-param", "x=1"], "--task"),
        (["numeric_answer", "--pairs", "nowhere"], "nowhere: cannot be read"),
        (["numeric_answer", "--param", "source=1"], "'sources'"),
    ],
)
def test_checks_that_make_no_sense_are_refused(arguments: list[str], message: str) -> None:
    assert message in refuse("check", *arguments)
