"""Dynamic sampling: groups that teach nothing are replaced, within bounds, without losing a problem or a record."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import WeightlessEngine, letter_tokenizer, problem, run_config, scorer, told
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.engines import Arrived, Request, SamplingParams
from reasonrl.learner.penalty import KLPenalty
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.rollout.sampler import DataOrder, Drawn, Sampler
from reasonrl.rollout.templates import Renderer
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.metrics import step_metrics
from reasonrl.scoring.penalties import DropTruncated, OverlongPenalty
from reasonrl.types import Batch, Group, Problem, RewardResults, Rollout, Scorer, StepRecord, Trajectory, teaches

SIZE = 4
"""Problems of a step."""


class Dice(WeightlessEngine):
    """An engine that says a number between 0 and 99, by the seed and the version of the weights alone."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[int, ...]]] = []

    def sample(
        self, requests: Sequence[Request], params: SamplingParams, arrived: Arrived | None = None
    ) -> list[tuple[Trajectory, ...]]:
        self.calls.append([request.seeds for request in requests])
        thrown = [tuple(self._throw(index, seed) for index, seed in enumerate(request.seeds)) for request in requests]
        return told(thrown, arrived)

    def _throw(self, index: int, seed: int) -> Trajectory:
        number = int(torch.randint(100, (), generator=torch.Generator().manual_seed(seed + self.policy_version)))
        return Trajectory.single_turn(
            token_ids=(1 + number // 10, 1 + number % 10),
            text=str(number),
            logprobs=(-1.0, -1.0),
            finish_reason="stop",
            policy_version=self.policy_version,
            sample_index=index,
            seed=seed,
        )


def number_unless_dull(rollout: Rollout) -> float:
    """Groups of dull problems have no spread; the others have, but for a chance of one in ten thousand."""
    return 0.0 if rollout.problem.meta["dull"] else float(rollout.text)


def problems(count: int, dull: Iterable[int] = ()) -> list[Problem]:
    return [problem(f"{n}?", id=str(n), meta={"dull": n in set(dull)}) for n in range(count)]


class InOrder(DataOrder):
    """The stream 0, 1, 2, ... so that positions can be read off."""

    def _problem(self, position: int) -> Problem:
        return self._problems[position % len(self._problems)]


def sampler(
    asked: Sequence[Problem], *, engine: Dice | None = None, scorer: Scorer | None = None, shuffled: bool = False
) -> Sampler:
    rollout = run_config(rollout={"prompts_per_step": SIZE, "samples_per_prompt": 3, "max_new_tokens": 2}).rollout
    return Sampler(
        order=DataOrder(asked, 0) if shuffled else InOrder(asked, 0),
        renderer=Renderer(letter_tokenizer(), installed_plugins().template("plain")),
        engine=engine or Dice(),
        scorer=scorer or scorer(number_unless_dull),
        settings=rollout,
        seed=5,
    )


def steps(asked: Sequence[Problem], count: int, attempts: int, *, engine: Dice | None = None) -> list[Batch]:
    return list(sampler(asked, engine=engine).batches(range(1, count + 1), refill_attempts=attempts))


def ids(groups: Iterable[Group]) -> list[int]:
    return [int(group.problem.id) for group in groups]


def discarded(batch: Batch) -> list[int]:
    return ids(group for group, _ in batch.discarded)


# Size and bounds.


def test_a_step_is_refilled_to_its_size_with_groups_that_teach() -> None:
    (batch,) = steps(problems(20, dull=[1, 2, 5]), 1, attempts=4)
    assert ids(batch.groups) == [0, 3, 4, 6]
    assert all(map(teaches, batch.results))
    assert discarded(batch) == [1, 2, 5]


def test_only_what_is_missing_is_sampled_again() -> None:
    engine = Dice()
    steps(problems(20, dull=[1, 2, 5]), 1, attempts=4, engine=engine)
    assert [len(call) for call in engine.calls] == [4, 2, 1]


@pytest.mark.parametrize("attempts", [0, 1, 2, 5])
def test_attempts_are_bounded_and_the_step_goes_on_with_what_there_is(attempts: int) -> None:
    """DAPO issue 22: a step that cannot be filled is no reason to stop."""
    engine = Dice()
    (batch,) = steps(problems(40, dull=range(40)), 1, attempts=attempts, engine=engine)
    assert len(engine.calls) == 1 + attempts
    assert len(batch.groups) == SIZE
    assert batch.position == SIZE * (1 + attempts)


def test_a_step_that_is_full_samples_once() -> None:
    engine = Dice()
    steps(problems(20), 3, attempts=4, engine=engine)
    assert len(engine.calls) == 3


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
        assert not any(teaches(results) for _, results in batch.discarded)
        assert ids(batch.groups) == sorted(ids(batch.groups))


@settings(max_examples=20, deadline=None)
@given(dull=st.sets(st.integers(0, 14), max_size=12), first=st.integers(1, 4), attempts=st.integers(0, 3))
def test_a_step_is_a_function_of_weights_seed_step_and_position(dull: set[int], first: int, attempts: int) -> None:
    """A run that resumes between any two steps goes on with the same completions, refills included."""
    asked = problems(15, dull=dull)
    straight = list(sampler(asked, shuffled=True).batches(range(1, 6), refill_attempts=attempts))
    position = straight[first - 1].position
    resumed = sampler(asked, shuffled=True).batches(range(first + 1, 6), position, refill_attempts=attempts)
    for again, before in zip(resumed, straight[first:], strict=True):
        assert (again.groups, again.results, again.discarded) == (before.groups, before.results, before.discarded)
        assert again.position == before.position


def test_a_step_is_sampled_when_it_is_asked_for_with_the_weights_of_that_moment() -> None:
    engine = Dice()
    batches = sampler(problems(20), engine=engine).batches(range(1, 3))
    first = next(batches)
    engine.load([], 7)
    second = next(batches)
    assert {c.policy_version for group in first.groups for c in group.trajectories} == {0}
    assert {c.policy_version for group in second.groups for c in group.trajectories} == {7}


# Scoring while completions arrive.


class Noting:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.begun = list[tuple[int, str]]()
        self.groups = list[tuple[int, Group]]()
        self.scorer = scorer(number_unless_dull)

    def submit_rollout(self, rollout: Rollout, step: int) -> None:
        self.begun.append((step, rollout.id))

    def submit_group(self, group: Group, step: int) -> None:
        assert {(step, rollout.id) for rollout in group.rollouts()} <= set(self.begun), "members come first"
        self.groups.append((step, group))

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        assert self.groups[-len(groups) :] == [(step, group) for group in reversed(groups)]  # the last one came first
        return self.scorer.score(groups, step)


def test_every_completion_and_every_group_is_begun_once_before_it_is_scored() -> None:
    noting = Noting()
    found = list(sampler(problems(20, dull=[1, 2, 5]), scorer=noting).batches(range(1, 3), refill_attempts=4))
    sampled = [(batch.step, group) for batch in found for group, _ in batch.sampled()]
    assert sorted(noting.begun) == sorted((step, rollout.id) for step, group in sampled for rollout in group.rollouts())
    assert len(set(noting.begun)) == len(noting.begun) == (7 + SIZE) * 3
    assert len(noting.groups) == len(sampled)


def test_a_rollout_is_known_by_its_problem_and_seed() -> None:
    (batch,) = steps(problems(3), 1, attempts=0)
    rollouts = [rollout for group in batch.groups for rollout in group.rollouts()]
    assert len({rollout.id for rollout in rollouts}) == SIZE * 3
    assert rollouts[0].id == f"0-{rollouts[0].completion.seed:x}"


def test_penalties_and_dropping_let_rewards_begin_early() -> None:
    noting = Noting()
    wrapped = DropTruncated(OverlongPenalty(KLPenalty(scorer=noting, **UNUSED), max_new_tokens=2, window=0.5))
    (asked,) = steps(problems(1), 1, attempts=0)[0].groups[:1]
    wrapped.submit_rollout(asked.rollouts()[0], 3)
    assert noting.begun == [(3, asked.rollouts()[0].id)]
    noting.begun += [(3, rollout.id) for rollout in asked.rollouts()[1:]]
    wrapped.submit_group(asked, 3)
    assert noting.groups == [(3, asked)]


UNUSED: Any = {"reference": None, "controller": None, "microbatch_tokens": 1}
"""What the divergence is measured with. Any: it is not."""


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
    metrics = step_metrics(batch, {}, learning_s=1.0)
    assert metrics["groups/count"] == 7
    assert metrics["groups/discarded"] == 3
    assert metrics["groups/useful"] == pytest.approx(4 / 7)
    texts = [float(c.text) for group in batch.groups for c in group.trajectories]
    assert metrics["reward/mean"] == pytest.approx(sum(texts) / 21)  # the three dull groups have reward 0


def test_seconds_are_those_of_all_attempts() -> None:
    first, again = (Drawn([], {"sampling": sampling, "scoring": 0.5}) for sampling in (2.0, 3.0))
    assert (first + again).seconds == {"sampling": 5.0, "scoring": 1.0}


def test_discarded_groups_are_in_the_rollouts_without_an_advantage(tmp_path: Path) -> None:
    (batch,) = steps(problems(20, dull=[1, 2, 5]), 1, attempts=4)
    advantages = tuple(tuple(1.0 for _ in group.trajectories) for group in batch.groups)
    run = RunDirectory.create(
        run_config(run={"steps": 1, "root": str(tmp_path)}), "", environment={}, argv=[], parent=None
    )
    run.write_rollouts(StepRecord(batch=batch, advantages=advantages, metrics={}))
    (path,) = (run.path / "rollouts").iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    by_group = {line["group_id"]: line for line in lines}
    assert len(lines) == 21
    assert {by_group[str(n)]["advantage"] for n in (0, 3, 4, 6)} == {1.0}
    assert {by_group[str(n)]["advantage"] for n in (1, 2, 5)} == {None}
