"""A judge that ranks the completions of a problem."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Annotated

from pydantic import Field

from reasonrl import Rollout, Score, SharedResource, digest, keeps_open
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
from reasonrl_rewards.judge.service import Answer, opened_judge, shared_judge
from reasonrl_rewards.judge.untrusted import harmless
from reasonrl_rewards.judge.verdicts import explanation_of, ranks_schema


@dataclass(frozen=True, slots=True)
class Chunk:
    """Completions that are ranked against each other."""

    texts: tuple[str, ...]
    """Different ones, in the order that the judge sees them; the first is number 1."""
    members: tuple[tuple[str, int], ...]
    """For each rollout, its id and the place of its text in ``texts``."""


@contextmanager
def _opened(
    endpoint: Endpoint, rubric: Rubric | None, explain: bool, template: str | None, cache: bool | str
) -> Iterator[SharedResource]:
    """Try the template and the judge with a sample, and keep the judge open."""
    forget_templates()
    settings = _settings(rubric, explain, template)
    texts = ["The answer is 8.", "It is 9."]
    request = _request(settings, SAMPLE.prompt, SAMPLE.answer, texts)
    require_all_texts(request, texts, settings)
    with opened_judge(endpoint, cache, request, f"{len(settings.rubric)} criteria, ranking") as resource:
        yield resource


@keeps_open(_opened)
async def judge_group(
    group: tuple[Rollout, ...],
    *,
    endpoint: Endpoint,
    rubric: Rubric | None = None,
    reference: str | None = "answer",
    max_ranked: Annotated[int, Field(ge=3)] = 8,
    seed: int = 0,
    thinking: bool = True,
    explain: bool = True,
    template: str | None = None,
    cache: bool | str = True,
) -> dict[str, Score]:
    """The share of a completion's siblings that a generative model ranks below it, ties counted half: from 0 to 1.

    One call ranks up to ``max_ranked`` different completions of a problem, in an order that does not depend on how
    they were sampled; equal completions are shown once and share their rank. A larger group is ranked in parts of
    about equal size, and a completion is compared with those of its part. With several criteria the value is their
    mean by weight. The mean over a group is always one half and says nothing about progress: watch a held-out metric.

    Args:
        group: the completions.
        endpoint: the judge: ``url``, ``model`` and how it is asked.
        rubric: the criteria, without scales, or the path of a YAML file of them; null asks for the overall quality.
        reference: what the judge is shown as the right answer: ``answer`` for the problem's, where it has one, or a
            column of its data; null shows none.
        max_ranked: most completions of one ranking.
        seed: of the order in which completions are shown, and of the parts of a large group.
        thinking: whether the judge sees what completions think inside ``<think>``.
        explain: whether a verdict begins with an explanation.
        template: a Jinja file in place of the default prompt.
        cache: a file of verdicts, shared by processes and runs; true is ``judge.sqlite`` in the cache folder.
    """
    settings = _settings(rubric, explain, template)
    problem = group[0].problem
    try:
        wanted = reference_of(problem, reference)
    except LookupError as error:
        return {rollout.id: Score.unscorable(str(error)) for rollout in group}
    if len(group) < 2:
        return {rollout.id: Score.unscorable("a group of one has nothing to be ranked against") for rollout in group}
    texts = {rollout.id: harmless(completion_of(rollout, thinking=thinking)) for rollout in group}
    if len(set(texts.values())) == 1:
        return {rollout.id: Score(0.5, "all completions of the group are equal") for rollout in group}
    chunks = chunked(texts, max_ranked, seed)
    requests = [_request(settings, question_of(problem), wanted, chunk.texts) for chunk in chunks]
    answers = await shared_judge(endpoint, cache).ask_all(requests)
    return {
        id: score
        for chunk, answer in zip(chunks, answers, strict=True)
        for id, score in _scores(settings, chunk, answer).items()
    }


def _settings(rubric: Rubric | None, explain: bool, template: str | None) -> PromptSettings:
    found = GENERAL if rubric is None else require_rubric(rubric)
    require_comparable(found, "judge_group")
    return PromptSettings(reward="judge_group", template=template, rubric=found, explain=explain)


def _request(settings: PromptSettings, question: str, reference: str, texts: Sequence[str]) -> JudgeRequest:
    schema = ranks_schema(settings.rubric, len(texts), explain=settings.explain)
    return settings.request(schema, {"question": question, "reference": reference}, {"completions": texts})


def chunked(texts: Mapping[str, str], max_ranked: int, seed: int) -> list[Chunk]:
    """Divide completions into rankings whose sizes differ by one at most.

    Args:
        texts: by the rollout's id; at least two differ.
        max_ranked: most different texts of one ranking, at least 3, so that none is left alone.
        seed: decides the order, together with the texts alone.
    """
    shuffled = sorted(set(texts.values()), key=lambda text: digest(seed, text))
    num_chunks = ceil(len(shuffled) / max_ranked)
    divided = [tuple(shuffled[start::num_chunks]) for start in range(num_chunks)]
    return [
        Chunk(part, tuple((id, part.index(text)) for id, text in texts.items() if text in part)) for part in divided
    ]


def _scores(settings: PromptSettings, chunk: Chunk, answer: Answer) -> dict[str, Score]:
    """Return the score of each rollout of a ranking, with its share of what the ranking took."""
    spent = answer.spent.shared_by(len(chunk.members)).parts()
    if answer.verdict is None:
        return {id: Score(None, answer.fault, "error", spent) for id, _ in chunk.members}
    ranks = {
        criterion.name: [int(answer.verdict["ranks"][criterion.name][str(place + 1)]) for _, place in chunk.members]
        for criterion in settings.rubric
    }
    end = "; ".join(filter(None, [explanation_of(answer.verdict), answer.fault]))
    scores = {}
    for member, (id, place) in enumerate(chunk.members):
        shares = {name: beaten(found, member) for name, found in ranks.items()}
        said = ", ".join(f"{name} rank {found[member]}" for name, found in ranks.items())
        why = f"{said} of {len(chunk.texts)}, shown as number {place + 1}"
        scores[id] = Score(
            weighted_mean(settings.rubric, shares), f"{why}; {end}" if end else why, parts=shares | spent
        )
    return scores


def beaten(ranks: Sequence[int], member: int) -> float:
    """Return the share of the others that a member is ranked above, ties counted half. Rank 1 is the best."""
    below = sum(rank > ranks[member] for rank in ranks)
    tied = sum(rank == ranks[member] for rank in ranks) - 1
    return (below + 0.5 * tied) / (len(ranks) - 1)
