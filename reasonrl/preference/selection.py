"""Which completions of a file of samples are learned from: rejection sampling, pairs, and labels of single ones.

Completions of a problem are told apart by their label, the score or one reward of it. What is chosen for a problem
depends on its own completions alone.

Left out: weights of rows, and a balance of lengths over several problems.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import fmean
from typing import Final, Literal, TypeAlias

from reasonrl.config.rewards import passes
from reasonrl.errors import ConfigError, DataError, and_known
from reasonrl.preference.samples import SampleRow

Schema: TypeAlias = Literal["samples", "sft", "preference", "kto"]
"""What a row is: a completion with its scores, or a row of TRL's schemas for SFT, for preferences, or for KTO."""
Keep: TypeAlias = Literal["best", "right", "all"]
"""The best of each problem, all that are right, or all."""

SCORE: Final = "score"
"""Label that stands for the weighted sum of a run's rewards."""
USUAL_KEEP: Final[Mapping[Schema, Keep]] = {"samples": "all", "sft": "right", "preference": "best", "kto": "all"}
"""What is kept where nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to keep of samples."""

    schema: Schema = "samples"
    keep: Keep | None = None
    """None is the schema's usual one."""
    label: str = SCORE
    """``score``, or the label of a reward of the samples."""
    threshold: float | None = None
    """From this label on a completion is right; None is ``usual``."""
    usual: Mapping[str, float] = field(default_factory=dict)
    """The usual threshold of each task, by its label; 1 for any other."""
    per_problem: int | None = None
    """Most rows of a problem, of KTO most right and most wrong ones; None takes the one best or pair where that is
    kept, and else sets no limit."""
    truncated: bool = False
    """Whether completions that the token limit has cut may be learned from as good ones."""

    def __post_init__(self) -> None:
        """Refuse what means nothing.

        Raises:
            ConfigError: something does.
        """
        if (self.schema, self.kept) == ("kto", "right"):
            raise ConfigError("--keep right with --schema kto: it learns from wrong completions too. Use all, or best.")
        for option, is_ignored in self._ignored().items():
            if is_ignored:
                raise ConfigError(
                    f"{option} has no effect with --schema {self.schema} --keep {self.kept}: leave it out, or keep "
                    "something else."
                )

    def _ignored(self) -> dict[str, bool]:
        """Return the options that were given and change nothing."""
        judged = self.kept == "right" or (self.schema, self.kept) == ("kto", "all")
        labeled = self.schema != "samples" or self.kept != "all"
        one_each = self.kept == "best" and self.schema in ("preference", "kto")
        return {
            "--threshold": self.threshold is not None and not judged,
            "--label": self.label != SCORE and not labeled,
            "--per-problem": self.per_problem is not None and one_each,
            "--truncated": self.truncated and self.is_everything,
        }

    @property
    def kept(self) -> Keep:
        """What is kept, with the schema's usual one filled in."""
        return self.keep or USUAL_KEEP[self.schema]

    @property
    def is_everything(self) -> bool:
        """Whether the samples stay as they are."""
        return (self.schema, self.kept, self.per_problem) == ("samples", "all", None)

    def label_of(self, row: SampleRow) -> float | None:
        """Return what says how good a completion is; None where it could not be judged.

        Raises:
            ConfigError: the completion has no such reward.
        """
        if self.label == SCORE:
            return row.score
        if self.label not in row.rewards:
            known = and_known(self.label, [SCORE, *row.rewards])
            raise ConfigError(f"--label {self.label}: the samples have no such reward.{known}")
        return row.rewards[self.label].value


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One row: a good completion, a bad one, or a pair of both."""

    good: SampleRow | None = None
    bad: SampleRow | None = None

    def row(self) -> SampleRow:
        """Return the completion that stands for the row: the good one, if there is one."""
        found = self.good or self.bad
        assert found is not None, "a choice has a completion"
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionCounts:
    """What became of the completions."""

    problems: int = 0
    completions: int = 0
    unlabeled: int = 0
    """Completions that could not be judged."""
    repeated: int = 0
    """Completions that say what another one of their problem says, up to case and white space."""
    truncated: int = 0
    """Completions that the token limit has cut and that are therefore not learned from as good ones."""
    rows: int = 0
    problems_with_rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long what is learned from is, in tokens."""

    mean: float
    """Of the good completions; of all where there are only others."""
    mean_of_samples: float
    mean_difference: float | None = None
    """The chosen one less the rejected one; None without pairs."""
    chosen_longer: float | None = None
    """Share of pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """The rows, in the order of the samples' problems, and what became of the others."""

    choices: tuple[Choice, ...]
    counts: SelectionCounts
    lengths: Lengths


