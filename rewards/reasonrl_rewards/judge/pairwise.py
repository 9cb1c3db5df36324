"""A judge that compares a completion with a reference answer, in both orders."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Final

from reasonrl import Rollout, Score, SharedResource, keeps_open
from reasonrl_grading.answers import outside_thinking
from reasonrl_rewards.judge.endpoint import Endpoint
from reasonrl_rewards.judge.prompts import (
    SAMPLE,
    JudgeRequest,
    PromptSettings,
    completion_of,
    forget_templates,
    question_of,
    reference_of,
    require_all_texts,
)
from reasonrl_rewards.judge.rubric import GENERAL, Rubric, require_comparable, require_rubric, weighted_mean
from reasonrl_rewards.judge.service import Answer, opened_judge, shared_judge, total
from reasonrl_rewards.judge.verdicts import explanation_of, winners_schema

FIRST: Final[Mapping[str, float]] = {"A": 1.0, "tie": 0.5, "B": 0.0}
"""What a verdict is worth for the answer that was shown first."""


@contextmanager
def _opened(
    endpoint: Endpoint, rubric: Rubric | None, explain: bool, template: str | None, cache: bool | str
) -> Iterator[SharedResource]:
    """Try the template and the judge with a sample, and keep the judge open."""
    forget_templates()
    settings = _settings(rubric, explain, template)
    texts = ["The answer is 8.", "It is 9."]
    request = _request(settings, SAMPLE.prompt, *texts)
    require_all_texts(request, texts, settings)
    with opened_judge(endpoint, cache, request, f"{len(settings.rubric)} criteria, both orders") as resource:
        yield resource


@keeps_open(_opened)
async def judge_pairwise(
    rollout: Rollout,
    *,
    endpoint: Endpoint,
    rubric: Rubric | None = None,
    reference: str = "answer",
    thinking: bool = True,
    explain: bool = True,
    template: str | None = None,
    cache: bool | str = True,
) -> Score:
    """Whether a generative model finds a completion better than a reference: 1, 0.5 for a tie, 0 where it is worse.

    Asked in both orders: what a judge says of one criterion counts where both agree, and is a tie where they do not.
    With several criteria the value is their mean by weight. A judge can be persuaded, by length above all.

    Args:
        rollout: what is compared.
        endpoint: the judge: ``url``, ``model`` and how it is asked.
        rubric: the criteria, without scales, or the path of a YAML file of them; null asks for the overall quality.
        reference: what the completion is compared with: ``answer`` for the problem's answer, or a column of its data.
        thinking: whether the judge sees what stands inside ``<think>``.
        explain: whether a verdict begins with an explanation.
        template: a Jinja file in place of the default prompt.
        cache: a file of verdicts, shared by processes and runs; true is ``judge.sqlite`` in the cache folder.
    """
    settings = _settings(rubric, explain, template)
    try:
        other = reference_of(rollout.problem, reference)
    except LookupError as error:
        return Score.unscorable(str(error))
    if not other.strip():
        return Score.unscorable("the problem has no answer to compare with; name a column of its data in reference")
    mine = completion_of(rollout, thinking=thinking)
    other = other if thinking else outside_thinking(other).strip()
    if mine == other:
        return Score(0.5, "equal to the reference")
    question = question_of(rollout.problem)
    orders = _request(settings, question, mine, other), _request(settings, question, other, mine)
    return _score(settings, await shared_judge(endpoint, cache).ask_all(orders))


def _settings(rubric: Rubric | None, explain: bool, template: str | None) -> PromptSettings:
    found = GENERAL if rubric is None else require_rubric(rubric)
    require_comparable(found, "judge_pairwise")
    return PromptSettings(reward="judge_pairwise", template=template, rubric=found, explain=explain)


def _request(settings: PromptSettings, question: str, first: str, second: str) -> JudgeRequest:
    schema = winners_schema(settings.rubric, explain=settings.explain)
    return settings.request(schema, {"question": question, "first": first, "second": second})


def _score(settings: PromptSettings, answers: Sequence[Answer]) -> Score:
    """Return the score of the completion that was first in the first order, and second in the second."""
    spent = total([answer.spent for answer in answers]).parts()
    verdicts = [answer.verdict for answer in answers if answer.verdict is not None]
    faults = "; ".join(answer.fault for answer in answers if answer.fault)
    if len(verdicts) < len(answers):
        return Score(None, faults, "error", spent)
    names = [criterion.name for criterion in settings.rubric]
    shown_first = {name: FIRST[verdicts[0]["winners"][name]] for name in names}
    shown_second = {name: 1 - FIRST[verdicts[1]["winners"][name]] for name in names}
    worth = {name: shown_first[name] if shown_first[name] == shown_second[name] else 0.5 for name in names}
    parts = worth | {
        "tied": fmean(worth[name] == 0.5 for name in names),
        "position_bias": fmean(shown_first[name] != shown_second[name] for name in names),
        "chose_first": fmean((shown_first[name] + 1 - shown_second[name]) / 2 for name in names),
    }
    said = ", ".join(f"{name} {_in_words(shown_first[name], shown_second[name])}" for name in names)
    why = "; ".join(filter(None, [said, explanation_of(verdicts[0]), faults]))
    return Score(weighted_mean(settings.rubric, worth), why, parts=parts | spent)


def _in_words(shown_first: float, shown_second: float) -> str:
    words = {1.0: "better", 0.5: "tie", 0.0: "worse"}
    if shown_first == shown_second:
        return words[shown_first]
    return f"tie ({words[shown_first]} when shown first, {words[shown_second]} when shown second)"
