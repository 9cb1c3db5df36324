"""Problems and rollouts made from texts, for rewards that are called outside a run."""

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from reasonrl import Problem, Rollout, Trajectory

CHARACTERS_PER_TOKEN: Final = 4
"""There is no tokenizer here, so every four characters count as a token, the average of English text."""

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
    token_ids = (0,) * ceil(len(text) / CHARACTERS_PER_TOKEN)
    completion = Trajectory.single_turn(
        token_ids=token_ids,
        text=text,
        logprobs=(0.0,) * len(token_ids),
        finish_reason="stop",
        policy_version=0,
        sample_index=seed,
        seed=seed,
    )
    return Rollout(problem=problem, prompt="" if problem.prompt == NO_PROMPT else problem.prompt, trajectory=completion)
