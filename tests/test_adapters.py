"""Functions written for TRL and verl, as their users write them, run unchanged."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from builders import group, reward, scorer

from reasonrl.config.settings import RewardRef
from reasonrl.errors import PluginError
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import RewardFn
from reasonrl.scoring.contract import load_reward
from reasonrl.types import Group, Score

CHAT = ({"role": "user", "content": "1 + 1?"},)


def scores(function: RewardFn, *groups: Group, **settings: Any) -> list[Score]:
    """What a reward says of every completion. Any: settings of a run file."""
    with closing(scorer(reward(function, **settings), max_failure_rate=1.0)) as subject:
        found = subject.score(groups, 3)
    return [verdict.rewards["r"] for members in found for verdict in members]


def values(function: RewardFn, *groups: Group, **settings: Any) -> list[float | None]:
    """The values of these. Any: as above."""
    return [score.value for score in scores(function, *groups, **settings)]


# As in open-r1: conversations, and the column ``solution``.


def accuracy_reward(completions: list[list[dict[str, str]]], solution: list[str], **kwargs: Any) -> list[float | None]:
    contents = [completion[0]["content"] for completion in completions]
    rewards: list[float | None] = []
    for content, sol in zip(contents, solution, strict=True):
        if not sol:
            rewards.append(None)
            continue
        rewards.append(float(content.split()[-1:] == [sol]))
    return rewards


def format_reward(completions, **kwargs: Any):  # type: ignore[no-untyped-def]  # noqa: ANN201
    pattern = r"^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$"
    completion_contents = [completion[0]["content"] for completion in completions]
    matches = [re.match(pattern, content, re.DOTALL | re.MULTILINE) for content in completion_contents]
    return [1.0 if match else 0.0 for match in matches]


def len_reward(completions: list[dict[str, str]], solution: list[str], **kwargs: Any) -> list[float]:
    contents = [completion[0]["content"] for completion in completions]  # type: ignore[index]
    lengths = [len(content) for content in contents]
    least, most = min(lengths), max(lengths)
    if least == most:
        return [0.0] * len(completions)
    return [0.5 - (length - least) / (most - least) for length in lengths]


def test_rewards_of_open_r1_are_told_by_their_types() -> None:
    right_and_wrong, other = group(["it is 2", "it is 3"]), group(["no"], text="?", answer="")
    assert values(accuracy_reward, right_and_wrong, other) == [1.0, 0.0, None]
    assert scores(accuracy_reward, other)[0].outcome == "unscorable"
    assert values(len_reward, right_and_wrong, other) == [-0.5, -0.5, 0.5]


def test_a_format_reward_of_open_r1_reads_conversations_where_the_problems_are_conversations() -> None:
    text = "<think>\n1 + 1\n</think>\n<answer>\n2\n</answer>"
    assert values(format_reward, group([text, "2"], messages=CHAT)) == [1.0, 0.0]


def test_where_problems_are_texts_a_run_file_may_ask_for_conversations() -> None:
    text = "<think>\n1 + 1\n</think>\n<answer>\n2\n</answer>"
    assert values(format_reward, group([text, "2"]), style="trl_chat") == [1.0, 0.0]
    (score, _) = scores(format_reward, group([text, "2"]))
    assert (score.outcome, "set style: trl_chat" in score.why) == ("error", True)


# As in TRL's documentation: texts, and columns by name.


def reward_num_unique_chars(completions: Sequence[str], **kwargs: Any) -> list[float]:
    return [float(len(set(c))) for c in completions]


def math_reward_func(prompts: list[str], completions: list[str], task: list[str], **kwargs: Any) -> list[float | None]:
    rewards: list[float | None] = []
    for prompt, completion, t in zip(prompts, completions, task, strict=True):
        rewards.append(float(completion in prompt) if t == "math" else None)
    return rewards


def test_rewards_of_trl_are_given_texts_and_columns() -> None:
    groups = group(["1", "5"], meta={"task": "math"}), group(["aab"], text="Say.", meta={"task": "chat"})
    assert values(reward_num_unique_chars, *groups) == [1.0, 1.0, 2.0]
    assert values(math_reward_func, *groups) == [1.0, 0.0, None]


def test_a_column_that_some_problems_lack_is_none_there() -> None:
    seen: list[Any] = []

    def look(completions: list[str], level: list[int | None], **kwargs: Any) -> list[float]:
        seen.append((level, kwargs))
        return [0.0] * len(completions)

    scores(look, group(["a"], meta={"level": 3}), group(["b"], text="?", meta={"source": "x"}))
    ((level, kwargs),) = seen
    assert level == [3, None]
    assert kwargs["source"] == [None, "x"]
    assert kwargs["answer"] == kwargs["solution"] == kwargs["ground_truth"] == ["2", "2"]
    assert kwargs["prompts"] == ["1 + 1?", "?"]
    assert kwargs["completion_ids"] == [[1, 0], [1, 0]]
    assert kwargs["trainer_state"].global_step == 3
    assert kwargs["log_extra"]("column", ["a", "b"]) is None
    assert kwargs["log_metric"]("name", 1.0) is None


def test_a_column_of_the_data_goes_before_the_problems_answer() -> None:
    def look(completions: list[str], solution: list[str]) -> list[float]:
        return [float(one == "worked out") for one in solution]

    assert values(look, group(["a"], meta={"solution": "worked out"})) == [1.0]


def test_what_the_run_file_sets_goes_before_a_column_and_a_column_before_a_default() -> None:
    def look(completions: list[str], level: Any = "default") -> list[float]:
        return [float(level == "set" or level == [3])]

    assert values(partial(look, level="set"), group(["a"], meta={"level": 4})) == [1.0]
    assert values(look, group(["a"], meta={"level": 3})) == [1.0]


def test_a_column_that_no_problem_has_is_an_error_that_names_the_columns() -> None:
    def look(completions: list[str], levle: list[int]) -> list[float]:
        return [0.0]

    (score,) = scores(look, group(["a"], meta={"level": 3}))
    assert "no problem of this step has a column 'levle'; the columns are answer, ground_truth, level" in score.why


def test_tokens_are_sent_only_to_functions_that_may_ask_for_them() -> None:
    assert reward(accuracy_reward).arguments == ("batch", "step")
    plain: RewardFn = lambda completions, answer: [0.0]  # noqa: E731
    assert reward(plain).arguments == ("texts", "problems", "step")


async def judged(completions: list[str], **kwargs: Any) -> list[float]:
    await asyncio.sleep(0)
    return [float(len(completion)) for completion in completions]


def test_an_async_reward_of_trl_is_awaited() -> None:
    assert values(judged, group(["a", "bb"]), isolated=True) == [1.0, 2.0]


def test_the_wrong_number_of_values_costs_the_whole_step() -> None:
    (first, second) = scores(lambda completions: [1.0], group(["a", "b"]))
    assert first.outcome == second.outcome == "error"
    assert "1 values for 2 rollouts" in first.why


# As in verl.


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, method: str = "strict"
) -> float:
    """The shape of verl's GSM8K score."""
    if method == "strict":
        found = re.search(r"#### (\-?[0-9\.\,]+)", solution_str)
        final = found and found.group(1).replace(",", "")
    else:
        final = (re.findall(r"\-?[0-9\.\,]+", solution_str) or [None])[-1]
    return 1.0 if final == ground_truth else 0.0


