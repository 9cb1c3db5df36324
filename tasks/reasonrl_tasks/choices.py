"""Multiple-choice questions: GPQA Diamond (arXiv:2311.12022) and MMLU-Pro (arXiv:2406.01574).

The choices stand in ``meta["choices"]``, in the order of the prompt, and ``answer`` is the letter of the right one, as
the reward ``multiple_choice`` reads them.
"""

from collections.abc import Sequence
from typing import Any, Final

from reasonrl import DataError, Problem, Split, digest
from reasonrl_tasks.benchmarks import heldout_problems, refuse_training
from reasonrl_tasks.columns import of_one_split
from reasonrl_tasks.sources import HubSource, read_source

GPQA_DIAMOND: Final = HubSource("Idavidrein/gpqa", "gpqa_diamond", files=("gpqa_diamond.*",))
MMLU_PRO: Final = "TIGER-Lab/MMLU-Pro"

MAX_CHOICES: Final = 26
"""Choices that have a letter."""

_GPQA_CHOICES: Final = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_GPQA_KEPT: Final = {"High-level domain": "domain", "Subdomain": "subdomain", "Record ID": "record_id"}


def gpqa_diamond(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    domain: tuple[str, ...] = (),
) -> Sequence[Problem]:
    """Ask the 198 questions of GPQA Diamond.

    The data lists the right choice first, so choices are put into an order that follows from the problem's id alone: it
    is the same in every run, and the right one stands at each letter about as often. The authors ask that questions are
    shown nowhere in the open; the data set on the hub is gated.

    Args:
        split: ``heldout``; all of it is there to be measured on, and refused as training problems.
        seed: not used: the order follows from the problem.
        data: a file or folder that holds it, such as ``gpqa_diamond.csv``; null reads the hub.
        revision: commit, tag or branch of ``Idavidrein/gpqa``.
        domain: only these domains (``Biology``, ``Chemistry``, ``Physics``); none takes all.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    refuse_training("gpqa_diamond", split)
    rows = read_source(GPQA_DIAMOND, data=data, revision=revision)
    problems = (_gpqa(where, row) for where, row in rows)
    chosen = ((p.id, p) for p in problems if not domain or p.meta.get("domain") in domain)
    return heldout_problems(chosen, "gpqa_diamond")


def mmlu_pro(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    category: tuple[str, ...] = (),
) -> Sequence[Problem]:
    """Ask the questions of MMLU-Pro, with up to ten choices each; its 12,032 test questions are held out.

    Args:
        split: ``train`` returns its 70 validation questions, ``heldout`` those of its test set.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it; null reads the hub.
        revision: commit, tag or branch of ``TIGER-Lab/MMLU-Pro``.
        category: only these categories, such as ``physics``; none takes all.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    source = HubSource(MMLU_PRO, split="validation" if split == "train" else "test")
    problems = (_mmlu_pro(where, row) for where, row in read_source(source, data=data, revision=revision))
    chosen = ((p.id, p) for p in problems if not category or p.meta.get("category") in category)
    return of_one_split(chosen, split=split, heldout_share=0.0, where="task 'mmlu_pro'")


def _gpqa(where: str, row: Any) -> Problem:
    """Make a problem of a row of GPQA. Any: a mapping of whatever the source holds."""
    question = _text(where, row, "Question")
    right, *wrong = (_text(where, row, name) for name in _GPQA_CHOICES)
    id_ = _id(question, right)
    choices = sorted([right, *wrong], key=lambda choice: digest(id_, choice))
    kept = {ours: row[theirs] for theirs, ours in _GPQA_KEPT.items() if theirs in row}
    return _problem("gpqa_diamond", id_, question, choices, choices.index(right), kept)


def _mmlu_pro(where: str, row: Any) -> Problem:
    """Make a problem of a row of MMLU-Pro. Any: as before."""
    question, options, index = _text(where, row, "question"), row.get("options"), row.get("answer_index")
    choices = [choice.strip() for choice in options] if _are_texts(options) else []
    while choices and choices[-1] in ("", "N/A"):
        choices.pop()
    if not 2 <= len(choices) <= MAX_CHOICES:
        raise DataError(f"{where}: column 'options' must be a list of 2 to {MAX_CHOICES} texts, not {options!r:.40}.")
    if type(index) is not int or not 0 <= index < len(choices) or row.get("answer") != _letter(index):
        given = f"{row.get('answer')!r:.20} and {index!r:.20}"
        raise DataError(f"{where}: columns 'answer' and 'answer_index' are {given}: no one choice of {len(choices)}.")
    kept = {name: row[name] for name in ("category", "src", "question_id") if name in row}
    return _problem("mmlu_pro", _id(question, choices[index]), question, choices, index, kept)


def _problem(task: str, id_: str, question: str, choices: Sequence[str], right: int, meta: dict[str, Any]) -> Problem:
    """Make a problem. Any: further columns."""
    listed = "\n".join(f"{_letter(index)}) {choice}" for index, choice in enumerate(choices))
    return Problem(
        id=id_,
        task=task,
        prompt=f"{question}\n\n{listed}\n\nAnswer with the letter of the right choice.",
        answer=_letter(right),
        meta={**meta, "choices": list(choices)},
    )


def _letter(index: int) -> str:
    return chr(ord("A") + index)


def _id(question: str, answer: str) -> str:
    return digest("choice", " ".join(question.split()).casefold(), " ".join(answer.split()).casefold())


def _are_texts(options: Any) -> bool:
    return isinstance(options, list) and all(isinstance(option, str) for option in options)


def _text(where: str, row: Any, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: column {name!r} must be text, not {value!r:.40}.")
    return value.strip()
