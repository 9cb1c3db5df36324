"""Groups are sampled side by side: whoever waits is told of each trajectory and each group as soon as it is there."""

import asyncio
import threading
import time

import pytest
from builders import WeightlessEngine, completion, problem, run_config, single_turn
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.engines import Request
from reasonrl.errors import EngineError
from reasonrl.rollout.groups import GroupRequest, GroupSampler, Progress
from reasonrl.types import Group, Rollout, Trajectory

ENVIRONMENT = single_turn(run_config())


class Ordered(WeightlessEngine):
    """Finishes requests in the order of their seeds, and notes the order in which they come."""

    def __init__(self) -> None:
        self.requests = list[Request]()

    async def generate(self, request: Request) -> Trajectory:
        self.requests.append(request)
        for _ in range(request.seed):
            await asyncio.sleep(0)
        return completion(str(request.seed), index=request.sample_index, seed=request.seed)


def asked(*seeds: tuple[int, ...]) -> list[GroupRequest]:
    return [GroupRequest(problem=problem(f"{n}?", id=str(n)), seeds=group) for n, group in enumerate(seeds)]


@settings(deadline=None)
@given(
    order=st.permutations(range(0, 60, 5)),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) <= 12),
)
def test_progress_is_told_in_the_order_in_which_it_happens(order: list[int], sizes: list[int]) -> None:
    seeds = [tuple(order[sum(sizes[:n]) : sum(sizes[: n + 1])]) for n in range(len(sizes))]
    told, done = list[int](), list[Group]()

    def group_is_done(group: Group) -> None:
        assert set(told) >= {member.seed for member in group.trajectories}, "its members come first"
        done.append(group)

    progress = Progress(rollout=lambda rollout: told.append(rollout.trajectory.seed), group=group_is_done)
    groups = GroupSampler(environment=ENVIRONMENT, engine=Ordered()).sample(asked(*seeds), progress)
    assert told == sorted(seed for group in seeds for seed in group)
    assert [group.problem.id for group in done] == [
        str(n) for n in sorted(range(len(seeds)), key=lambda n: max(seeds[n]))
    ]
    assert sorted(groups, key=done.index) == done
    # What is returned is in the order of the requests, whatever came first.
    assert [tuple(member.seed for member in group.trajectories) for group in groups] == seeds
    assert [[m.sample_index for m in group.trajectories] for group in groups] == [[*range(size)] for size in sizes]


def test_requests_of_one_prompt_follow_one_another() -> None:
    engine = Ordered()
    groups = GroupSampler(environment=ENVIRONMENT, engine=engine).sample(asked((1, 2), (3, 0)))
    assert [request.seed for request in engine.requests] == [1, 2, 3, 0]
    assert [request.prompt_ids for request in engine.requests] == [g.prompt_ids for g in groups for _ in range(2)]


def test_a_finished_group_is_told_of_while_another_is_sampled() -> None:
    first = threading.Event()

    class Waiting(Ordered):
        async def generate(self, request: Request) -> Trajectory:
            while request.seed == 9 and not first.is_set():  # only what is told early ends it
                await asyncio.sleep(0.001)
            return completion(index=request.sample_index, seed=request.seed)

    progress = Progress(group=lambda group: first.set() if group.problem.id == "1" else None)
    sampler = GroupSampler(environment=ENVIRONMENT, engine=Waiting(), timeout_s=30.0)
    assert len(sampler.sample(asked((9, 1), (2, 3)), progress)) == 2


def test_what_progress_raises_ends_the_sampling() -> None:
    engine = Ordered()

    def refuse(rollout: Rollout) -> None:
        raise KeyError(rollout.text)

    with pytest.raises(KeyError, match="1"):
        GroupSampler(environment=ENVIRONMENT, engine=engine).sample(asked((10_000_000, 1)), Progress(rollout=refuse))


def test_sampling_that_takes_too_long_is_ended() -> None:
    class Endless(Ordered):
        async def generate(self, request: Request) -> Trajectory:
            await asyncio.sleep(60)
            raise AssertionError

    began = time.monotonic()
    with pytest.raises(EngineError, match=r"longer than 0\.05 s"):
        GroupSampler(environment=ENVIRONMENT, engine=Endless(), timeout_s=0.05).sample(asked((1,)))
    assert time.monotonic() - began < 10
