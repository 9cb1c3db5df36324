"""Dynamic sampling: groups that teach nothing are replaced, within bounds, without losing a problem or a record."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from builders import WeightlessEngine, problem, rollout_sampler, run_config, scorer
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.engines import Request
from reasonrl.rollout.order import DataOrder
from reasonrl.rollout.sampler import RolloutSampler, ScoredGroups
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.rollouts import read_rollouts
from reasonrl.run.metrics import step_metrics
from reasonrl.scoring.penalties import AdjustedScorer, OverlongPenalty, drop_truncated
from reasonrl.types import Batch, Group, Problem, RewardResults, Rollout, Scorer, StepRecord, Trajectory, teaches

SIZE = 4
"""Problems of a step."""


class Dice(WeightlessEngine):
    """An engine that says a number between 0 and 99, by the seed and the version of the weights alone.

    Its requests end in an order of their own.
    """

    async def generate(self, request: Request) -> Trajectory:
        for _ in range(request.seed % 5):
            await asyncio.sleep(0)
        generator = torch.Generator().manual_seed(request.seed + self.policy_version)
        number = int(torch.randint(100, (), generator=generator))
        return Trajectory.single_turn(
            token_ids=(1 + number // 10, 1 + number % 10),
            text=str(number),
            logprobs=(-1.0, -1.0),
            finish_reason="stop",
            policy_version=self.policy_version,
            sample_index=request.sample_index,
            seed=request.seed,
        )


def number_unless_dull(rollout: Rollout) -> float:
    """Groups of dull problems have no spread; the others have, but for a chance of one in ten thousand."""
    return 0.0 if rollout.problem.meta["dull"] else float(rollout.text)


def problems(count: int, dull: Iterable[int] = ()) -> list[Problem]:
    return [problem(f"{n}?", id=str(n), meta={"dull": n in set(dull)}) for n in range(count)]


class InOrder(DataOrder):
    """The stream 0, 1, 2, ... so that positions can be read off."""

    def index_at(self, position: int) -> int:
        return position % len(self._problems)


def sampler(
    asked: Sequence[Problem],
    attempts: int,
    *,
    engine: Dice | None = None,
    noting: Scorer | None = None,
    shuffled: bool = False,
) -> RolloutSampler:
    config = run_config(
        rollout={"prompts_per_step": SIZE, "samples_per_prompt": 3, "max_new_tokens": 2},
        algorithm={"preset": "grpo", "refill_attempts": attempts},
    )
    order = DataOrder(asked, 0) if shuffled else InOrder(asked, 0)
    return rollout_sampler(config, engine or Dice(), noting or scorer(number_unless_dull), order, seed=5)


def steps(asked: Sequence[Problem], count: int, attempts: int, *, noting: Scorer | None = None) -> list[Batch]:
    return list(sampler(asked, attempts, noting=noting).batches(range(1, count + 1)))


def ids(groups: Iterable[Group]) -> list[int]:
    return [int(group.problem.id) for group in groups]


def discarded(batch: Batch) -> list[int]:
    return ids(one.group for one in batch.unused if one.reason == "no_signal")


# Size and bounds.


def test_a_step_is_refilled_to_its_size_with_groups_that_teach() -> None:
    (batch,) = steps(problems(20, dull=[1, 2, 5]), 1, attempts=4)
    assert ids(batch.groups) == [0, 3, 4, 6]
    assert all(map(teaches, batch.results))
    assert discarded(batch) == [1, 2, 5]


def test_only_what_is_missing_is_sampled_again() -> None:
    noting = Noting()
    steps(problems(20, dull=[1, 2, 5]), 1, attempts=4, noting=noting)
    assert noting.sizes == [4, 2, 1]


@pytest.mark.parametrize("attempts", [0, 1, 2, 5])
def test_attempts_are_bounded_and_the_step_goes_on_with_what_there_is(attempts: int) -> None:
    """DAPO issue 22: a step that cannot be filled is no reason to stop."""
    noting = Noting()
    (batch,) = steps(problems(40, dull=range(40)), 1, attempts=attempts, noting=noting)
    assert len(noting.sizes) == 1 + attempts
    assert len(batch.groups) == SIZE
    assert batch.position == SIZE * (1 + attempts)


def test_a_step_that_is_full_samples_once() -> None:
    noting = Noting()
    steps(problems(20), 3, attempts=4, noting=noting)
    assert noting.sizes == [SIZE] * 3


def test_without_attempts_nothing_is_replaced() -> None:
    (batch,) = steps(problems(20, dull=[1, 2]), 1, attempts=0)
    assert (ids(batch.groups), discarded(batch)) == ([0, 1, 2, 3], [])


def test_a_step_that_stays_too_small_is_topped_up_with_the_earliest_others_in_the_order_of_sampling() -> None:
    # 0 dull, 1 good, 2 dull, 3 dull; then 4 dull, 5 good, 6 dull.
    (batch,) = steps(problems(20, dull=[0, 2, 3, 4, 6]), 1, attempts=1)
    assert ids(batch.groups) == [0, 1, 2, 5]
    assert discarded(batch) == [3, 4, 6]


# The stream.


def test_positions_advance_past_every_problem_that_was_used() -> None:
    found = steps(problems(40, dull=[1, 2, 5, 9]), 3, attempts=4)
    # Step 1: 0 to 3 and then 4, 5 and 6; step 2: 7 to 10 and then 11; step 3: 12 to 15.
    assert [ids(batch.groups) for batch in found] == [[0, 3, 4, 6], [7, 8, 10, 11], [12, 13, 14, 15]]
    assert [batch.position for batch in found] == [7, 12, 16]


@settings(max_examples=20, deadline=None)
@given(dull=st.sets(st.integers(0, 39), max_size=25), attempts=st.integers(0, 3))
def test_every_problem_of_the_stream_is_used_once_and_in_one_place(dull: set[int], attempts: int) -> None:
    found = steps(problems(400, dull=dull), 4, attempts=attempts)
    used = [number for batch in found for number in sorted(ids(group for group, _ in batch.sampled()))]
    assert used == list(range(found[-1].position))
    for batch in found:
        assert len(batch.groups) == SIZE
        assert not any(teaches(one.results) for one in batch.unused)
        assert ids(batch.groups) == sorted(ids(batch.groups))


@settings(max_examples=20, deadline=None)
@given(dull=st.sets(st.integers(0, 14), max_size=12), first=st.integers(1, 4), attempts=st.integers(0, 3))
def test_a_step_is_a_function_of_weights_seed_step_and_position(dull: set[int], first: int, attempts: int) -> None:
    """A run that resumes between any two steps goes on with the same completions, refills included."""
    asked = problems(15, dull=dull)
    straight = list(sampler(asked, attempts, shuffled=True).batches(range(1, 6)))
    position = straight[first - 1].position
    resumed = sampler(asked, attempts, shuffled=True).batches(range(first + 1, 6), position)
    for again, before in zip(resumed, straight[first:], strict=True):
        assert (again.groups, again.results, again.unused) == (before.groups, before.results, before.unused)
        assert again.position == before.position


def test_a_step_is_sampled_when_it_is_asked_for_with_the_weights_of_that_moment() -> None:
    engine = Dice()
    batches = sampler(problems(20), 0, engine=engine).batches(range(1, 3))
    first = next(batches)
    engine.load_weights([], 7)
    second = next(batches)
    assert {c.policy_version for group in first.groups for c in group.trajectories} == {0}
    assert {c.policy_version for group in second.groups for c in group.trajectories} == {7}


# Scoring while completions arrive.


class Noting:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.begun = list[tuple[int, str]]()
        self.groups = list[tuple[int, Group]]()
        self.sizes = list[int]()
        self.scorer = scorer(number_unless_dull)

    def submit_rollout(self, rollout: Rollout, step: int) -> None:
        self.begun.append((step, rollout.id))

    def submit_group(self, group: Group, step: int) -> None:
        assert {(step, rollout.id) for rollout in group.rollouts()} <= set(self.begun), "members come first"
        self.groups.append((step, group))

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        told = [group for _, group in self.groups[-len(groups) :]]
        assert sorted(map(groups.index, told)) == [*range(len(groups))]
        self.sizes.append(len(groups))
        return self.scorer.score(groups, step)


def test_every_completion_and_every_group_is_begun_once_before_it_is_scored() -> None:
    noting = Noting()
    found = steps(problems(20, dull=[1, 2, 5]), 2, attempts=4, noting=noting)
    sampled = [(batch.step, group) for batch in found for group, _ in batch.sampled()]
    assert sorted(noting.begun) == sorted((step, rollout.id) for step, group in sampled for rollout in group.rollouts())
    assert len(set(noting.begun)) == len(noting.begun) == (7 + SIZE) * 3
    assert len(noting.groups) == len(sampled)
    assert [group for _, group in noting.groups] != [group for _, group in sampled], "who is ready first is told first"


def test_a_rollout_is_known_by_its_problem_and_seed() -> None:
    (batch,) = steps(problems(3), 1, attempts=0)
    rollouts = [rollout for group in batch.groups for rollout in group.rollouts()]
    assert len({rollout.id for rollout in rollouts}) == SIZE * 3
    assert rollouts[0].id == f"0-{rollouts[0].completion.seed:x}"


def test_rewards_that_are_adjusted_later_begin_early() -> None:
    noting = Noting()
    wrapped = AdjustedScorer(noting, (OverlongPenalty(max_new_tokens=2, window=0.5), drop_truncated))
    (asked,) = steps(problems(1), 1, attempts=0)[0].groups[:1]
    wrapped.submit_rollout(asked.rollouts()[0], 3)
    assert noting.begun == [(3, asked.rollouts()[0].id)]
    noting.begun += [(3, rollout.id) for rollout in asked.rollouts()[1:]]
    wrapped.submit_group(asked, 3)
    assert noting.groups == [(3, asked)]


# One problem several times in a step.


def seeds(batch: Batch) -> list[int]:
    return [c.seed for group, _ in batch.sampled() for c in group.trajectories]


def test_a_problem_that_comes_twice_in_a_step_is_sampled_with_other_seeds() -> None:
    (batch,) = steps(problems(2), 1, attempts=0)
    assert ids(batch.groups) == [0, 1, 0, 1]
    assert len(set(seeds(batch))) == SIZE * 3
    first, _, again, _ = batch.groups
    assert [c.text for c in first.trajectories] != [c.text for c in again.trajectories]


def test_so_is_one_that_comes_again_in_a_refill() -> None:
    (batch,) = steps(problems(5, dull=[1, 2, 3]), 1, attempts=3)
    sampled = ids(group for group, _ in batch.sampled())
    assert len(set(sampled)) < len(sampled)
    assert len(set(seeds(batch))) == len(sampled) * 3


def test_it_stays_two_groups_with_two_baselines() -> None:
    (batch,) = steps(problems(2), 1, attempts=0)
    assert len(batch.groups) == len(batch.results) == SIZE
    assert all(len(group.trajectories) == 3 for group in batch.groups)


# What is reported.


def test_metrics_and_rates_are_those_of_all_groups_that_were_sampled() -> None:
    """What dynamic sampling keeps is no picture of the policy: its rewards would always look half right."""
    (batch,) = steps(problems(20, dull=[1, 2, 5]), 1, attempts=4)
    metrics = step_metrics(record_of(batch))
    assert metrics["groups/count"] == 7
    assert metrics["groups/discarded"] == 3
    assert metrics["groups/useful"] == pytest.approx(4 / 7)
    texts = [float(c.text) for group in batch.groups for c in group.trajectories]
    assert metrics["reward/mean"] == pytest.approx(sum(texts) / 21)  # the three dull groups have reward 0


def test_seconds_are_those_of_all_attempts() -> None:
    first, again = (ScoredGroups([], {"sampling": sampling, "scoring": 0.5}) for sampling in (2.0, 3.0))
    assert (first + again).seconds == {"sampling": 5.0, "scoring": 1.0}


def record_of(batch: Batch) -> StepRecord:
    advantages = tuple(tuple(1.0 for _ in group.trajectories) for group in batch.groups)
    return StepRecord(batch=batch, advantages=advantages, policy_version=0, measured={}, seconds={"learning": 1.0})


def test_discarded_groups_are_in_the_rollouts_without_an_advantage(tmp_path: Path) -> None:
    (batch,) = steps(problems(20, dull=[1, 2, 5]), 1, attempts=4)
    run = RunDirectory.create(run_config(run={"steps": 1, "root": str(tmp_path)}), "", environment={}, argv=[])
    run.write_rollouts(record_of(batch))
    (path,) = (run.path / "rollouts").iterdir()
    records = list(read_rollouts(path))
    assert len(records) == 21
    by_group = {int(one.group_id): (one.advantage, one.unused) for one in records}
    assert by_group == dict.fromkeys((0, 3, 4, 6), (1.0, None)) | dict.fromkeys((1, 2, 5), (None, "no_signal"))
