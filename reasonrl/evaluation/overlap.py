"""Find held-out problems that are also training problems.

Compared are ids, whole texts up to case, spacing, sentence punctuation and the spelling of numbers, and n-grams of
words (:mod:`reasonrl.evaluation.ngrams`). Texts that differ in their numbers alone are counted apart: problems of one
template rightly share it. Left out: paraphrases, translations, and what a base model saw before training.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from reasonrl.errors import OverlapError
from reasonrl.evaluation.matches import Kind, Match, Overlap
from reasonrl.evaluation.ngrams import NUM_WORDS, Cover, HeldoutTexts, contains
from reasonrl.evaluation.texts import facts, masked, sentences_of, text_of, tokens_of
from reasonrl.types import Problem, Split, split_of

NUM_SHOWN: Final = 3
"""Matches in an error message."""
WIDTH_SHOWN: Final = 120
"""Characters of a prompt in an error message."""
SIMILAR: Final = 0.5
"""Share of a held-out text's own words in one training text from which on the two count as similar, as in Tulu 3."""
NEAR: Final = 0.9
"""The same for near copies, whose numbers and operators are all in the training text too. Below it, MATH and MBPP have
pairs that ask for something else."""
MIN_OWN: Final = 0.5
"""Share of a text that must be its own, not a template's, for its n-grams to show that it was copied."""
MAX_OF_TEMPLATE: Final = 2
"""Texts of one side that differ in their numbers alone; more of them are problems of one template."""
DIGEST: Final = re.compile(r"[0-9a-f]{8}")
MAX_CHANCE: Final = 0.01
"""Probability below which it is no accident that all ids of some problems belong to their side of a split by id."""


def find_overlap(train: Sequence[Problem], heldout: Sequence[Problem]) -> Overlap:
    """Compare training problems with the held-out problems of one suite; see :func:`find_overlaps`."""
    return find_overlaps(train, {"": heldout})[""]


def find_overlaps(train: Sequence[Problem], suites: Mapping[str, Sequence[Problem]]) -> Mapping[str, Overlap]:
    """Compare training problems with those of several suites, in one pass over the training problems.

    The time grows with the length of the texts, not with the product of their numbers.
    """
    searches = {name: _Search(heldout) for name, heldout in suites.items()}
    seen: set[str] = set()
    for index, problem in enumerate(train):
        text = _TrainText.of(problem)
        for search in searches.values():
            search.compare_id(problem)
            if text.normalized not in seen:  # a text that is repeated is no template
                search.compare_text(index, text)
        seen.add(text.normalized)
    return {name: search.overlap(train) for name, search in searches.items()}


def require_apart(overlaps: Mapping[str, Overlap], reason: str) -> None:
    """Refuse suites that share problems with the training data, unless there is a reason.

    Args:
        overlaps: the finding for each suite, by name.
        reason: why an overlap is allowed; empty refuses it.

    Raises:
        OverlapError: some suite shares problems; the message shows the first ones.
    """
    sharing = {name: overlap for name, overlap in overlaps.items() if overlap.is_refused}
    if sharing and not reason.strip():
        found = "\n".join(report(name, overlap) for name, overlap in sharing.items())
        raise OverlapError(
            f"{found}\nTake them out of one side, or say why the figures still mean something: "
            'evaluation.allow_overlap="why".'
        )


def report(name: str, overlap: Overlap) -> str:
    """Return what was found for a suite, with the first pairs that it is refused for."""
    rows = [
        f"  {match.kind}: train {match.train_id} {_shown(match.train_text)}, "
        f"held-out {match.heldout_id} {_shown(match.heldout_text)}"
        for match in overlap.refused[:NUM_SHOWN]
    ]
    return "\n".join([f"suite {name!r}: {overlap.summary}{':' if rows else ''}", *rows])


def _shown(text: str) -> str:
    return repr(text if len(text) <= WIDTH_SHOWN else f"{text[:WIDTH_SHOWN]}...")


@dataclass(frozen=True, slots=True)
class _TrainText:
    """A training problem, read once for all suites."""

    problem: Problem
    text: str
    tokens: list[str]
    normalized: str
    masked: str

    @classmethod
    def of(cls, problem: Problem) -> Self:
        text = text_of(problem)
        tokens = tokens_of(text)
        return cls(problem, text, tokens, " ".join(tokens) or text, masked(tokens))


