"""Sampling several steps ahead: whatever finishes first, every problem is used once, and nothing is too old."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from builders import LateScorer, WeightlessEngine, batch, completion, group, problem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import sample_all
from reasonrl.errors import EngineError, RunError
from reasonrl.rollout.buffer import BufferState, FinishedGroup, GroupBuffer
from reasonrl.rollout.continuous import ContinuousSampler, SamplingLead
from reasonrl.rollout.environment import Generate, Prompt
from reasonrl.rollout.groups import GroupSampler
from reasonrl.rollout.order import KeepsNoState
from reasonrl.rollout.sampler import RolloutSampler
from reasonrl.rollout.shared_engine import SharedEngine
from reasonrl.run.files.checkpoint import load_buffer, save_buffer
from reasonrl.run.metrics import step_metrics
from reasonrl.system.timer import PhaseTimer
from reasonrl.types import (
    Batch,
    Group,
    Problem,
    RewardResult,
    RewardResults,
    Score,
    Segment,
    StepRecord,
    Trajectory,
    sample_seed,
)

SIZE, SAMPLES, NUM_STEPS = 3, 2, 10
PARAMS = SamplingParams(max_new_tokens=3)


class Stream(KeepsNoState):
    """Problem n stands at position n."""

    def at(self, first: int, count: int) -> list[Problem]:
        return [problem(str(position)) for position in range(first, first + count)]


class Bare:
    """Asks the engine for one completion, without a template."""

    def prompt(self, problem: Problem) -> Prompt:
        return Prompt(problem=problem, text=problem.prompt, token_ids=(int(problem.prompt),))

    async def run(self, prompt: Prompt, generate: Generate, *, seed: int, sample_index: int) -> Trajectory:
        return await generate(Request(prompt_ids=prompt.token_ids, seed=seed, sample_index=sample_index, params=PARAMS))


class Unordered(WeightlessEngine):
    """Completions of three tokens that end in any order, some after all others; each token has its own version."""

    shares_weights = False

    def __init__(self, seed: int = 0, *, loads_while_sampling: bool = True) -> None:
        self.loads_while_sampling = loads_while_sampling
        self.num_outstanding = 0
        self._random = Random(seed)

    async def generate(self, request: Request) -> Trajectory:
        self.num_outstanding += 1
        try:
            cycles = self._random.randrange(8 ** self._random.randrange(1, 4))
            versions = [await self._token(cycles) for _ in range(PARAMS.max_new_tokens)]
        finally:
            self.num_outstanding -= 1
        segments = [Segment(num_tokens=versions.count(version), policy_version=version) for version in set(versions)]
        return Trajectory(
            token_ids=(1,) * len(versions),
            logprobs=(-1.0,) * len(versions),
            segments=tuple(sorted(segments, key=lambda segment: segment.policy_version or 0)),
            text="1",
            finish_reason="stop",
            sample_index=request.sample_index,
            seed=request.seed,
        )

    async def _token(self, cycles: int) -> int:
        if cycles == 0 and self.loads_while_sampling:  # longer than several steps take
            await asyncio.sleep(0.02)
        for _ in range(cycles):
            await asyncio.sleep(0)
        return self.policy_version

    def load_weights(self, weights: Any, version: int) -> None:
        assert self.loads_while_sampling or not self.num_outstanding
        super().load_weights(weights, version)


class Halves(LateScorer):
    """Half of the groups teach something."""

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        return tuple(self._results(group) for group in groups)

    def _results(self, group: Group) -> RewardResults:
        first = float(Random(group.problem.id).random() < 0.5)
        return tuple(RewardResult(total=Score(value), rewards={}) for value in (first, 0.0))


def continuous(
    engine: SharedEngine,
    *,
    steps: range,
    lead: SamplingLead,
    state: BufferState | None = None,
    refill_attempts: int = 0,
    scorer: Any = None,
    timeout_s: float | None = None,
) -> ContinuousSampler:
    """What samples problems of :class:`Stream`. Any: a scorer."""
    sampler = RolloutSampler(
        order=Stream(),
        groups=GroupSampler(environment=Bare(), engine=engine, timeout_s=timeout_s),
        scorer=scorer or Halves(),
        prompts_per_step=SIZE,
        samples_per_prompt=SAMPLES,
        refill_attempts=refill_attempts,
        seed=0,
    )
    return ContinuousSampler(
        sampler,
        engine,
        steps=steps,
        lead=lead,
        state=state or BufferState(next_position=0),
        require_scored=lambda results, step: None,
    )


def lead_of(steps: int, updates: int = 1, slack: int | None = None) -> SamplingLead:
    bound = updates * (2 * steps if slack is None else steps + slack)
    return SamplingLead(steps=steps, max_staleness=bound, updates_per_step=updates)


@dataclass(frozen=True)
class Saved:
    """A checkpoint of :class:`Training`."""

    step: int
    version: int
    state: BufferState
    batches: tuple[Batch, ...]


class Training:
    """Takes steps, saves, is killed, goes on; makes up to ``updates_per_step`` updates a step."""

    def __init__(self, folder: Path, case: "Case") -> None:
        self._folder, self._case = folder, case
        self._random = Random(case.seed)
        self.saved = Saved(0, 0, BufferState(next_position=0), ())

    def attempt(self, last: int) -> None:
        """Train from the last checkpoint until a step, where the process would be killed."""
        saved, version = self.saved, self.saved.version
        inner = Unordered(self._random.randrange(10**6), loads_while_sampling=self._case.loads)
        batches = list(saved.batches)
        with closing(SharedEngine(inner, PhaseTimer())) as engine:
            engine.load_weights((), version)
            steps = range(saved.step + 1, NUM_STEPS + 1)
            with closing(self._sampler(engine, steps, saved.state)) as sampler:
                for taken in sampler:
                    batches.append(taken)
                    self._check(taken, version)
                    version += self._random.randint(0, self._case.lead.updates_per_step)
                    engine.load_weights((), version)
                    state = sampler.state()
                    assert len(state.finished) + len(state.unfinished) <= self._case.lead.steps * SIZE
                    if taken.step == NUM_STEPS or self._random.random() < 0.4:
                        save_buffer(self._folder, state)
                        self.saved = Saved(taken.step, version, load_buffer(self._folder), tuple(batches))
                        assert self.saved.state == state
                    if taken.step == last:
                        return

    def _sampler(self, engine: SharedEngine, steps: range, state: BufferState) -> ContinuousSampler:
        return continuous(
            engine, steps=steps, lead=self._case.lead, state=state, refill_attempts=self._case.refill_attempts
        )

    def _check(self, taken: Batch, version: int) -> None:
        assert len(taken.groups) == SIZE
        ages = [version - one.policy_version for group, _ in taken.sampled() for one in group.trajectories]
        assert max(ages) <= self._case.lead.max_staleness
        assert not taken.num_unused("stale")
        if not self._case.loads:
            assert all(len(one.segments) == 1 for group, _ in taken.sampled() for one in group.trajectories)


@dataclass(frozen=True)
class Case:
    """A run and where it is killed."""

    seed: int
    lead: SamplingLead
    refill_attempts: int
    loads: bool
    kills: list[int]


cases = st.builds(
    Case,
    seed=st.integers(0, 10**6),
    lead=st.builds(lead_of, st.integers(2, 4), st.integers(1, 3), st.integers(0, 4)),
    refill_attempts=st.integers(0, 2),
    loads=st.booleans(),
    kills=st.lists(st.integers(1, NUM_STEPS), max_size=3),
)


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases)
def test_every_problem_is_used_once_and_in_time_whatever_finishes_first_and_however_often_a_run_is_killed(
    tmp_path_factory: pytest.TempPathFactory, case: Case
) -> None:
    require_used_once(tmp_path_factory.mktemp("buffer"), case)


@pytest.mark.slow
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases)
def test_every_problem_is_used_once_in_many_more_runs(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    require_used_once(tmp_path_factory.mktemp("buffer"), case)


def require_used_once(folder: Path, case: Case) -> None:
    """Train to the end, being killed on the way, and count what was used."""
    training = Training(folder, case)
    for last in [*case.kills, NUM_STEPS]:
        if training.saved.step < NUM_STEPS:
            training.attempt(max(last, training.saved.step + 1))
    state, used = training.saved.state, list[int]()
    for taken in training.saved.batches:
        used += [int(sampled.problem.id) for sampled, _ in taken.sampled()]
        assert set(range(taken.position)) <= set(used)
        assert taken.position not in used
        for sampled, _ in taken.sampled():
            assert [one.seed for one in sampled.trajectories] == seeds(int(sampled.problem.id))
    left = [*state.unfinished, *(each.position for each in state.finished)]
    assert sorted([*used, *left]) == list(range(state.next_position))
    if not case.refill_attempts:
        assert sorted(used) == list(range(NUM_STEPS * SIZE))


def seeds(position: int) -> list[int]:
    """The seeds of the problem at a position in a run that does not sample ahead."""
    return [sample_seed(0, position // SIZE + 1, str(position), sample) for sample in range(SAMPLES)]


# Which groups a step takes.


def finished(position: int, version: int = 0) -> FinishedGroup:
    members = tuple(completion("1", policy_version=version, index=index) for index in range(SAMPLES))
    made = replace(group(["1"], id=str(position)), trajectories=members)
    return FinishedGroup(position=position, group=made, results=())


def begun(versions: Sequence[int]) -> GroupBuffer:
    """Groups that were begun with these versions, at positions from 0 on."""
    buffer = GroupBuffer(BufferState(next_position=0))
    for version in versions:
        buffer.begin(version)
    return buffer


@pytest.mark.parametrize(
    ("versions", "version", "due"),
    [
        ([0, 0, 0, 0], 0, ()),  # 2 a step and 2 steps of updates left for 4
        ([0, 0, 0, 0], 1, ()),
        ([0, 0, 0, 0], 2, (0, 1)),  # 1 step is left after this one, which takes 2
        ([0, 0, 1, 1], 3, (0, 1)),
        ([0, 1, 1, 1], 3, (0, 1)),  # 3 cannot all wait for the last step that may take them
        ([1, 1, 1, 1], 3, (0, 1)),
        ([2, 2, 3, 3], 3, ()),
    ],
)
def test_a_step_takes_what_later_ones_could_not_take_in_time(
    versions: list[int], version: int, due: tuple[int, ...]
) -> None:
    assert begun(versions).due(version, size=2, updates_per_step=1, max_staleness=3) == set(due)


def test_a_step_waits_for_what_is_due_and_takes_finished_ones_by_position() -> None:
    buffer = begun([0] * 5)
    for position in (4, 2, 1):
        buffer.finish(finished(position))
    assert buffer.take(2, {0}) is None
    buffer.finish(finished(0))
    taken = buffer.take(2, {0})
    assert taken is not None
    assert [each.position for each in taken] == [0, 1]
    assert [each.position for each in buffer.take(2) or ()] == [2, 4]
    assert buffer.take(1) is None
    assert buffer.first_position == 3


def test_what_a_problem_holds_for_rewards_is_not_kept(tmp_path: Path) -> None:
    asked = replace(finished(0), group=group(["1"], meta={"numbers": {1, 2}}))  # a set: data of any kind, JSON or not
    save_buffer(tmp_path, BufferState(next_position=1, finished=(asked,)))
    assert load_buffer(tmp_path).finished[0].group.problem.meta == {}


# What else happens meanwhile.


@pytest.fixture
def opened() -> Iterator[SharedEngine]:
    with closing(SharedEngine(Unordered(), PhaseTimer())) as engine:
        yield engine
    assert not [thread for thread in threading.enumerate() if thread.name == "sampling ahead"]


def test_other_requests_share_the_engine_and_have_one_policy_version(opened: SharedEngine) -> None:
    """As those of an evaluation, on an event loop of their own."""
    requests = [Request(prompt_ids=(1,), seed=seed, params=PARAMS) for seed in range(20)]
    with closing(continuous(opened, steps=range(1, 9), lead=lead_of(3))) as sampler:
        for taken in sampler:
            opened.load_weights((), taken.step)
            found = {completion.segments for completion in sample_all(opened, requests)}
            assert found == {(Segment(num_tokens=3, policy_version=taken.step),)}


class Stuck(Unordered):
    """The first completion ends when it is told to."""

    def __init__(self, *, loads_while_sampling: bool = True) -> None:
        super().__init__(loads_while_sampling=loads_while_sampling)
        self.release = threading.Event()

    async def _token(self, cycles: int) -> int:
        return self.policy_version

    async def generate(self, request: Request) -> Trajectory:
        sampled = await super().generate(request)
        self.num_outstanding += 1
        while request.prompt_ids == (0,) and not self.release.is_set():
            await asyncio.sleep(0.001)
        self.num_outstanding -= 1
        return sampled


def test_one_long_completion_holds_back_no_step_until_it_would_be_too_old() -> None:
    inner = Stuck()
    with (
        closing(SharedEngine(inner, PhaseTimer())) as engine,
        closing(continuous(engine, steps=range(1, 8), lead=lead_of(2))) as sampler,
    ):
        for taken in sampler:
            used = [group.problem.id for group in taken.groups]
            assert ("0" in used) == (taken.step == 5)  # 4 updates old, which is the limit
            engine.load_weights((), taken.step)
            if taken.step == 4:
                threading.Timer(0.1, inner.release.set).start()


def test_weights_wait_for_an_engine_that_cannot_load_them_while_it_samples() -> None:
    inner, timer = Stuck(loads_while_sampling=False), PhaseTimer()
    with (
        closing(SharedEngine(inner, timer)) as engine,
        closing(continuous(engine, steps=range(1, 3), lead=lead_of(2))) as sampler,
    ):
        next(iter(sampler))
        threading.Timer(0.2, inner.release.set).start()
        engine.load_weights((), 1)
        assert inner.release.is_set()
    assert timer.take()["waiting"] > 0.1


def test_a_step_in_which_rewards_fail_too_often_is_refused(opened: SharedEngine) -> None:
    def refuse(results: Sequence[RewardResults], step: int) -> None:
        assert len(results) == SIZE
        raise RunError("reward 'r' failed")

    sampler = continuous(opened, steps=range(1, 9), lead=lead_of(2))
    sampler._require_scored = refuse
    with closing(sampler), pytest.raises(RunError, match="failed"):
        next(iter(sampler))


class Failing(Halves):
    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        if groups[0].problem.id == "7":
            raise OSError("the disk is full")
        return super().score(groups, step)


def test_what_the_thread_raises_is_raised_where_a_batch_is_waited_for(opened: SharedEngine) -> None:
    with (
        closing(continuous(opened, steps=range(1, 9), lead=lead_of(3), scorer=Failing())) as sampler,
        pytest.raises(OSError, match="the disk is full"),
    ):
        list(sampler)


def test_each_group_has_a_time_limit() -> None:
    inner = Stuck()
    with (
        closing(SharedEngine(inner, PhaseTimer())) as engine,
        closing(continuous(engine, steps=range(1, 2), lead=lead_of(2), timeout_s=0.3)) as sampler,
        pytest.raises(EngineError, match=r"completions of problem 0 took longer than 0\.3 s.*rollout\.timeout_s"),
    ):
        next(iter(sampler))


def test_a_reward_that_never_ends_does_not_keep_a_stopped_run(
    opened: SharedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    class Hanging(Halves):
        def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
            if int(groups[0].problem.id) >= SIZE:
                release.wait(60)
            return super().score(groups, step)

    with closing(continuous(opened, steps=range(1, 9), lead=lead_of(2), scorer=Hanging())) as sampler:
        assert next(iter(sampler)).step == 1
        began = time.monotonic()
        sampler.close()
        assert time.monotonic() - began < 5
        assert set(sampler.state().unfinished) == set(range(SIZE, 3 * SIZE))
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "scoring ahead")
    release.set()


def test_groups_that_are_too_old_all_the_same_are_left_out_by_name(opened: SharedEngine) -> None:
    """As where a step makes more updates than were counted on."""
    with closing(continuous(opened, steps=range(1, 4), lead=lead_of(2, 1, 0))) as sampler:
        batches = iter(sampler)
        next(batches)
        opened.load_weights((), 9)
        taken = next(batches)
    assert taken.num_unused("stale") == SIZE
    assert not taken.groups


def test_staleness_is_counted_by_completion_and_by_token() -> None:
    mixed = replace(
        completion("1", tokens=(1, 2, 3, 0)),
        segments=(Segment(num_tokens=1, policy_version=2), Segment(num_tokens=3, policy_version=4)),
    )
    whole = completion("1", tokens=(1, 0), policy_version=5)
    made = replace(group(["1"]), trajectories=(mixed, whole))
    results = (RewardResult(total=Score(1.0), rewards={}),) * 2
    record = StepRecord(
        batch=batch([made], [results]), advantages=((0.0, 0.0),), policy_version=5, measured={}, seconds={}
    )
    metrics = step_metrics(record, async_steps=2)
    assert (metrics["staleness/mean"], metrics["staleness/max"]) == (1.5, 3.0)
    assert metrics["staleness/token_mean"] == (3 + 3 * 1 + 2 * 0) / 6
    assert metrics["staleness/mixed"] == 0.5
    assert "staleness/token_mean" not in step_metrics(record, async_steps=1)
