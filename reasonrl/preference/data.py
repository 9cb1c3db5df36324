"""Preference data: pairs and labeled completions, read from TRL's schemas and split by prompt.

Each row of a source is one of these, texts being strings or lists of messages:

- ``prompt``, ``chosen``, ``rejected``: a pair; without ``prompt`` it is what both begin with;
- ``prompt``, ``completions``: ranked, the best first, or by ``scores`` (more is better) or ``ranks`` (less is better);
  every two of them with a gap make a pair;
- ``prompt``, ``completion``, ``label``: a completion that is right (true, 1) or wrong (false, 0), or something between;
- in addition ``margin`` (pairs) and ``tags`` (a text or a list of texts), where accuracy by group is of interest.

A prompt is given to the model by the reward model's template, as the policy's is by the run's: a prompt that was
rendered already is used as it is with template ``bare``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from reasonrl.errors import DataError
from reasonrl.types import Problem, digest, split_of

if TYPE_CHECKING:
    from reasonrl.config.reward_model import PreferenceDataSettings

Kind: TypeAlias = Literal["bradley_terry", "outcome"]
"""What a reward model learns from: pairs, or labeled completions."""

IMPLICIT: Final = "implicit prompt"
"""Task of a problem whose prompt was found by comparing two texts."""
MIN_ROOT: Final = 16
"""Fewest characters of a prompt found so that longer ones which begin with it count as the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two completions of one prompt, of which one was preferred."""

    problem: Problem
    """The prompt; two pairs of one prompt have problems of one id."""
    chosen: str
    rejected: str
    margin: float | None = None
    """How much better the chosen one is, in the units of the score."""
    tags: tuple[str, ...] = ()
    """Groups that accuracy is reported for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledCompletion:
    """A completion with what it is worth, for an outcome model."""

    problem: Problem
    completion: str
    label: float
    """From 0 for wrong to 1 for right."""
    tags: tuple[str, ...] = ()


Example: TypeAlias = Pair | LabeledCompletion


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceData:
    """What a reward model learns from and what it is measured on: all of one kind, and no prompt on both sides."""

    source: str
    """Where it comes from."""
    train: tuple[Example, ...]
    """In an order that does not depend on that of the source."""
    heldout: tuple[Example, ...]
    summary: Mapping[str, int]
    """Counts: ``train``, ``train_prompts``, ``heldout``, ``heldout_prompts``, and of what was left out or is odd:
    ``equal_texts``, ``contradicting``, ``repeated``, ``empty_completions``."""
    digest: str
    """Stands for all examples, whatever their order."""
    warnings: tuple[str, ...]


def load_data(settings: "PreferenceDataSettings", kind: Kind) -> PreferenceData:
    """Read the examples of a file, a folder or a data set, and split them by prompt.

    Args:
        settings: with a ``path``.
        kind: what the rows must be.

    Raises:
        ConfigError: a setting does not go with the source.
        DataError: a row cannot be used; the message has its place.
        UnreachableError: the data set cannot be loaded.
    """
    from reasonrl.preference.schema import examples_of
    from reasonrl.preference.sources import read_rows

    source, rows = read_rows(settings)
    examples = [example for where, row in rows for example in examples_of(where, row, kind)]
    return split_by_prompt(examples, heldout_share=settings.heldout_share, source=source)


def split_by_prompt(examples: Iterable[Example], *, heldout_share: float, source: str) -> PreferenceData:
    """Put every prompt on one side, by a hash of it: neither a seed nor other rows can move it.

    Pairs of two equal texts teach nothing; they are left out and counted.

    Args:
        examples: of one kind, from anywhere.
        heldout_share: share of the prompts to hold out.
        source: where they come from, for messages and the record.

    Raises:
        DataError: a side is empty.
    """
    given = with_common_roots(list(examples))
    usable = sorted((one for one in given if not _is_equal(one)), key=_identity)
    sides = {side: tuple(one for one in usable if _side(one, heldout_share) == side) for side in ("train", "heldout")}
    counts = _counts(given, usable, sides)
    _require_both(source, counts, heldout_share)
    return PreferenceData(
        source=source,
        train=sides["train"],
        heldout=sides["heldout"],
        summary=counts,
        digest=digest(*map(_identity, usable)),
        warnings=tuple(_warnings(counts, usable)),
    )


