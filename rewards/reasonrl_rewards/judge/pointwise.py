"""A judge that scores one completion on each criterion of a rubric."""

from collections.abc import Iterator
from contextlib import contextmanager

from reasonrl import Rollout, Score, SharedResource, keeps_open
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
from reasonrl_rewards.judge.rubric import GENERAL, Rubric, require_rubric, weighted_mean
from reasonrl_rewards.judge.service import Answer, opened_judge, shared_judge
from reasonrl_rewards.judge.verdicts import explanation_of, scores_schema


@contextmanager
def _opened(
    endpoint: Endpoint, rubric: Rubric | None, explain: bool, template: str | None, cache: bool | str
) -> Iterator[SharedResource]:
    """Try the template and the judge with a sample, and keep the judge open."""
    forget_templates()
    settings = _settings(rubric, explain, template)
    request = _request(settings, SAMPLE.prompt, "The answer is 8.", SAMPLE.answer)
    require_all_texts(request, ["The answer is 8."], settings)
    with opened_judge(endpoint, cache, request, f"{len(settings.rubric)} criteria") as resource:
        yield resource


@keeps_open(_opened)
async def judge(
    rollout: Rollout,
    *,
    endpoint: Endpoint,
    rubric: Rubric | None = None,
    reference: str | None = "answer",
    thinking: bool = True,
    explain: bool = True,
    template: str | None = None,
    cache: bool | str = True,
) -> Score:
    """What a generative model thinks of a completion, from 0 to 1: the mean of its scores on a rubric, by weight.

    A reply that is no verdict is an error and never a value. A judge can be persuaded: by length, by a confident tone,
    by the style of its own family. Measure its agreement with labels before training on it.

    Args:
        rollout: what is scored.
        endpoint: the judge: ``url``, ``model`` and how it is asked.
        rubric: the criteria, or the path of a YAML file of them; null asks for the overall quality.
        reference: what the judge is shown as the right answer: ``answer`` for the problem's, where it has one, or a
            column of its data; null shows none.
        thinking: whether the judge sees what the completion thinks inside ``<think>``.
        explain: whether a verdict begins with an explanation.
        template: a Jinja file in place of the default prompt.
        cache: a file of verdicts, shared by processes and runs; true is ``judge.sqlite`` in the cache folder.
    """
    settings = _settings(rubric, explain, template)
    try:
        wanted = reference_of(rollout.problem, reference)
    except LookupError as error:
        return Score.unscorable(str(error))
    request = _request(settings, question_of(rollout.problem), completion_of(rollout, thinking=thinking), wanted)
    return _score(settings, await shared_judge(endpoint, cache).ask(request))


def _settings(rubric: Rubric | None, explain: bool, template: str | None) -> PromptSettings:
    found = GENERAL if rubric is None else require_rubric(rubric)
    return PromptSettings(reward="judge", template=template, rubric=found, explain=explain)


def _request(settings: PromptSettings, question: str, completion: str, reference: str) -> JudgeRequest:
    schema = scores_schema(settings.rubric, explain=settings.explain)
    texts = {"question": question, "reference": reference, "completion": completion}
    return settings.request(schema, texts)


def _score(settings: PromptSettings, answer: Answer) -> Score:
    parts = answer.spent.parts()
    if answer.verdict is None:
        return Score(None, answer.fault, "error", parts)
    levels = answer.verdict["scores"]
    shares = {criterion.name: criterion.share(levels[criterion.name]) for criterion in settings.rubric}
    said = ", ".join(f"{name} {level}" for name, level in levels.items())
    why = "; ".join(filter(None, [said, explanation_of(answer.verdict), answer.fault]))
    return Score(weighted_mean(settings.rubric, shares), why, parts=shares | parts)
