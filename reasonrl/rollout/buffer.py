"""Groups between the sampler and the loop: which a step takes, and which must not wait any longer."""

from collections.abc import Collection
from dataclasses import dataclass

from reasonrl.types import Group, RewardResults


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedGroup:
    """A group that is sampled and scored."""

    position: int
    """Of its problem in the stream of problems."""
    group: Group
    results: RewardResults
    scoring_s: float = 0.0
    """Time from its last completion to its scores."""

    @property
    def policy_version(self) -> int:
        """The oldest weights that any of its tokens was sampled with."""
        return min(trajectory.policy_version for trajectory in self.group.trajectories)


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferState:
    """What a checkpoint holds of a buffer: all positions that no step has taken, each once."""

    next_position: int
    """The first position that was not begun."""
    unfinished: tuple[int, ...] = ()
    """Positions that were begun and are to be begun again."""
    finished: tuple[FinishedGroup, ...] = ()


class GroupBuffer:
    """Groups that were begun and that no step has taken yet.

    Args:
        state: what it begins with.
    """

    def __init__(self, state: BufferState) -> None:
        self._next = state.next_position
        self._to_begin = sorted(state.unfinished)
        self._running: dict[int, int] = {}
        self._finished = {group.position: group for group in state.finished}

    def __len__(self) -> int:
        """Return the number of groups that have a place, those that are to be begun again included."""
        return len(self._to_begin) + len(self._running) + len(self._finished)

    @property
    def num_to_begin(self) -> int:
        """Groups of a checkpoint that are to be begun again."""
        return len(self._to_begin)

    @property
    def num_running(self) -> int:
        """Groups that are being sampled or scored."""
        return len(self._running)

    @property
    def num_finished(self) -> int:
        """Groups that wait for a step to take them."""
        return len(self._finished)

    @property
    def first_position(self) -> int:
        """The first position that no step has taken; all before it were."""
        return min((*self._to_begin, *self._running, *self._finished), default=self._next)

    def num_before(self, position: int) -> int:
        """Count the groups whose turn comes before that of a position."""
        if position + 1 == self._next and not self._to_begin:
            return len(self) - 1
        return sum(other < position for other in (*self._to_begin, *self._running, *self._finished))

    def begin(self, version: int) -> int:
        """Return the position that is begun now, with these weights or later ones."""
        if self._to_begin:
            position = self._to_begin.pop(0)
        else:
            position, self._next = self._next, self._next + 1
        self._running[position] = version
        return position

    def finish(self, group: FinishedGroup) -> None:
        """Put a group that was begun among those that a step can take."""
        del self._running[group.position]
        self._finished[group.position] = group

    def due(self, version: int, *, size: int, updates_per_step: int, max_staleness: int) -> frozenset[int]:
        """Return the positions that the next step has to take, so that none becomes too old.

        A group with weights ``v`` can still wait ``(v + max_staleness - version) // updates_per_step`` steps. The later
        steps take ``size`` each; of the groups in the order of their age, what these cannot take in time is due now. As
        long as ``size * (max_staleness // updates_per_step + 1)`` groups are begun at most, no more than ``size`` are
        ever due at once, whatever order they finish in (earliest deadline first).

        Args:
            version: updates that the learner has made.
            size: groups of a step.
            updates_per_step: most updates that a step makes.
            max_staleness: most updates between sampling and learning.
        """
        versions = {**self._running, **{place: group.policy_version for place, group in self._finished.items()}}
        oldest_first = sorted(versions, key=lambda position: (versions[position], position))
        num_due = 0
        for index, position in enumerate(oldest_first):
            steps_left = max(0, (versions[position] + max_staleness - version) // updates_per_step)
            num_due = max(num_due, index + 1 - size * steps_left)
        return frozenset(oldest_first[: min(num_due, size)])

    def take(self, count: int, due: Collection[int] = ()) -> list[FinishedGroup] | None:
        """Remove and return ``count`` finished groups: those that are due, then others by position.

        None where one that is due is not finished, or too few are.
        """
        if len(self._finished) < count or not self._finished.keys() >= set(due):
            return None
        others = sorted(self._finished.keys() - set(due))
        chosen = sorted([*due, *others[: count - len(due)]])
        return [self._finished.pop(position) for position in chosen]

    def state(self) -> BufferState:
        """Return what goes on from here."""
        unfinished = tuple(sorted((*self._to_begin, *self._running)))
        finished = tuple(self._finished[position] for position in sorted(self._finished))
        return BufferState(next_position=self._next, unfinished=unfinished, finished=finished)
