"""BIG-Bench Extra Hard (arXiv:2502.19187), measured as its authors' program compares answers."""

import re
from collections import deque
from typing import Final, Literal

from reasonrl import LoadHeldout, Measurement, Rollout, Suite
from reasonrl_grading.answers import MARKED, as_number, read_answer, shown_text

MAX_LINE: Final = 2_000
"""Characters of the line that an answer is read from."""

_ANNOUNCED = re.compile(r"The (?:final )?answer is:?[ \t]*")
_WRAPPED = re.compile(r"\\(?:boxed|text|texttt)\{([^{}]*)\}")


def bbeh_match(rollout: Rollout) -> Measurement:
    r"""1 if the answer after the last ``The answer is:`` is the right one, by the rules of its authors.

    Where nothing is announced so, a marked answer (``\boxed{}``) counts, or else the first line. Equal are a letter
    with and without parentheses, numbers of one value, and texts but for case, quotation marks, and brackets around
    them.
    """
    given = _given(rollout)
    return Measurement(float(given is not None and same_answer(given, rollout.problem.answer)), given)


def same_answer(given: str, other: str) -> bool:
    """Whether two answers are the same by the rules of BIG-Bench Extra Hard."""
    one, two = _plain(given), _plain(other)
    if one == two or _letter(one) == _letter(two) != "":
        return True
    numbers = as_number(one), as_number(two)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return (
        one.replace("'", "") == two.replace("'", "") or one in (f"[{two}]", f"{two}?") or two in (f"[{one}]", f"{one}?")
    )


def _given(rollout: Rollout) -> str | None:
    """Return what the completion answers, or None where it is empty."""
    text = shown_text(rollout).strip()
    announced = deque(_ANNOUNCED.finditer(text), maxlen=1)
    rest = text[announced[0].end() :] if announced else read_answer(rollout, MARKED) or text
    line = rest.strip().split("\n")[0][:MAX_LINE].replace("**", "").strip()
    return line or None


def _plain(answer: str) -> str:
    """Return an answer in the form in which it is compared."""
    bare = answer.strip().removesuffix(".").strip()
    if len(bare) > 1 and bare[0] == bare[-1] == "$":
        bare = bare[1:-1]
    return _WRAPPED.sub(r"\1", bare).lower().replace(", ", ",").strip().removesuffix(".")


def _letter(answer: str) -> str:
    """Return the letter of ``(a)`` or ``a``; nothing for anything else."""
    bare = answer[1:-1] if len(answer) == 3 and answer[0] == "(" and answer[-1] == ")" else answer
    return bare if len(bare) == 1 else ""


def bbeh(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    subset: Literal["all", "mini"] = "all",
    task: tuple[str, ...] = (),
) -> Suite:
    """Measure the 4,520 questions of BIG-Bench Extra Hard, or its ``mini`` subset of 460, by the share answered right.

    That share is the published figure of ``mini``. Of all questions, papers publish another one: the harmonic mean over
    the 23 tasks of each one's share plus a hundredth, which is no mean over questions. Measure the tasks one by one
    (``task``) for it; every sample's task stands in ``meta["task"]``.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all. They stand by task: the first are no fair sample.
        data: a file or folder that holds it, such as the authors' ``benchmark_tasks``; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        subset: all questions, or those of the subset.
        task: only these of its tasks, such as ``boolean expressions``; none takes all.
    """
    problems = load("bbeh", data=data, revision=revision, subset=subset, task=task)
    return Suite(
        name="bbeh" if subset == "all" else "bbeh_mini",
        role="test",
        problems=problems[:num_problems],
        metric=bbeh_match,
        template="chat",
        max_new_tokens=4096,
        equal_answers=same_answer,
    )
