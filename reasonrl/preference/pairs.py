"""From labeled completions of a policy to preference pairs, or to labeled rows for an outcome model.

Left out: pairs of completions of different problems, and weights of pairs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from statistics import fmean
from typing import Any, Literal, TypeAlias

from reasonrl.errors import ConfigError, DataError
from reasonrl.preference.data import LabeledCompletion, Pair
from reasonrl.types import Problem

Pairing: TypeAlias = Literal["best-worst", "all"]
"""Which completions of a problem meet: the best and the worst one, or every two."""

Labeled: TypeAlias = tuple[str, float]
"""A completion and its label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledSample:
    """A completion with what says how good it is."""

    problem: Problem
    completion: str
    label: float | None
    """More is better; None where it could not be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSettings:
    """How pairs are made."""

    pairing: Pairing = "best-worst"
    min_gap: float = 0.0
    """Smallest difference of two labels that makes a pair; equal labels never do."""
    pairs_per_prompt: int | None = None
    """Most pairs of one problem, drawn at random; None takes all."""
    flip: float = 0.0
    """Chance of each pair to be turned round: noise for experiments."""
    seed: int = 0
    """Decides what is drawn and what is turned round."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing.

        Raises:
            ConfigError: one does.
        """
        if not 0 <= self.flip < 1:
            raise ConfigError(f"flip is {self.flip:g}, but it is a share of pairs: from 0 to less than 1.")
        if self.min_gap < 0:
            raise ConfigError(f"min-gap is {self.min_gap:g}, but a difference is at least 0.")
        if self.pairing == "best-worst" and self.pairs_per_prompt is not None:
            raise ConfigError("pairs-per-prompt is set, but best-worst makes one pair a prompt: use all.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePair:
    """A pair, and what was known of it when it was made."""

    id: str
    problem: Problem
    chosen: str
    rejected: str
    gap: float
    """Difference of the labels: above 0, also where the pair is turned round."""
    flipped: bool

    @property
    def tags(self) -> tuple[str, ...]:
        """The problem's task, and ``flipped`` where the pair is turned round."""
        return (self.problem.task, "flipped") if self.flipped else (self.problem.task,)

    def pair(self) -> Pair:
        """Return the pair as a reward model learns it, without a margin."""
        return Pair(problem=self.problem, chosen=self.chosen, rejected=self.rejected, tags=self.tags)

    def row(self, *, with_margin: bool = False) -> dict[str, Any]:
        """Return the row of TRL's schema, with ``id`` and ``tags`` beside it. Any: JSON values."""
        return {
            "id": self.id,
            "prompt": _prompt(self.problem),
            "chosen": _completion(self.problem, self.chosen),
            "rejected": _completion(self.problem, self.rejected),
            **({"margin": self.gap} if with_margin else {}),
            "tags": list(self.tags),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounts:
    """What became of the completions; ``candidates`` are the pairs that the pairing asks for."""

    completions: int
    unlabeled: int
    repeated: int
    """Completions whose text another completion of the problem has."""
    prompts: int
    prompts_with_pairs: int
    candidates: int
    ties: int
    small_gaps: int
    """Pairs whose labels differ by less than ``min_gap``."""
    not_drawn: int
    """Pairs beyond ``pairs_per_prompt``."""
    pairs: int
    flipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthCounts:
    """How long the texts of pairs are, in characters."""

    chosen_longer: int
    equally_long: int
    mean_difference: float
    """Characters of the chosen text less those of the rejected one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePairs:
    """All pairs, in the order of the samples' problems."""

    pairs: tuple[MadePair, ...]
    counts: PairCounts

    def lengths(self) -> LengthCounts:
        """Compare the lengths of chosen and rejected texts."""
        differences = [len(pair.chosen) - len(pair.rejected) for pair in self.pairs]
        return LengthCounts(
            chosen_longer=sum(difference > 0 for difference in differences),
            equally_long=differences.count(0),
            mean_difference=fmean(differences) if differences else 0.0,
        )


def make_pairs(samples: Iterable[LabeledSample], settings: PairSettings) -> MadePairs:
    """Pair the completions of each problem by their labels.

    Of completions with one text the first counts, so no pair has two equal texts. What is drawn for a problem depends
    on the seed and the problem alone.
    """
    counts = dict.fromkeys(PairCounts.__dataclass_fields__, 0)
    made: list[MadePair] = []
    for problem, members in _by_problem(samples):
        kept = _usable(members, counts)
        of_problem = list(_pairs_of(problem, kept, settings, counts))
        counts["prompts_with_pairs"] += bool(of_problem)
        made += of_problem
    return MadePairs(pairs=tuple(made), counts=PairCounts(**counts))


def _by_problem(samples: Iterable[LabeledSample]) -> Iterator[tuple[Problem, list[LabeledSample]]]:
    groups: dict[str, list[LabeledSample]] = {}
    for sample in samples:
        groups.setdefault(sample.problem.id, []).append(sample)
    return ((members[0].problem, members) for members in groups.values())


def _usable(members: Sequence[LabeledSample], counts: dict[str, int]) -> list[Labeled]:
    """Return the labeled completions of a problem, each text once; count the others."""
    labeled = [(member.completion, member.label) for member in members if member.label is not None]
    unlike: dict[str, float] = {}
    for text, label in labeled:
        unlike.setdefault(text, label)  # the first one counts
    counts["prompts"] += 1
    counts["completions"] += len(members)
    counts["unlabeled"] += len(members) - len(labeled)
    counts["repeated"] += len(labeled) - len(unlike)
    return list(unlike.items())


def _pairs_of(
    problem: Problem, completions: Sequence[Labeled], settings: PairSettings, counts: dict[str, int]
) -> Iterator[MadePair]:
    """Yield the pairs of one problem; count the candidates that make none."""
    random = Random(f"{settings.seed}/{problem.id}")
    candidates = _candidates(completions, settings.pairing, random)
    unlike = [(better, worse) for better, worse in candidates if better[1] > worse[1]]
    wide = [(better, worse) for better, worse in unlike if better[1] - worse[1] >= settings.min_gap]
    most = min(settings.pairs_per_prompt or len(wide), len(wide))
    drawn = [wide[place] for place in sorted(random.sample(range(len(wide)), most))]
    counts["candidates"] += len(candidates)
    counts["ties"] += len(candidates) - len(unlike)
    counts["small_gaps"] += len(unlike) - len(wide)
    counts["not_drawn"] += len(wide) - len(drawn)
    counts["pairs"] += len(drawn)
    for number, (better, worse) in enumerate(drawn):
        flipped = random.random() < settings.flip
        counts["flipped"] += flipped
        yield MadePair(
            id=f"{problem.id}-{number}",
            problem=problem,
            chosen=(worse if flipped else better)[0],
            rejected=(better if flipped else worse)[0],
            gap=better[1] - worse[1],
            flipped=flipped,
        )


def _candidates(completions: Sequence[Labeled], pairing: Pairing, random: Random) -> list[tuple[Labeled, Labeled]]:
    """Return every two completions that are to meet, the better one first; equally good ones are drawn at random."""
    if pairing == "all":
        return [(a, b) if a[1] >= b[1] else (b, a) for a, b in combinations(completions, 2)]
    shuffled = sorted(random.sample(completions, len(completions)), key=lambda one: one[1])  # equal ones stay shuffled
    return [(shuffled[-1], shuffled[0])] if len(shuffled) > 1 else []


# Rows for an outcome model.


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLabels:
    """Labeled completions for an outcome model, and what became of the others."""

    rows: tuple[LabeledCompletion, ...]
    completions: int
    unlabeled: int
    repeated: int
    flipped: int


def make_labels(
    samples: Iterable[LabeledSample], *, threshold: float | None = None, flip: float = 0.0, seed: int = 0
) -> MadeLabels:
    """Turn completions into rows with a label from 0 to 1; of completions with one text the first counts.

    Args:
        samples: labeled completions.
        threshold: labels become 1 from here on and 0 below; None takes them as they are.
        flip: chance of each label to be turned round, which needs labels of 0 and 1.
        seed: decides which are.

    Raises:
        DataError: a label is not from 0 to 1, or cannot be turned round.
    """
    counts = dict.fromkeys(("prompts", "completions", "unlabeled", "repeated"), 0)
    rows: list[LabeledCompletion] = []
    flips = 0
    for problem, members in _by_problem(samples):
        random = Random(f"{seed}/{problem.id}")
        for text, value in _usable(members, counts):
            label = _outcome(value, threshold, flip)
            flipped = random.random() < flip
            flips += flipped
            tags = (problem.task, "flipped") if flipped else (problem.task,)
            label = 1.0 - label if flipped else label
            rows.append(LabeledCompletion(problem=problem, completion=text, label=label, tags=tags))
    return MadeLabels(
        rows=tuple(rows),
        completions=counts["completions"],
        unlabeled=counts["unlabeled"],
        repeated=counts["repeated"],
        flipped=flips,
    )


def _outcome(value: float, threshold: float | None, flip: float) -> float:
    label = value if threshold is None else float(value >= threshold)
    if not 0 <= label <= 1:
        raise DataError(f"a label is {label:g}, but an outcome is from 0 to 1: give a threshold from which on it is 1.")
    if flip and label not in (0.0, 1.0):
        raise DataError(f"a label is {label:g}, and only 0 and 1 can be turned round: give a threshold, or no flip.")
    return label


def label_row(labeled: LabeledCompletion) -> dict[str, Any]:
    """Return the row of TRL's schema for single completions. Any: JSON values."""
    return {
        "prompt": _prompt(labeled.problem),
        "completion": _completion(labeled.problem, labeled.completion),
        "label": labeled.label,
        "tags": list(labeled.tags),
    }


def _prompt(problem: Problem) -> str | list[dict[str, str]]:
    """Return the question itself, not as a template renders it: a reward model has a template of its own."""
    return problem.prompt if problem.messages is None else [dict(message) for message in problem.messages]


def _completion(problem: Problem, text: str) -> str | list[Mapping[str, str]]:
    return text if problem.messages is None else [{"role": "assistant", "content": text}]
