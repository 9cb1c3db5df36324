"""IFEval (arXiv:2311.07911) and IFBench (arXiv:2507.02833): instructions that a rule can verify, four figures each.

``prompt``: the share of prompts whose instructions are all followed. ``instruction``: the mean over prompts of the
share of their instructions that are followed. Papers publish the share of all instructions instead, so that a prompt
with three counts three times; the two are equal where all prompts have as many. ``loose`` accepts what follows without
the first line, the last line or asterisks.
"""

from functools import partial
from typing import Final, Literal

from reasonrl import DataError, LoadHeldout, Measurement, MetricFn, Rollout, Suite
from reasonrl_grading.answers import shown_text
from reasonrl_grading.instructions import IFBENCH, PUBLISHED, Checks, Mode, asked_of, followed

_CHECKS: Final[dict[str, Checks]] = {"ifeval": PUBLISHED, "ifbench": IFBENCH}


def instructions_followed(
    rollout: Rollout,
    *,
    benchmark: Literal["ifeval", "ifbench"] = "ifeval",
    mode: Mode = "strict",
    level: Literal["prompt", "instruction"] = "prompt",
) -> Measurement:
    """Measure whether a response follows the instructions of its problem, as a benchmark's own program checks them.

    Args:
        rollout: what is measured; thinking is not part of the response.
        benchmark: whose checks.
        mode: ``loose`` also accepts what follows when the first line, the last line or asterisks are left out.
        level: 1 if all are followed (``prompt``), or the share of those that are (``instruction``).

    Raises:
        DataError: the problem has no instructions, or one that is not known.
    """
    asked = asked_of(rollout.problem, _CHECKS[benchmark])
    if isinstance(asked, str):
        raise DataError(f"metric 'instructions_followed': problem {rollout.problem.id}: {asked}")
    response = shown_text(rollout).strip()
    kept = followed(response, asked, mode, _CHECKS[benchmark])
    value = float(all(kept)) if level == "prompt" else sum(kept) / len(kept)
    return Measurement(value, response or None)


def _figures(benchmark: Literal["ifeval", "ifbench"]) -> dict[str, MetricFn]:
    """Return the four metrics by the names of their figures."""
    modes: tuple[Mode, ...] = ("strict", "loose")
    levels: tuple[Literal["prompt", "instruction"], ...] = ("prompt", "instruction")
    return {
        f"{level}_{mode}": partial(instructions_followed, benchmark=benchmark, mode=mode, level=level)
        for level in levels
        for mode in modes
    }


def ifeval(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    unusable: Literal["refuse", "skip"] = "refuse",
) -> Suite:
    """Measure the 541 prompts of IFEval by prompt-level strict accuracy, with the other three figures beside it.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        unusable: what becomes of a row whose instructions cannot be checked.
    """
    figures = _figures("ifeval")
    return Suite(
        name="ifeval",
        role="test",
        problems=load("ifeval", data=data, revision=revision, unusable=unusable)[:num_problems],
        metric=figures.pop("prompt_strict"),
        further_metrics=figures,
        template="chat",
        max_new_tokens=1280,
    )


def ifbench(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    unusable: Literal["refuse", "skip"] = "refuse",
) -> Suite:
    """Measure the prompts of IFBench by prompt-level loose accuracy, with the other three figures beside it.

    Of its 58 kinds of instructions 56 can be checked: with ``unusable: skip`` prompts that have one of the other two
    are left out, and the figure is of the others.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        unusable: what becomes of a row whose instructions cannot be checked.
    """
    figures = _figures("ifbench")
    return Suite(
        name="ifbench",
        role="test",
        problems=load("ifbench", data=data, revision=revision, unusable=unusable)[:num_problems],
        metric=figures.pop("prompt_loose"),
        further_metrics=figures,
        template="chat",
        max_new_tokens=2048,
    )