def test_verls_compute_score_is_given_one_sample() -> None:
    assert values(compute_score, group(["so #### 2", "so 2"])) == [1.0, 0.0]
    assert reward(compute_score).unit == "rollout"


def test_verls_source_and_extra_information_are_columns() -> None:
    seen: list[Any] = []

    def look(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> bool:
        seen.append((data_source, extra_info))
        return True

    meta = {"data_source": "openai/gsm8k", "extra_info": {"index": 3}}
    assert values(look, group(["a"], meta=meta), group(["b"], text="?", meta={"level": 1})) == [1.0, 1.0]
    assert seen == [("openai/gsm8k", {"index": 3}), ("test", {"level": 1})]


def test_verls_mapping_keeps_numbers_as_parts_and_the_rest_in_words() -> None:
    def look(solution_str: str, ground_truth: str) -> dict[str, Any]:
        return {"score": 0.5, "acc": True, "pred": "2"}

    (score,) = scores(look, group(["a"]))
    assert (score.value, score.parts, score.why) == (0.5, {"acc": 1.0}, "pred '2'")


@pytest.mark.parametrize(
    ("returned", "outcome"), [({"acc": 1.0}, "error"), ({"score": None}, "unscorable"), (None, "unscorable")]
)
def test_verls_score_may_be_missing(returned: Any, outcome: str) -> None:
    assert scores(lambda solution_str, ground_truth: returned, group(["a"]))[0].outcome == outcome


async def sandboxed(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> dict[str, Any]:
    return {"score": float(solution_str == ground_truth), "source": data_source}


def test_an_async_compute_score_is_awaited() -> None:
    right, wrong = scores(sandboxed, group(["2", "3"]), isolated=True)
    assert (right.value, wrong.value, right.why) == (1.0, 0.0, "source 'test'")


# From a run file, through a worker.

THEIRS = """
def f(completions, solution, limit=3, **kwargs):
    return [float(len(c) < limit and c == s) for c, s in zip(completions, solution)]

def compute_score(data_source, solution_str, ground_truth, extra_info=None, right=1.0):
    return {"score": right * (solution_str == ground_truth), "pred": solution_str}
"""


def test_both_run_in_workers_with_parameters_from_the_run_file(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(THEIRS)
    refs = [
        RewardRef(name=f"{tmp_path}/theirs.py:f", label="trl", params={"limit": 2}),
        RewardRef(name=f"{tmp_path}/theirs.py:compute_score", label="verl", params={"right": 2}),
    ]
    with closing(scorer(*(load_reward(ref, Plugins()) for ref in refs), workers=1)) as subject:
        (right, wrong), (long,) = subject.score([group(["2", "3"]), group(["22"], text="?", answer="22")], 1)
    assert [verdict.rewards["trl"].value for verdict in (right, wrong, long)] == [1.0, 0.0, 0.0]
    assert [verdict.rewards["verl"].value for verdict in (right, wrong, long)] == [2.0, 0.0, 2.0]


def test_a_parameter_that_is_neither_a_column_nor_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(THEIRS)
    with pytest.raises(PluginError, match=r"unknown parameter 'limti'. Did you mean 'limit'"):
        load_reward(RewardRef(name=f"{tmp_path}/theirs.py:f", params={"limti": 2}), Plugins())
