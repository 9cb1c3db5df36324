"""Pairs to judge a model on: TRL's preference schemas, labeled completions, RewardBench and RewardBench 2."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any, Literal, TypeAlias

from reasonrl.config.reward_model import PreferenceDataSettings
from reasonrl.errors import DataError
from reasonrl.preference.data import LabeledCompletion, Pair, with_common_roots
from reasonrl.preference.evaluation.rewardbench import is_rewardbench
from reasonrl.preference.schema import Row, examples_of
from reasonrl.preference.sources import read_rows
from reasonrl.types import Problem, digest

Form: TypeAlias = Literal["pairs", "labels", "rewardbench", "rewardbench2"]
"""What the rows of a file are."""
PlacedRow: TypeAlias = tuple[str, Row]
"""A row with its place, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRow:
    """A row of RewardBench 2."""

    id: str
    subset: str
    problem: Problem
    right: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedData:
    """What a model is measured on."""

    source: str
    form: Form
    pairs: tuple[Pair, ...]
    """Pairs of two different texts."""
    choices: tuple[ChoiceRow, ...] = ()
    """Rows of RewardBench 2, whose pairs stand in ``pairs`` too: every right completion with every wrong one."""
    labeled: tuple[LabeledCompletion, ...] = ()
    """Labeled completions, whose pairs stand in ``pairs`` too: every better one with every worse one of its prompt."""
    equal_texts: int = 0
    """Pairs that were left out because their texts are equal."""

    @property
    def digest(self) -> str:
        """Stands for the pairs, whatever their order."""
        return digest(*sorted(digest(one.problem.id, one.chosen, one.rejected) for one in self.pairs))

    def without(self, prompt_ids: frozenset[str]) -> "JudgedData":
        """Return the data without some prompts."""
        return JudgedData(
            source=self.source,
            form=self.form,
            pairs=tuple(one for one in self.pairs if one.problem.id not in prompt_ids),
            choices=tuple(one for one in self.choices if one.problem.id not in prompt_ids),
            labeled=tuple(one for one in self.labeled if one.problem.id not in prompt_ids),
            equal_texts=self.equal_texts,
        )


def read_data(settings: PreferenceDataSettings) -> JudgedData:
    """Read pairs; what the rows are is told from the first one.

    Args:
        settings: with a path; ``heldout_share`` and lengths are of no meaning here.

    Raises:
        DataError: a row cannot be used, or there is no pair.
        UnreachableError: the data set cannot be loaded.
    """
    source, placed = read_rows(settings)
    rows = list(placed)
    if not rows:
        raise DataError(f"{source}: holds no row.")
    form = _form(rows)
    choices = tuple(_choice(where, row) for where, row in rows) if form == "rewardbench2" else ()
    labeled = tuple(_labeled(rows)) if form == "labels" else ()
    if choices:
        pairs = [pair for choice in choices for pair in _choice_pairs(choice)]
    else:
        pairs = list(_labeled_pairs(labeled) if labeled else _pairs(rows, form))
    _require_characters(source, pairs)
    different = tuple(pair for pair in pairs if pair.chosen != pair.rejected)
    if not different:
        raise DataError(f"{source}: has {len(rows)} rows, but no two different completions of a prompt to compare.")
    return JudgedData(
        source=source,
        form=form,
        pairs=different,
        choices=choices,
        labeled=labeled,
        equal_texts=len(pairs) - len(different),
    )


def _require_characters(source: str, pairs: Iterable[Pair]) -> None:
    """Refuse texts with half of a surrogate pair, which JSON can hold and no tokenizer takes.

    Raises:
        DataError: there is one.
    """
    for pair in pairs:
        said = [message["content"] for message in pair.problem.messages or ()]
        for text in (pair.problem.prompt, *said, pair.chosen, pair.rejected):
            half = next((character for character in text if "\ud800" <= character <= "\udfff"), None)
            if half is not None:
                raise DataError(
                    f"{source}: a text holds U+{ord(half):04X}, half of a character, which no tokenizer takes; the "
                    f"prompt is {pair.problem.prompt[:60]!r}."
                )


def _form(rows: Sequence[PlacedRow]) -> Form:
    first = rows[0][1]
    if all(_is_list_of_texts(first.get(side)) for side in ("chosen", "rejected")):
        return "rewardbench2"
    if "label" in first and "chosen" not in first:
        return "labels"
    subsets = [row.get("subset") for _, row in rows]
    known = all(isinstance(subset, str) for subset in subsets) and is_rewardbench([str(one) for one in subsets])
    return "rewardbench" if known else "pairs"


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, str) for one in value)


def _pairs(rows: Iterable[PlacedRow], form: Form) -> Iterator[Pair]:
    """Yield the pairs of rows that TRL's schemas describe."""
    tagged = ((where, {**row, "tags": row["subset"]} if form == "rewardbench" else row) for where, row in rows)
    examples = [one for where, row in tagged for one in examples_of(where, row, "bradley_terry")]
    yield from (one for one in with_common_roots(examples) if isinstance(one, Pair))


def _labeled(rows: Iterable[PlacedRow]) -> Iterator[LabeledCompletion]:
    examples = (one for where, row in rows for one in examples_of(where, row, "outcome"))
    return (one for one in examples if isinstance(one, LabeledCompletion))


def _labeled_pairs(labeled: Sequence[LabeledCompletion]) -> Iterator[Pair]:
    """Yield every two completions of a prompt with different labels."""
    ordered = sorted(labeled, key=lambda one: one.problem.id)
    for _, group in groupby(ordered, key=lambda one: one.problem.id):
        those = list(group)
        for better, worse in product(those, those):
            if better.label > worse.label:
                yield Pair(
                    problem=better.problem, chosen=better.completion, rejected=worse.completion, tags=better.tags
                )


def _choice(where: str, row: Row) -> ChoiceRow:
    """Read a row of RewardBench 2.

    Raises:
        DataError: a column is missing or holds something else.
    """
    for name in ("id", "subset", "prompt"):
        if not isinstance(row.get(name), str):
            raise DataError(f"{where}: column {name!r} of a row of RewardBench 2 is {row.get(name)!r}, not a text.")
    right, wrong = row.get("chosen"), row.get("rejected")
    if not _is_list_of_texts(right) or not _is_list_of_texts(wrong):
        raise DataError(f"{where}: columns 'chosen' and 'rejected' of a row of RewardBench 2 are lists of texts.")
    if row.get("num_correct", len(_texts(right))) != len(_texts(right)):
        raise DataError(f"{where}: num_correct is {row['num_correct']}, but chosen has {len(_texts(right))} texts.")
    problem = next(iter(examples_of(where, _as_pair(row), "bradley_terry"))).problem
    return ChoiceRow(id=row["id"], subset=row["subset"], problem=problem, right=_texts(right), wrong=_texts(wrong))


def _texts(value: Any) -> tuple[str, ...]:
    """Return a checked list of texts. Any: a column."""
    return tuple(value)


def _as_pair(row: Row) -> Mapping[str, Any]:
    """Return the first pair of a row, to read its prompt as those of other files. Any: columns."""
    return {"prompt": row["prompt"], "chosen": row["chosen"][0], "rejected": row["rejected"][0]}


def _choice_pairs(choice: ChoiceRow) -> Iterator[Pair]:
    for right, wrong in product(choice.right, choice.wrong):
        yield Pair(problem=choice.problem, chosen=right, rejected=wrong, tags=(choice.subset,))
