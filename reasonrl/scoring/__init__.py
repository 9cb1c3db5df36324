"""Apply the rewards of a run to what was sampled, as it arrives, and turn whatever they do into results."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from copy import copy
from typing import TypeAlias

from reasonrl.config.settings import ScoringSettings
from reasonrl.errors import RunError
from reasonrl.plugins.types import Suite
from reasonrl.scoring.applying import TaskRewards
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.combine import combine, needed_rewards
from reasonrl.scoring.contract import Reward
from reasonrl.types import Group, RewardResult, RewardResults, Rollout, Score

Rollouts: TypeAlias = tuple[Rollout, ...]
"""What one call of a reward scores."""


class RewardScorer:
    """Scores groups with several rewards; one that fails costs its samples their score, nothing else.

    Scores are kept by the rollout's id and never by position.

    Args:
        rewards: what to apply.
        settings: workers, limits, and how often a reward may fail.
        suites: whose metrics run beside the rewards, in the same processes.
        device: of the model that learns, for rewards that compute with a model of their own.
        of_tasks: which rewards apply to which problems; None applies all to all.

    Raises:
        PluginError: a reward or a metric could not be started.
    """

    def __init__(
        self,
        rewards: Sequence[Reward],
        settings: ScoringSettings,
        suites: Sequence[Suite] = (),
        *,
        device: str = "auto",
        of_tasks: TaskRewards | None = None,
    ) -> None:
        self._rewards = rewards
        self._of_tasks = of_tasks
        self._max_failure_rate = settings.max_failure_rate
        self._caller = RewardCaller(rewards, settings, suites, device=device)
        self._submitted: dict[tuple[str, tuple[str, ...]], tuple[Rollouts, Future[tuple[Score, ...]]]] = {}
        self.metrics = self._caller.metrics
        """Applies the metrics of the suites."""
        self.notes: Mapping[str, str] = self._caller.notes
        """What rewards say of what they keep open, by name."""

    def without_limit(self) -> "RewardScorer":
        """Return what scores with the same rewards, in the same processes, and stops no run however many fail."""
        scorer = copy(self)
        scorer._max_failure_rate = 1.0
        scorer._submitted = {}
        return scorer

    def submit_rollout(self, rollout: Rollout, step: int) -> None:
        """Begin the rewards of one rollout, from any thread."""
        self._submit_early("rollout", (rollout,), step)

    def submit_group(self, group: Group, step: int) -> None:
        """Begin the rewards that need all rollouts of a problem, from any thread."""
        self._submit_early("group", group.rollouts(), step)

    def _submit_early(self, unit: str, rollouts: Rollouts, step: int) -> None:
        for reward in self._rewards:
            # A reward in this process would block the thread that samples.
            if reward.unit == unit and not reward.in_process and self._applies(reward, rollouts):
                self._submitted[_key(reward, rollouts)] = rollouts, self._caller.submit(reward.name, rollouts, step)

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        """Return one result a completion, in the order of the groups.

        Raises:
            RunError: a reward that the totals depend on failed on more than ``max_failure_rate`` of the samples.
        """
        members = [group.rollouts() for group in groups]
        assert len({rollout.id for rollout in _flat(members)}) == len(_flat(members)), "ids tell rollouts apart"
        calls = {reward.name: self._submit(reward, members, step) for reward in self._rewards}
        scores = {name: _by_id(futures) for name, futures in calls.items()}
        results = tuple(self._combined(group, scores, step) for group in members)
        self.require_scored(results, step)
        return results

    def require_scored(self, results: Sequence[RewardResults], step: int) -> None:
        """Stop a run whose rewards fail, by the results of a step.

        Raises:
            RunError: a reward that the totals depend on failed on more than ``max_failure_rate`` of the samples.
        """
        needed = needed_rewards([reward.ref for reward in self._rewards], step)
        for name in (reward.name for reward in self._rewards if reward.name in needed):
            self._stop_if_failing(
                name, [result.rewards[name] for group in results for result in group if name in result.rewards]
            )

    def _combined(self, group: Rollouts, scores: Mapping[str, Mapping[str, Score]], step: int) -> RewardResults:
        refs = [reward.ref for reward in self._rewards if self._applies(reward, group)]
        if not refs:
            nothing = Score.unscorable("no reward of the run applies to this task")
            return (RewardResult(total=nothing, rewards={}),) * len(group)
        return combine({ref.key: [scores[ref.key][rollout.id] for rollout in group] for ref in refs}, refs, step)

    def _applies(self, reward: Reward, rollouts: Rollouts) -> bool:
        """Say whether a reward is one of the task that rollouts of one problem belong to."""
        return self._of_tasks is None or any(reward.name in self._of_tasks.labels(one.problem) for one in rollouts[:1])

    def close(self) -> None:
        """Leave nothing running."""
        self._caller.close()

    def _submit(
        self, reward: Reward, members: Sequence[Rollouts], step: int
    ) -> list[tuple[Rollouts, Future[tuple[Score, ...]]]]:
        scored = [group for group in members if self._applies(reward, group)]
        return [(rollouts, self._submitted_or_new(reward, rollouts, step)) for rollouts in _calls(reward, scored)]

    def _submitted_or_new(self, reward: Reward, rollouts: Rollouts, step: int) -> Future[tuple[Score, ...]]:
        # A step that is sampled again, as after an interruption, has the same ids and may have other texts.
        earlier, future = self._submitted.pop(_key(reward, rollouts), ((), None))
        if future is not None and earlier == rollouts:
            return future
        return self._caller.submit(reward.name, rollouts, step)

    def _stop_if_failing(self, name: str, scores: Sequence[Score]) -> None:
        lost = [score for score in scores if score.value is None and score.outcome != "unscorable"]
        if len(lost) > self._max_failure_rate * len(scores):
            (cause, _), *_ = Counter(f"{score.outcome}: {score.why}" for score in lost).most_common(1)
            raise RunError(
                f"reward {name!r} failed on {len(lost)} of {len(scores)} samples of this step, more than "
                f"scoring.max_failure_rate = {self._max_failure_rate} allows. Most often: {cause}"
            )


def _calls(reward: Reward, members: Sequence[Rollouts]) -> Iterator[Rollouts]:
    """Divide rollouts into what one call of a reward scores."""
    match reward.unit:
        case "rollout":
            yield from ((rollout,) for rollout in _flat(members))
        case "group":
            yield from members
        case "batch" if members:
            yield _flat(members)


def _flat(members: Sequence[Rollouts]) -> Rollouts:
    return tuple(rollout for group in members for rollout in group)


def _key(reward: Reward, rollouts: Rollouts) -> tuple[str, tuple[str, ...]]:
    return reward.name, tuple(rollout.id for rollout in rollouts)


def _by_id(calls: Sequence[tuple[Rollouts, Future[tuple[Score, ...]]]]) -> dict[str, Score]:
    return {
        rollout.id: score
        for rollouts, future in calls
        for rollout, score in zip(rollouts, future.result(), strict=True)
    }
