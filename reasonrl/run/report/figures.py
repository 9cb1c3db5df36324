"""The figures of a held-out measurement, as its ``results.json`` has them."""

from dataclasses import dataclass

from reasonrl.errors import DataError
from reasonrl.evaluation.figures import label
from reasonrl.evaluation.files import RESULTS
from reasonrl.run.history import HeldoutResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A figure of one model with its interval."""

    label: str
    """What people call it: ``avg@8``."""
    value: float
    lower: float
    upper: float
    num_problems: int


def figures_of(result: HeldoutResult) -> dict[str, Value]:
    """Return all figures by the name that files have for them, the suite's own first.

    Raises:
        DataError: the file lacks something.
    """
    try:
        num_samples = result.summary["sampling"]["num_samples"]
        return {
            figure["id"]: Value(
                label=label(figure["id"], num_samples),
                value=figure["value"],
                lower=figure["ci"]["lower"],
                upper=figure["ci"]["upper"],
                num_problems=figure["n"],
            )
            for figure in result.summary["metrics"]
        }
    except KeyError as error:
        raise DataError(f"{result.folder / RESULTS}: damaged: it has no {error}. Measure the model again.") from None


def main_figure(result: HeldoutResult) -> Value:
    """Return the suite's own figure; errors are those of :func:`figures_of`."""
    return next(iter(figures_of(result).values()))
