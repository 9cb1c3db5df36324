"""What a trained reward model is worth and how it is used, in words."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from reasonrl.preference.card import HeldoutEvaluation, Interval


def evaluation_figures(evaluation: HeldoutEvaluation) -> dict[str, str]:
    """Return accuracy, what length alone achieves, and their difference, each with its interval."""
    return {
        "accuracy": _share(evaluation.accuracy),
        "length only": _share(evaluation.length_only),
        "difference": _points(evaluation.difference),
    }


def summary(folder: Path, model: Path, evaluation: HeldoutEvaluation | None) -> str:
    """Return the last evaluation, and how to use and judge the model.

    Args:
        folder: the run directory.
        model: the folder of the finished model.
        evaluation: on held-out prompts after the last step, where there could be one.
    """
    measured = _measured(evaluation) if evaluation else _NOT_MEASURED
    return f"{measured}\n\n{_usage(folder, evaluation)}\n\nRun: {folder}   Reward model: {model}"


_NOT_MEASURED = (
    "Held-out accuracy: none, because no two held-out completions of one prompt can be compared. Judge the model on "
    "pairs before it is used."
)


def _measured(evaluation: HeldoutEvaluation) -> str:
    """Return the figures in aligned columns."""
    notes = {"length only": f"prefer the {evaluation.length_rule}", "difference": "paired by prompt"}
    shown = evaluation_figures(evaluation).items()
    head = f"Held-out: {evaluation.num_pairs} pairs of {evaluation.num_prompts} prompts, 95 % intervals over prompts"
    return "\n".join([head, *(f"{name:<12}  {figure:<26}  {notes.get(name, '')}".rstrip() for name, figure in shown)])


def _usage(folder: Path, evaluation: HeldoutEvaluation | None) -> str:
    """Return the lines for a run file, or why the model is refused there, and the command that judges it."""
    place = shlex.quote(str(folder))
    lines = ["Use it in a run file:", "  rewards:", f"    - {{name: preference, params: {{model: {folder}}}}}"]
    judge = f"Judge it: reasonrl rm eval {place} --pairs FILE"
    return "\n".join([*_refusal(evaluation), *lines, judge])


def _refusal(evaluation: HeldoutEvaluation | None) -> Iterator[str]:
    """Say why a run refuses the model, where it does."""
    unless = "so a run refuses it as a reward, unless forced (force: true)."
    if evaluation is None:
        yield f"It is not known whether the model is better than length alone, {unless}"
    elif not evaluation.beats_length_only:
        yield f"The model is not better than length alone, {unless}"


def _share(interval: Interval) -> str:
    return f"{interval.value:.1%} [{interval.lower:.1%}, {interval.upper:.1%}]"


def _points(interval: Interval) -> str:
    """Write a difference of shares in percentage points."""
    value, lower, upper = (100 * number for number in (interval.value, interval.lower, interval.upper))
    return f"{value:+.1f} points [{lower:+.1f}, {upper:+.1f}]"