def select(rows: Sequence[SampleRow], selection: Selection) -> Selected:
    """Choose what is learned from.

    Of completions of one text the first counts. Of equally good ones a shorter one comes before a longer one, and a
    chosen completion meets the rejected one whose length is nearest, so that length says little of what is good.

    Args:
        rows: completions with their scores.
        selection: what to keep.

    Raises:
        ConfigError: the samples have no such label.
        DataError: nothing is left; the message says what became of all.
    """
    counts = dict.fromkeys(SelectionCounts.__dataclass_fields__, 0)
    choices: list[Choice] = []
    for members in _by_problem(rows):
        chosen = list(_chosen(_usable(members, selection, counts), selection, counts))
        counts["problems"] += 1
        counts["problems_with_rows"] += bool(chosen)
        choices += chosen
    counts["rows"] = len(choices)
    found = SelectionCounts(**counts)
    if not choices:
        raise DataError(f"nothing is left to learn from.\n{render_counts(found)}")
    return Selected(choices=tuple(choices), counts=found, lengths=_lengths(rows, choices))


def normalized(text: str) -> str:
    """Return what two completions that say the same have in common: the text without case and runs of white space."""
    return " ".join(text.split()).casefold()


def render_counts(counts: SelectionCounts) -> str:
    """Return what became of completions, as text."""
    return (
        f"{counts.completions} completions of {counts.problems} problems: {counts.unlabeled} without a label, "
        f"{counts.repeated} repeat another one's text, {counts.truncated} are cut\n"
        f"{counts.rows} rows of {counts.problems_with_rows} problems"
    )


def _by_problem(rows: Iterable[SampleRow]) -> Iterator[list[SampleRow]]:
    groups: dict[str, list[SampleRow]] = {}
    for row in rows:
        groups.setdefault(row.problem().id, []).append(row)
    return iter(groups.values())


def _usable(members: Sequence[SampleRow], selection: Selection, counts: dict[str, int]) -> list[SampleRow]:
    """Return the completions of a problem that can be told apart, each text once; count the others."""
    everything = selection.kept == "all" and selection.schema in ("samples", "sft")  # no label is asked for
    labeled = [row for row in members if everything or selection.label_of(row) is not None]
    unlike = {normalized(row.completion): row for row in reversed(labeled)}  # of equal ones the first stays
    kept = [row for row in labeled if unlike[normalized(row.completion)] is row]
    counts["completions"] += len(members)
    counts["unlabeled"] += len(members) - len(labeled)
    counts["repeated"] += len(labeled) - len(kept)
    return kept


def _chosen(rows: Sequence[SampleRow], selection: Selection, counts: dict[str, int]) -> Iterator[Choice]:
    """Yield the rows of one problem."""
    good = [row for row in rows if selection.truncated or row.finish_reason != "length"]
    counts["truncated"] += len(rows) - len(good)
    match selection.schema:
        case "preference":
            yield from _pairs(good, rows, selection)
        case "kto":
            yield from _singles(good, rows, selection)
        case _:
            yield from (Choice(good=row) for row in _kept(good, selection))


