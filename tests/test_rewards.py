"""Each reward on right, wrong and malicious completions."""

import asyncio
import functools
import pickle
import pkgutil
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reward_cases import HOSTILE, R1_PROMPT, rollout

from reasonrl import Score
from reasonrl_rewards import reasonrl_rewards
from reasonrl_rewards.answer import exact_answer, normalized_answer, numeric_answer
from reasonrl_rewards.countdown import countdown

REWARDS: dict[str, Callable[..., Any]] = {  # Any: each reward has its own signature
    name: pkgutil.resolve_name(reference) for name, reference in reasonrl_rewards().items()
}


def readme_example(folder: str) -> dict[str, Any]:
    """Run the Python example of a README and return what it defines. Any: functions of several kinds."""
    text = (Path(__file__).parents[1] / folder / "README.md").read_text(encoding="utf-8")
    defined: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], defined)
    return defined


def test_the_example_of_the_readme_is_a_reward() -> None:
    one_line = readme_example("rewards")["one_line"]
    assert one_line(rollout("short")).value == 1
    assert one_line(rollout("short"), max_chars=3).value == 0
    assert one_line(rollout("")).value == 0


def test_the_offered_rewards_are_the_documented_ones() -> None:
    readme = (Path(__file__).parents[1] / "rewards" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE) == sorted(REWARDS)


def test_rewards_can_be_sent_to_another_process() -> None:
    for reward in REWARDS.values():
        assert pickle.loads(pickle.dumps(reward)) is reward


def test_a_list_of_rewards_loads_no_heavy_library() -> None:
    heavy = "{'jsonschema', 'numpy', 'py3langid', 'reasoning_gym', 'regex', 'sympy', 'torch'}"
    load = "[pkgutil.resolve_name(reference) for reference in reasonrl_rewards.reasonrl_rewards().values()]"
    code = f"import pkgutil, reasonrl_rewards, sys; {load}; print({heavy} & sys.modules.keys())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "set()"


NEEDED: dict[str, dict[str, Any]] = {  # Any: each reward has its own
    "cosine_length": {"max_tokens": 100},
    "length": {"soft_limit_tokens": 50, "hard_limit_tokens": 100},
    "regex_answer": {"pattern": r"8|eight"},
}
ASKED: dict[str, Any] = {  # Any: columns of a data set
    "numbers": [7, 1],
    "instruction_id_list": ["keywords:existence"],
    "kwargs": [{"keywords": ["eight"]}],
    "choices": {letter: letter * 3 for letter in "12345678"},
    "schema": {"const": 8},
    "tests": {"calls": {"entry": "f", "cases": [{"args": [7], "expected": 8}]}},
}


@pytest.mark.parametrize("name", [name for name in sorted(REWARDS) if not name.startswith("judge")])  # test_judge.py
def test_no_completion_makes_a_reward_fail_or_pays_for_nothing(name: str) -> None:
    reward: Callable[..., Any] = functools.partial(REWARDS[name], **NEEDED.get(name, {}))
    started = time.process_time()
    for text in HOSTILE:
        given = reward(rollout(text, **ASKED))
        score: Score = asyncio.run(given) if asyncio.iscoroutine(given) else given
        worth = {"language": 1.0, "r1_format_graded": 0.75}.get(name, 0.0)
        assert score.value is None or score.value <= worth, text[:40]
        assert len(score.why) < 400
    assert time.process_time() - started < 60


# numeric_answer


@pytest.mark.parametrize(
    "text",
    [
        "<answer>8</answer>",
        "<answer> $8.00 </answer>",
        r"\boxed{8}",
        "#### 8",
        "<think>9?</think><answer>16/2</answer>",
    ],
)
def test_the_right_number_scores_1_however_it_is_written(text: str) -> None:
    assert numeric_answer(rollout(text)).value == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no answer found"),
        ("The answer is 8.", "no answer found"),
        ("<answer>9</answer>", "answered '9', wanted '8'"),
        ("<answer>7 or 8</answer>", "'7 or 8', which is not a number"),
        ("<answer>7, 8, 9</answer>", "not a number"),
        ("<answer>8</answer> or <answer>9</answer>", "answered '8 or 9'"),
        ("<answer>9</answer> or <answer>8</answer>", "answered '9 or 8'"),
        ("<answer>9=8</answer>", "not a number"),
        ("<answer>7+1</answer>", "not a number"),
        ("<answer>80%</answer>", "not a number"),
        ("<answer>8 apples</answer>", "not a number"),
        ("<answer>answer here</answer>", "not a number"),
        ("<answer>8000000000000000000000000000000000000001/1" + "0" * 39 + "</answer>", "answered"),
        ("<answer>8e999999999</answer>", "not a number"),
        ("<answer>" + "8" * 1_000_000 + "</answer>", "not a number"),
        ("<answer>\N{FULLWIDTH DIGIT EIGHT}</answer>", "not a number"),
        ("<answer>__import__('os')._exit(0)</answer>", "not a number"),
        ("<think><answer>8</answer></think>", "no answer found"),
        ("<think><answer>8</answer>", "no answer found"),
        ("<answer>8</answer></think>", "no answer found"),
        (R1_PROMPT, "'answer here', which is not a number"),
        (R1_PROMPT + " <answer>8", "'answer here', which is not a number"),
    ],
    ids=lambda text: text[:40],
)
def test_anything_but_one_right_number_scores_0(text: str, why: str) -> None:
    score = numeric_answer(rollout(text))
    assert score.value == 0
    assert why in score.why
    assert len(score.why) < 300


