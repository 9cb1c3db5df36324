"""Published sets that are there to be measured on: all of their problems are held out."""

from collections.abc import Iterable, Sequence

from reasonrl import DataError, Problem, Split
from reasonrl_tasks.columns import of_one_split


def refuse_training(task: str, split: Split) -> None:
    """Refuse to train on what every figure of a benchmark is measured on.

    Raises:
        DataError: the problems are asked for as training problems.
    """
    if split == "train":
        raise DataError(
            f"task {task!r}: all of it is held out: it is there to be measured on (evaluation.suites: [{task}]). Train "
            "on another task."
        )


def heldout_problems(keyed: Iterable[tuple[str, Problem]], task: str) -> Sequence[Problem]:
    """Return all problems in their order; of several with one id the first.

    Raises:
        DataError: there is none.
    """
    return of_one_split(keyed, split="heldout", heldout_share=0.0, where=f"task {task!r}")
