"""Each reward on right, wrong and malicious completions."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from reasonrl import Completion, ConfigError, Problem, Rollout
from reasonrl_rewards import reasonrl_rewards
from reasonrl_rewards.answer import exact_answer, numeric_answer
from reasonrl_rewards.countdown import countdown
from reasonrl_rewards.format import r1_format
from reasonrl_rewards.length import length

R1_PROMPT = (
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, i.e., "
    "<think> reasoning process here </think> <answer> answer here </answer>. User: What is 7 + 1? Assistant:"
)


def rollout(text: str, answer: str = "8", *, prompt: str = R1_PROMPT, num_tokens: int = 0, **meta: object) -> Rollout:
    problem = Problem(id="1", task="test", prompt="What is 7 + 1?", answer=answer, meta=meta)
    completion = Completion(
        token_ids=(0,) * num_tokens,
        text=text,
        logprobs=(0.0,) * num_tokens,
        finish_reason="stop",
        policy_version=0,
        sample_index=0,
        seed=0,
    )
    return Rollout(problem=problem, prompt=prompt, completion=completion)


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
    assert sorted(reasonrl_rewards()) == [
        "countdown",
        "exact_answer",
        "length",
        "numeric_answer",
        "r1_format",
    ]


def test_rewards_can_be_sent_to_another_process() -> None:
    for reward in reasonrl_rewards().values():
        assert pickle.loads(pickle.dumps(reward)) is reward


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
        ("<answer>8</answer> or <answer>9</answer>", "answered '9'"),
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


# r1_format


@pytest.mark.parametrize(
    "text",
    ["<think>a</think><answer>8</answer>", " \n<think> a\nb </think>\n<answer> 8 </answer>\n"],
)
def test_the_r1_form_scores_1(text: str) -> None:
    assert r1_format(rollout(text)).value == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "a</think><answer>8</answer>",
        "<think>a</think>",
        "<answer>8</answer>",
        "<answer>8</answer><think>a</think>",
        "<think></think><answer>8</answer>",
        "<think> \n </think><answer>8</answer>",
        "<think>a</think><answer> </answer>",
        "<think>a</think>so<answer>8</answer>",
        "hm <think>a</think><answer>8</answer>",
        "<think>a</think><answer>8</answer> User:",
        "<think>a</think><answer>8</answer><answer>8</answer>",
        "<think>a</think><think>b</think><answer>8</answer>",
        "<think><think>a</think><answer>8</answer>",
        "<think>a</think></think><answer>8</answer>",
        "<think>a<answer>8</answer></think>",
        "<think>a</think><answer>8",
        "<Think>a</Think><answer>8</answer>",
        "<think>a</think><answer>8</answer>" * 2,
        "</think><think>a<answer></answer>",
        R1_PROMPT,
    ],
)
def test_anything_but_the_r1_form_scores_0(text: str) -> None:
    assert r1_format(rollout(text)).value == 0


def test_a_missing_tag_is_named() -> None:
    assert r1_format(rollout("<think>a</think> 8")).why == "0 times <answer>, wanted once"


def test_the_opening_tag_of_the_template_counts() -> None:
    for prompt in (R1_PROMPT + " <think>", R1_PROMPT + " <think>\n"):
        assert r1_format(rollout("a</think> <answer>8</answer>", prompt=prompt)).value == 1
        assert r1_format(rollout("<think>a</think> <answer>8</answer>", prompt=prompt)).value == 0


# length


@pytest.mark.parametrize(
    ("num_tokens", "value"), [(0, 0), (100, 0), (101, -0.01), (150, -0.5), (200, -1), (10_000, -1)]
)
def test_length_costs_in_a_line_between_the_limits(num_tokens: int, value: float) -> None:
    score = length(rollout("", num_tokens=num_tokens), soft_limit_tokens=100, hard_limit_tokens=200)
    assert score.value == pytest.approx(value)


def test_no_cost_is_a_plain_zero() -> None:
    assert str(length(rollout(""), soft_limit_tokens=1, hard_limit_tokens=2).value) == "0.0"


@pytest.mark.parametrize(("soft", "hard"), [(200, 100), (100, 100), (-1, 100)])
def test_limits_out_of_order_are_refused(soft: int, hard: int) -> None:
    with pytest.raises(ConfigError, match=f"got {soft} and {hard}"):
        length(rollout(""), soft_limit_tokens=soft, hard_limit_tokens=hard)


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
        "<answer>" + "(" * 100_000 + "</answer>",
    ],
    ids=lambda text: text[:40],
)
def test_anything_but_a_solution_scores_0(text: str) -> None:
    assert countdown(rollout(text, answer="16", numbers=[3, 5, 2])).value == 0


def test_a_problem_without_numbers_cannot_be_scored() -> None:
    assert countdown(rollout("<answer>8</answer>")).outcome == "unscorable"