def test_an_answer_in_thinking_that_the_prompt_opened_scores_0() -> None:
    prompt = R1_PROMPT + " <think>"
    assert numeric_answer(rollout("<answer>8</answer>", prompt=prompt)).value == 0
    assert numeric_answer(rollout("</think><answer>8</answer>", prompt=prompt)).value == 1


def test_a_problem_without_a_number_cannot_be_scored() -> None:
    score = numeric_answer(rollout("<answer>x</answer>", answer="x"))
    assert (score.value, score.outcome) == (None, "unscorable")


def test_sources_widen_or_narrow_where_a_number_may_stand() -> None:
    assert numeric_answer(rollout("it is 8."), sources=("last_number",)).value == 1
    assert numeric_answer(rollout("<answer>8</answer>"), sources=("boxed",)).value == 0


# exact_answer


def test_the_same_text_scores_1_whatever_its_white_space() -> None:
    assert exact_answer(rollout("<answer>\n New   York </answer>", answer="New York")).value == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "New York",
        "<answer>NewYork</answer>",
        "<answer>New York, Boston</answer>",
        "<answer>York</answer>",
    ],
)
def test_another_text_scores_0(text: str) -> None:
    assert exact_answer(rollout(text, answer="New York")).value == 0


def test_case_counts_unless_it_is_ignored() -> None:
    shouted = rollout("<answer>YES</answer>", answer="yes")
    assert exact_answer(shouted).value == 0
    assert exact_answer(shouted, ignore_case=True).value == 1


# normalized_answer


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("the  Eiffel Tower!", "Eiffel tower"),
        ("\N{LATIN SMALL LIGATURE FI}re", "Fire"),
        ("\N{FULLWIDTH DIGIT EIGHT}", "8"),
        ("U.S.A.", "USA"),
        ("New\N{ZERO WIDTH SPACE}ton", "Newton"),
        ("1.5.", "1.5"),
        ("\N{MINUS SIGN}5", "-5"),
        ("(1,000 km)", "1,000 km"),
    ],
)
def test_two_spellings_of_one_text_are_one_answer(given: str, wanted: str) -> None:
    assert normalized_answer(rollout(f"<answer>{given}</answer>", wanted)).value == 1


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("15", "1.5"),
        ("5", "-5"),
        ("10", "1,0"),
        ("Paris or London", "Paris"),
        ("Paris, London", "Paris"),
        ("", "Paris"),
        ("the", "Paris"),
        ("...", "Paris"),
        ("P\N{CYRILLIC SMALL LETTER A}ris", "Paris"),
        ("anthem", "them"),
    ],
)
def test_another_text_is_another_answer(given: str, wanted: str) -> None:
    assert normalized_answer(rollout(f"<answer>{given}</answer>", wanted)).value == 0


def test_an_answer_of_which_nothing_is_left_cannot_be_compared() -> None:
    assert normalized_answer(rollout("<answer>a</answer>", "The ...")).outcome == "unscorable"


# countdown


@pytest.mark.parametrize("text", ["<answer>(3 + 5) * 2</answer>", r"\boxed{2 \times (3 + 5) = 16}"])
def test_a_solution_scores_1(text: str) -> None:
    assert countdown(rollout(text, answer="16", numbers=[3, 5, 2])).value == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(3 + 5) * 2",
        "<answer>16</answer>",
        "<answer>16 = (3 + 5) * 2</answer>",
        "<answer>3 * 5 + 2 = 16</answer>",
        "<answer>3 * 5 + 1</answer>",
        "<answer>2 ** (5 - 3 + 2)</answer>",
        "<answer>99**99**99</answer>",
        "<answer>(3 + 5) * 2 (or 16)</answer>",
        "<answer>(3 + 5) * 2, 2 * (3 + 5)</answer>",
        "<answer>(1 + 2) / 3</answer>",
        "<think><answer>(3 + 5) * 2</answer></think>",
        "<answer>print(16)</answer>",
        "<answer>03 + 5 + 2 * 4</answer>",
        "<answer>(3 + 05) * 2</answer>",
        "<answer>32 // 2 * 5</answer>",
        "<answer>32 / 2</answer>",
        "<answer>(3 + 5)(2)</answer>",
        "<answer>3 5 * 2</answer>",
        "<answer>(3 + 5) << (2 - 1)</answer>",
        "<answer>(3 + 5) * 2 + 0</answer>",
        "<answer>(3 + 5) * 2 * (1)</answer>",
        "<answer>(3 \N{FULLWIDTH PLUS SIGN} 5) * 2</answer>",
        "<answer>(\N{SUPERSCRIPT TWO}+3+5)</answer>",
        "<answer>" + "(" * 100_000 + "</answer>",
    ],
    ids=lambda text: text[:40],
)
def test_anything_but_a_solution_scores_0(text: str) -> None:
    assert countdown(rollout(text, answer="16", numbers=[3, 5, 2])).value == 0


def test_a_problem_without_numbers_cannot_be_scored() -> None:
    assert countdown(rollout("<answer>8</answer>")).outcome == "unscorable"
