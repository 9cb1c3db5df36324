"""Rollouts made from texts, for rewards that are tried outside a run."""

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from reasonrl.types import Completion, Problem, Rollout

CHARACTERS_PER_TOKEN: Final = 4
"""No tokenizer is at hand here, so a token is counted for every four characters: what English text comes to."""

NO_PROMPT: Final = "(no prompt given)"
"""Stands for the question where nobody gave one: a problem has to have one."""


def problem_of(answer: str, *, id: str, prompt: str = "", meta: Mapping[str, Any] | None = None) -> Problem:
    """Return a problem. Any: columns of a data set."""
    return Problem(
        id=id, task="author", prompt=prompt if prompt.strip() else NO_PROMPT, answer=answer, meta=dict(meta or {})
    )


def rollout_of(problem: Problem, text: str, *, seed: int = 0) -> Rollout:
    """Return a finished completion of a problem; what a model would have been asked is the problem's prompt.

    Args:
        problem: what is answered.
        text: the completion.
        seed: tells completions of one problem apart.
    """
    completion = Completion(
        token_ids=(0,) * ceil(len(text) / CHARACTERS_PER_TOKEN),
        text=text,
        logprobs=(),  # no model sampled it
        finish_reason="stop",
        policy_version=0,
        sample_index=seed,
        seed=seed,
    )
    return Rollout(problem=problem, prompt="" if problem.prompt == NO_PROMPT else problem.prompt, completion=completion)
