"""Problems from a generator of the reasoning-gym package."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from reasonrl import DataError, Problem, Split, digest, split_of
from reasonrl.errors import and_known
from reasonrl.system.extras import needs_extra

if TYPE_CHECKING:
    from reasoning_gym.dataset import ProceduralDataset

DRAWS: Final = 30
"""Draws for each problem asked for; the held-out split gets a tenth of them."""


def reasoning_gym(
    *, split: Split, seed: int, dataset: str, num_problems: int = 1_000, config: dict[str, Any] | None = None
) -> Sequence[Problem]:
    """Ask the questions of a reasoning-gym data set; needs ``reasonrl[reasoning-gym]``.

    What the reward ``reasoning_gym`` needs to score an answer stands in ``meta``.

    Args:
        split: ``train`` or ``heldout``; disjoint by question whatever the seed.
        seed: decides which problems are drawn, not what a problem is.
        dataset: its name, such as ``leg_counting``.
        num_problems: how many distinct problems.
        config: settings of the data set itself, other than its size and seed. Any: each has its own.

    Raises:
        DataError: the settings do not fit, or they allow too few problems.
        MissingExtraError: the package is not installed.
    """
    settings = config or {}
    source = _source(dataset, {**settings, "seed": seed, "size": num_problems * DRAWS})
    found: dict[str, Problem] = {}
    for problem in _problems(source, dataset, settings):
        if len(found) == num_problems:
            break
        if split_of(problem.id) == split:
            found.setdefault(problem.id, problem)
    if len(found) < num_problems:
        raise DataError(
            f"task 'reasoning_gym': {dataset!r} gave {len(found)} distinct {split} problems in "
            f"{num_problems * DRAWS} draws, {num_problems} were asked for. Lower num_problems or widen its config."
        )
    return list(found.values())


def _source(name: str, settings: dict[str, Any]) -> "ProceduralDataset":
    """Make the data set. Any: as above."""
    with needs_extra("reasoning-gym", "task 'reasoning_gym'"):
        from reasoning_gym.factory import DATASETS, create_dataset

    if name not in DATASETS:
        raise DataError(f"task 'reasoning_gym': no data set {name!r}.{and_known(name, DATASETS)}")
    try:
        return create_dataset(name, **settings)
    except (AssertionError, TypeError, ValueError) as error:
        raise DataError(f"task 'reasoning_gym': {name!r} refuses its config: {error}.") from None


def _problems(source: "ProceduralDataset", name: str, settings: dict[str, Any]) -> Iterator[Problem]:
    """Yield the problems of a data set. Any: as above."""
    for index in range(source.size):
        entry = source[index]
        yield Problem(
            id=digest("reasoning_gym", name, " ".join(entry["question"].split())),
            task="reasoning_gym",
            prompt=entry["question"],
            answer="" if entry["answer"] is None else str(entry["answer"]),
            meta={"dataset": name, "config": settings, "entry": entry},
        )