def _side(example: Example, heldout_share: float) -> str:
    return split_of(example.problem.id, heldout_share=heldout_share)


def _is_equal(example: Example) -> bool:
    return isinstance(example, Pair) and example.chosen == example.rejected


def _identity(example: Example) -> str:
    """Return what stands for an example; the prompt's id is first, so that those of one prompt are neighbors."""
    problem = example.problem
    what = (
        (example.chosen, example.rejected, example.margin)
        if isinstance(example, Pair)
        else (example.completion, example.label)
    )
    return problem.id + digest(problem.prompt, problem.messages, *what, example.tags)


def with_common_roots(examples: Sequence[Example]) -> list[Example]:
    """Give prompts that were found by comparison the id of the shortest one that they begin with.

    What two texts have in common may reach into the completions, so one prompt may be found in several lengths. Where
    the prompt itself is among them, all of them stay on one side.
    """
    found = {one.problem.prompt: one.problem.id for one in examples if one.problem.task == IMPLICIT}
    ids, root = dict[str, str](), ""
    for prompt in sorted(found):  # a text stands right before those that begin with it
        if len(root) < MIN_ROOT or not prompt.startswith(root):
            root = prompt
        ids[prompt] = found[root]
    return [
        replace(one, problem=replace(one.problem, id=ids[one.problem.prompt])) if one.problem.task == IMPLICIT else one
        for one in examples
    ]


def _counts(
    given: Sequence[Example], usable: Sequence[Example], sides: Mapping[str, Sequence[Example]]
) -> dict[str, int]:
    sizes = {side: len(examples) for side, examples in sides.items()}
    prompts = {f"{side}_prompts": len({one.problem.id for one in examples}) for side, examples in sides.items()}
    pairs = Counter((one.problem.id, one.chosen, one.rejected) for one in usable if isinstance(one, Pair))
    labels = {(one.problem.id, one.completion, one.label) for one in usable if isinstance(one, LabeledCompletion)}
    labeled = Counter((prompt, completion) for prompt, completion, _ in labels)
    turned = sum((prompt, worse, better) in pairs for prompt, better, worse in pairs) // 2
    return {
        **sizes,
        **prompts,
        "equal_texts": len(given) - len(usable),
        "contradicting": turned + sum(count > 1 for count in labeled.values()),
        "repeated": len(usable) - len(set(map(_identity, usable))),
        "empty_completions": sum(not text.strip() for one in usable for text in _completions(one)),
    }


def _completions(example: Example) -> tuple[str, ...]:
    return (example.chosen, example.rejected) if isinstance(example, Pair) else (example.completion,)


def _require_both(source: str, counts: Mapping[str, int], heldout_share: float) -> None:
    if counts["train"] and counts["heldout"]:
        return
    empty, other = ("train", "heldout") if counts["heldout"] else ("heldout", "train")
    left_out = f" ({counts['equal_texts']} pairs of equal texts were left out)" if counts["equal_texts"] else ""
    what = "to learn from" if empty == "train" else "to measure on"
    raise DataError(
        f"{source}: has {counts[f'{other}_prompts']} usable prompts{left_out}, and none of them is left {what} with "
        f"data.heldout_share: {heldout_share:g}. Whole prompts go to one side: give more of them, or change the share."
    )


def _warnings(counts: Mapping[str, int], usable: Sequence[Example]) -> Iterable[str]:
    """Say what a reader of the model's figures should know of the data."""
    if any(one.problem.task == IMPLICIT for one in usable):
        yield (
            "the data has no prompts: what chosen and rejected begin with is taken for one. It may reach into the "
            "completions, and one prompt found as several may stand on both sides (give a column 'prompt')"
        )
    if counts["equal_texts"]:
        yield f"{counts['equal_texts']} pairs of equal texts were left out"
    if counts["contradicting"]:
        yield f"{counts['contradicting']} completions or pairs have labels that contradict each other"
    if counts["empty_completions"]:
        yield f"{counts['empty_completions']} completions are empty"
