"""Problems from a generator of the reasoning-gym package."""

import io
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from reasonrl import DataError, Problem, Split, digest, named_by, split_of
from reasonrl.errors import and_known
from reasonrl.system.extras import needs_extra
from reasonrl_grading.gym import data_set_names

if TYPE_CHECKING:
    from reasoning_gym.dataset import ProceduralDataset

DRAWS: Final = 30
"""Draws for each problem asked for; the held-out split gets a tenth of them."""
EXAMPLES: Final = ("example_correct_answer", "example_answer", "possible_answer")
"""Where a data set that accepts many answers keeps one of them."""


@named_by("dataset", data_set_names)
def reasoning_gym(
    *,
    split: Split,
    seed: int,
    dataset: str,
    num_problems: int | None = None,
    max_problems: int = 1_000,
    config: dict[str, Any] | None = None,
) -> Sequence[Problem]:
    """Ask the questions of a reasoning-gym data set, as ``reasoning_gym:NAME``; needs ``reasonrl[reasoning-gym]``.

    What the reward ``reasoning_gym`` needs to score an answer stands in ``meta``; where the data set names no answer
    but an example of one, that is ``meta["solution"]``.

    Args:
        split: ``train`` or ``heldout``; disjoint by question whatever the seed.
        seed: decides which problems are drawn, not what a problem is.
        dataset: its name, such as ``leg_counting``; ``reasoning_gym:leg_counting`` sets it.
        num_problems: how many distinct problems; null takes ``max_problems``, or fewer where there are not so many.
        max_problems: how many are looked for, in thirty times as many draws, where ``num_problems`` is null.
        config: settings of the data set itself, other than its size and seed. Any: each has its own.

    Raises:
        DataError: the settings do not fit, or they allow too few problems.
        MissingExtraError: the package is not installed.
    """
    settings, wanted = config or {}, num_problems or max_problems
    source = _source(dataset, {**settings, "seed": seed, "size": wanted * DRAWS})
    found = list(islice(_distinct(source, dataset, settings, split), wanted))
    if len(found) < (num_problems or 1):
        raise DataError(
            f"task 'reasoning_gym': {dataset!r} gave {len(found)} distinct {split} problems in {source.size} draws, "
            f"{wanted} were asked for. Lower num_problems or widen its config."
        )
    return found


def _source(name: str, settings: dict[str, Any]) -> "ProceduralDataset":
    """Make the data set. Any: as above."""
    if name not in (known := data_set_names()):
        raise DataError(f"task 'reasoning_gym': no data set {name!r}.{and_known(name, known)}")
    with needs_extra("reasoning-gym", "task 'reasoning_gym'"):
        from reasoning_gym.factory import create_dataset

    try:
        return create_dataset(name, **settings)
    except (AssertionError, TypeError, ValueError) as error:
        raise DataError(f"task 'reasoning_gym': {name!r} refuses its config: {error}.") from None


def _distinct(source: "ProceduralDataset", name: str, settings: dict[str, Any], split: Split) -> Iterator[Problem]:
    """Yield each problem of one split once. Any: as above."""
    seen: set[str] = set()
    for index in range(source.size):
        with _own_random(digest(source.seed, index)), redirect_stdout(io.StringIO()):  # some print while they draw
            problem = _problem(source[index], name, settings)
        if problem.id not in seen and split_of(problem.id) == split:
            seen.add(problem.id)
            yield problem


@contextmanager
def _own_random(seed: str) -> Iterator[None]:
    """Seed the shared generators of Python and numpy for a while: some data sets draw from these, not their own."""
    from numpy import random as numpy_random

    state, numpy_state = random.getstate(), numpy_random.get_state()
    random.seed(seed)
    numpy_random.seed(int(seed[:8], 16))
    try:
        yield
    finally:
        random.setstate(state)
        numpy_random.set_state(numpy_state)


def _problem(entry: dict[str, Any], name: str, settings: dict[str, Any]) -> Problem:
    """Any: a data set's own columns and settings."""
    answer = "" if entry["answer"] is None else str(entry["answer"])
    example = next((entry["metadata"][key] for key in EXAMPLES if key in entry["metadata"]), None)
    given = {} if answer or example is None else {"solution": _text(example)}
    return Problem(
        id=digest("reasoning_gym", name, " ".join(entry["question"].split())),
        task="reasoning_gym",
        prompt=entry["question"],
        answer=answer,
        meta={"dataset": name, "config": settings, "entry": entry, **given},
    )


def _text(example: Any) -> str:
    """Write an answer as a model would. Any: a text, or values of JSON."""
    return example if isinstance(example, str) else json.dumps(example)
