"""Time by phase: every moment belongs to one phase, the innermost."""

from collections import defaultdict
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reasonrl.system.timer
from reasonrl.system.timer import PhaseTimer


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reasonrl.system.timer, "perf_counter", clock)
    return clock


def test_a_phase_within_another_interrupts_it(clock: Clock) -> None:
    timer = PhaseTimer()
    clock.now += 1  # before any phase
    with timer.phase("learning"):
        clock.now += 2
        with timer.phase("waiting"):
            clock.now += 3
        clock.now += 4
    clock.now += 5
    with timer.phase("waiting"):
        clock.now += 6
    assert timer.take() == {"learning": 6.0, "waiting": 9.0}
    assert timer.take() == {}


def test_an_error_ends_its_phase(clock: Clock) -> None:
    timer = PhaseTimer()

    def fail() -> None:
        clock.now += 2
        raise KeyError

    with pytest.raises(KeyError), timer.phase("learning"):
        fail()
    clock.now += 3
    assert timer.take() == {"learning": 2.0}


def test_what_is_asked_for_within_a_phase_counts_up_to_now_and_goes_on(clock: Clock) -> None:
    timer = PhaseTimer()
    with timer.phase("learning"):
        clock.now += 2
        assert timer.take() == {"learning": 2.0}
        clock.now += 3
    assert timer.take() == {"learning": 3.0}


def test_waiting_for_items_is_a_phase_and_using_them_is_not(clock: Clock) -> None:
    def slow() -> Iterator[int]:
        for number in (1, 2):
            clock.now += 10 * number
            yield number

    timer, seen = PhaseTimer(), []
    for item in timer.each(slow(), "waiting"):
        clock.now += 1
        seen.append((item, timer.take()))
    assert seen == [(1, {"waiting": 10.0}), (2, {"waiting": 20.0})]


# A program: time that passes, or phases within phases.
programs = st.recursive(
    st.integers(1, 9), lambda inner: st.tuples(st.sampled_from("abc"), st.lists(inner, max_size=4)), max_leaves=12
)


@given(program=st.lists(programs, max_size=4))
def test_each_moment_counts_once_under_the_innermost_phase(program: list[object]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock, timer, expected = Clock(), PhaseTimer(), defaultdict[str, float](float)
        patch.setattr(reasonrl.system.timer, "perf_counter", clock)

        def run(steps: list[object], phase: str | None) -> None:
            for step in steps:
                if isinstance(step, int):
                    clock.now += step
                    if phase is not None:
                        expected[phase] += step
                else:
                    assert isinstance(step, tuple)
                    with timer.phase(step[0]):
                        run(step[1], step[0])

        run(program, None)
        assert {name: value for name, value in timer.take().items() if value} == expected