class _Search:
    """The problems of a suite, to be compared with training problems that are given one after the other."""

    def __init__(self, heldout: Sequence[Problem]) -> None:
        self._heldout = heldout
        self._tokens = [tokens_of(text_of(problem)) for problem in heldout]
        self._ids = {problem.id for problem in heldout}
        texts = [" ".join(tokens) or text_of(problem) for tokens, problem in zip(self._tokens, heldout, strict=True)]
        self._texts = texts
        self._masked = [masked(tokens) for tokens in self._tokens]
        self._num_masked = Counter(self._masked)
        self._wanted = {*texts}
        self._by_id: dict[str, Problem] = {}
        self._by_text: dict[str, Problem] = {}
        self._by_mask: dict[str, list[Problem]] = defaultdict(list)
        self._grams = HeldoutTexts(self._tokens)

    def compare_id(self, train: Problem) -> None:
        """Note a training problem that has the id of any of them."""
        if train.id in self._ids:
            self._by_id.setdefault(train.id, train)

    def compare_text(self, index: int, train: _TrainText) -> None:
        """Note what a training problem's text, which was not given before, has in common with any of them."""
        if train.normalized in self._wanted:
            self._by_text.setdefault(train.normalized, train.problem)
        if train.masked in self._num_masked and len(others := self._by_mask[train.masked]) <= MAX_OF_TEMPLATE:
            others.append(train.problem)
        sentences = [tokens_of(sentence) for sentence in sentences_of(train.text)] if self._grams.has_short else []
        self._grams.compare(index, train.tokens, sentences)

    def overlap(self, train: Sequence[Problem]) -> Overlap:
        """Return what they have in common with all of the training problems."""
        covers, by_id = self._grams.covers(), self._split_by_id(train)
        found = (
            self._match(index, [(cover, train[cover.train]) for cover in covers.get(index, ())], by_id)
            for index in range(len(self._heldout))
        )
        return Overlap(
            num_train=len(train),
            num_heldout=len(self._heldout),
            found=tuple(match for match in found if match is not None),
            num_similar=sum(best.share >= SIMILAR for best, *_ in covers.values()),
            split_by_id=tuple(sorted(by_id)),
        )

    def _match(self, index: int, covers: Sequence[tuple[Cover, Problem]], by_id: Collection[str]) -> Match | None:
        """Return the first kind of match of a held-out problem; at most one."""
        heldout = self._heldout[index]
        for kind, twin in self._candidates(index, covers, by_id):
            if twin is not None:
                return Match(
                    kind=kind,
                    train_id=twin.id,
                    heldout_id=heldout.id,
                    train_text=text_of(twin),
                    heldout_text=text_of(heldout),
                )
        return None

    def _candidates(
        self, index: int, covers: Sequence[tuple[Cover, Problem]], by_id: Collection[str]
    ) -> Iterator[tuple[Kind, Problem | None]]:
        yield "exact", self._by_id.get(self._heldout[index].id)
        yield "normalized", self._same_text(index, by_id)
        others = [(cover, twin) for cover, twin in covers if twin.task not in by_id]
        share, copied = self._copied(index, others)
        yield ("contained" if share == 1 else "near"), copied
        alike = next(iter(self._by_mask.get(self._masked[index], ())), None)
        is_template = self._is_template(index) or (alike is not None and alike.task in by_id)
        yield ("template" if is_template else "renumbered"), alike

    def _same_text(self, index: int, by_id: Collection[str]) -> Problem | None:
        """Return the training problem of the same text; of a task that splits by id, only with the same answer.

        Drawings in characters differ in signs that are left out of texts.
        """
        twin = self._by_text.get(self._texts[index])
        is_other = twin is not None and twin.task in by_id and twin.answer != self._heldout[index].answer
        return None if is_other else twin

    def _copied(self, index: int, covers: Sequence[tuple[Cover, Problem]]) -> tuple[float, Problem | None]:
        """Return the training problem that has nearly all of a text, and its numbers and operators."""
        asked = facts(self._tokens[index])
        for cover, twin in covers:
            if cover.share < NEAR:
                break
            if cover.own_share >= MIN_OWN and contains(facts(tokens_of(text_of(twin))), asked):
                return cover.share, twin
        return 0.0, None

    def _is_template(self, index: int) -> bool:
        """Whether a text with other numbers is asked several times on one side, or is too short to stand alone."""
        mask = self._masked[index]
        often = max(len(self._by_mask.get(mask, ())), self._num_masked[mask])
        return len(self._tokens[index]) < NUM_WORDS or often > MAX_OF_TEMPLATE

    def _split_by_id(self, train: Sequence[Problem]) -> set[str]:
        """Return the tasks of training problems that, like these, are on their side of a split by id."""
        if not all(_is_of(problem, "heldout") for problem in self._heldout):
            return set()
        numbers = Counter(problem.task for problem in train)
        others = {problem.task for problem in train if not _is_of(problem, "train")}
        own = {problem.task for problem in self._heldout}
        chance = {
            task: 0.9**number * (0.1 ** len(self._heldout) if task in own else 1) for task, number in numbers.items()
        }
        return {task for task in numbers if chance[task] <= MAX_CHANCE} - others


def _is_of(problem: Problem, split: Split) -> bool:
    """Whether a problem's id puts it on this side; an id that is no digest puts it on none."""
    return bool(DIGEST.match(problem.id)) and split_of(problem.id) == split
