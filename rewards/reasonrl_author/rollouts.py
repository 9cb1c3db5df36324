"""Problems and rollouts made from texts, for rewards that are called outside a run."""

from collections.abc import Mapping
from typing import Any, Final

from reasonrl import Problem, Rollout
from reasonrl.evaluation import replies

NO_PROMPT: Final = "(no prompt given)"
"""The prompt of a problem where none was given: a problem must have one."""


def problem_of(answer: str, *, id: str, prompt: str = "", meta: Mapping[str, Any] | None = None) -> Problem:
    """Return a problem. Any: columns of a data set."""
    return Problem(
        id=id, task="author", prompt=prompt if prompt.strip() else NO_PROMPT, answer=answer, meta=dict(meta or {})
    )


def rollout_of(problem: Problem, text: str, *, seed: int = 0) -> Rollout:
    """Return a finished completion of a problem, whose rendered prompt is the problem's prompt.

    Args:
        problem: what is answered.
        text: the completion.
        seed: distinguishes completions of one problem.
    """
    return replies.rollout_of(problem, text, prompt="" if problem.prompt == NO_PROMPT else problem.prompt, seed=seed)
