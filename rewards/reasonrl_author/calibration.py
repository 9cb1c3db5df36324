"""What a reward gives for right and wrong answers, and in which formats it reads answers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from reasonrl.evaluation.replies import ANSWER_FORMATS, AnswerFormat
from reasonrl_author.cases import Case
from reasonrl_author.probes import Probe, ProbeResult

LABELED_WRONG: Final = "a reply that is said to be wrong"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the reward gives for right and wrong answers, and the formats in which it reads them."""

    formats: tuple[AnswerFormat, ...]
    """The formats in which a right answer is worth more than a wrong one."""
    top: float
    """Greatest value of a right answer."""
    bottom: float
    """Smallest value of a wrong answer."""

    def pays(self, result: ProbeResult) -> bool:
        """Whether a reply got more than half of what separates a right answer from a wrong one."""
        return result.value is not None and result.value > self.bottom + 0.5 * (self.top - self.bottom)

    @property
    def format_names(self) -> list[str]:
        """The names of the formats."""
        return [one.name for one in self.formats]


def calibrate(
    right: Sequence[ProbeResult], swapped: Sequence[ProbeResult], wrong: Sequence[ProbeResult]
) -> Calibration | None:
    """Return what right and wrong answers are worth, or None where a right one is worth no more.

    Args:
        right: right replies.
        swapped: the same replies to problems with another answer, to which they are wrong.
        wrong: these and other wrong replies.
    """
    pairs = zip(right, swapped, strict=True)
    read = {one.probe.format for one, other in pairs if _value(one) > _value(other)}
    if not read and any(result.probe.says == LABELED_WRONG for result in wrong):
        read = {""}
    tops, bottoms = (
        [result.value for result in results if result.value is not None and result.probe.format in read]
        for results in (right, wrong)
    )
    if not tops or not bottoms or max(tops) <= min(bottoms):
        return None
    return Calibration(tuple(one for one in ANSWER_FORMATS if one.name in read), max(tops), min(bottoms))


def _value(result: ProbeResult) -> float:
    return -math.inf if result.value is None else result.value


def right_replies(cases: Sequence[Case]) -> Iterator[Probe]:
    """Yield the right answer of each problem in every format, and the replies that are known to be right."""
    for case in cases:
        yield from (Probe(case, one.reply(case.answer), format=one.name) for one in ANSWER_FORMATS)
        yield from (Probe(case, text) for text in case.right)


def wrong_replies(cases: Sequence[Case]) -> Iterator[Probe]:
    """Yield wrong answers of each problem in every format, and the replies that are known to be wrong."""
    for case in cases:
        for answer in case.wrong_answers:
            yield from (Probe(case, one.reply(answer), "a wrong answer", one.name) for one in ANSWER_FORMATS)
        yield from (Probe(case, text, LABELED_WRONG) for text in case.wrong)


def swapped_reply(probe: Probe) -> Probe:
    """Return a right reply to a problem whose answer is another one, so that it is wrong."""
    problem = replace(probe.case.problem, answer=wrong_answer(probe.case))
    return replace(probe, case=replace(probe.case, problem=problem), says="a wrong answer")


def wrong_answer(case: Case) -> str:
    """Return one wrong answer to a problem."""
    return case.wrong_answers[0] if case.wrong_answers else f"7{case.answer}"