def _kept(rows: Sequence[SampleRow], selection: Selection) -> Sequence[SampleRow]:
    """Return the completions of a problem that are kept."""
    if selection.kept == "all":
        return rows[: selection.per_problem]
    right = rows if selection.kept == "best" else [row for row in rows if _is_right(row, selection)]
    limit = 1 if selection.kept == "best" and selection.per_problem is None else selection.per_problem
    return sorted(right, key=lambda row: _rank(row, selection))[:limit]


def _pairs(good: Sequence[SampleRow], rows: Sequence[SampleRow], selection: Selection) -> Iterator[Choice]:
    """Yield pairs of one problem, those of the nearest lengths first; of right and wrong ones each is in one pair."""
    better, worse = _sides(good, rows, selection)
    pairs = [(a, b) for a in better for b in worse if _label(a, selection) > _label(b, selection)]
    pairs.sort(key=lambda pair: (abs(pair[0].num_tokens - pair[1].num_tokens), *(row.sample_index for row in pair)))
    used: set[int] = set()
    limit = 1 if selection.kept == "best" else selection.per_problem
    found = 0
    for a, b in pairs:
        if found == limit or (selection.kept == "right" and used & {id(a), id(b)}):
            continue
        used |= {id(a), id(b)}
        found += 1
        yield Choice(good=a, bad=b)


def _singles(good: Sequence[SampleRow], rows: Sequence[SampleRow], selection: Selection) -> Iterator[Choice]:
    """Yield single completions of one problem: right and wrong ones, or the best and the worst one."""
    if selection.kept == "best":
        for pair in _pairs(good, rows, selection):
            yield from (Choice(good=pair.good), Choice(bad=pair.bad))
        return
    right = sorted((row for row in good if _is_right(row, selection)), key=lambda row: _rank(row, selection))
    wrong = [row for row in rows if not _is_right(row, selection)]
    yield from (Choice(good=row) for row in right[: selection.per_problem])
    yield from (Choice(bad=row) for row in wrong[: selection.per_problem])


def _sides(
    good: Sequence[SampleRow], rows: Sequence[SampleRow], selection: Selection
) -> tuple[Sequence[SampleRow], Sequence[SampleRow]]:
    """Return the completions of a problem that may be chosen, and those that may be rejected."""
    match selection.kept:
        case "all":
            return good, rows
        case "right":
            right = [row for row in good if _is_right(row, selection)]
            return right, [row for row in rows if not _is_right(row, selection)]
    most = max((_label(row, selection) for row in good), default=-inf)
    least = min((_label(row, selection) for row in rows), default=inf)
    best = [row for row in good if _label(row, selection) == most]
    return best, [row for row in rows if _label(row, selection) == least]


def _label(row: SampleRow, selection: Selection) -> float:
    value = selection.label_of(row)
    return -inf if value is None else value


def _is_right(row: SampleRow, selection: Selection) -> bool:
    usual = selection.usual.get(row.task, 1.0)
    return passes(_label(row, selection), usual if selection.threshold is None else selection.threshold)


def _rank(row: SampleRow, selection: Selection) -> tuple[float, int, int]:
    """Order completions: the better one first, of equal ones the shorter one, then the one that was sampled first."""
    return -_label(row, selection), row.num_tokens, row.sample_index


def _lengths(rows: Sequence[SampleRow], choices: Sequence[Choice]) -> Lengths:
    good = [choice.good for choice in choices if choice.good]
    pairs = [(choice.good, choice.bad) for choice in choices if choice.good and choice.bad]
    differences = [chosen.num_tokens - rejected.num_tokens for chosen, rejected in pairs]
    return Lengths(
        mean=fmean(row.num_tokens for row in good or rows),
        mean_of_samples=fmean(row.num_tokens for row in rows),
        mean_difference=fmean(differences) if differences else None,
        chosen_longer=fmean(difference > 0 for difference in differences) if differences else None,
    )
