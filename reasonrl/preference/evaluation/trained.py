"""Which of the prompts a model was trained on: to be measured on them says nothing of others."""

from dataclasses import dataclass
from typing import Final

from reasonrl.errors import OverlapError
from reasonrl.preference.evaluation.pairs import JudgedData

NUM_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedPrompts:
    """What is known of the prompts of the data."""

    known: bool
    """Whether the model says what it was trained on."""
    num_trained: int
    """Prompts of the file that it was trained on."""
    left_out: bool
    """Whether these were left out of the measurement."""
    reason: str
    """Why they were not, as the user said."""

    @property
    def summary(self) -> str:
        """The finding in a sentence."""
        if not self.known:
            return "not known: the model does not say what prompts it was trained on"
        if not self.num_trained:
            return "none of these prompts was trained on"
        if self.left_out:
            return f"{self.num_trained} prompts of the file were trained on, and are left out"
        return f"{self.num_trained} of these prompts were TRAINED ON; measured nevertheless: {self.reason}"


def keep_apart(
    data: JudgedData, trained: frozenset[str] | None, *, skip: bool, allow: str
) -> tuple[JudgedData, TrainedPrompts]:
    """Return the data that may be measured on, and what was found.

    Args:
        data: as it was read.
        trained: ids of the prompts that the model was trained on; None where that is not known.
        skip: leave these prompts out.
        allow: why they may stay; empty refuses them.

    Raises:
        OverlapError: there are such prompts, and neither is said.
    """
    prompts = {pair.problem.id: pair.problem for pair in data.pairs}
    both = sorted(prompts.keys() & (trained or frozenset()))
    if both and not skip and not allow.strip():
        shown = "\n".join(f"  {one} {prompts[one].prompt[:120]!r}" for one in both[:NUM_SHOWN])
        raise OverlapError(
            f"{data.source}: the model was trained on {len(both)} of its {len(prompts)} prompts:\n{shown}\n"
            'Leave them out with --skip-trained, or say why they may stay: --allow-overlap "why".'
        )
    if skip and len(both) == len(prompts):
        raise OverlapError(f"{data.source}: the model was trained on all of its prompts; none is left to measure on.")
    found = TrainedPrompts(known=trained is not None, num_trained=len(both), left_out=skip, reason=allow.strip())
    return (data.without(frozenset(both)) if skip else data), found
