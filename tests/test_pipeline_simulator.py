"""The simulator of samplers and a learner: cases that can be worked out by hand, and what holds whatever is asked."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle, pairwise
from typing import Any

import pipeline_simulator
import pytest
from builders import completion, group
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_measured import batch_seconds, sampler_rates
from pipeline_model import Continuous, Cpus, LearnerRates, Outcome, Pipeline, simulate
from pipeline_sampler import Draw, Group, SamplerRates
from pipeline_simulator import Lengths, stated_draws

from reasonrl.rollout.buffer import BufferState, FinishedGroup, GroupBuffer

RATES = SamplerRates(token_s=0.01)
LEARNER = LearnerRates(token_s=0.0, step_s=2.0)


def pipeline(**changes: Any) -> Pipeline:  # Any: of every kind
    usual = Pipeline(sampler=RATES, learner=LEARNER, groups_per_step=2)
    return replace(usual, **changes)


def draws(*lengths: int, count: int = 2, prompt: int = 0) -> Iterator[Draw]:
    return cycle([Draw(prompt, (tokens,) * count) for tokens in lengths])


def periods(outcome: Outcome) -> list[float]:
    ends = [step.end_s for step in outcome.steps]
    return [later - earlier for earlier, later in pairwise(ends)]


# Cases worked out by hand.


def test_a_synchronous_step_is_the_sum_of_its_parts() -> None:
    rates = SamplerRates(token_s=0.01, sequence_s=0.002, request_s=0.1, prefill_s=0.001)
    outcome = simulate(
        pipeline(sampler=rates, learner=LearnerRates(step_s=1, token_s=0.001), push_s=0.5, scoring_s=0.25),
        draws(100, prompt=50),
        3,
    )
    sampling = 4 * 0.1 + 2 * 50 * 0.001 + 100 * (0.01 + 4 * 0.002)  # four requests, two prompts, four side by side
    step = sampling + 2 * 0.25 + (1 + 400 * 0.001) + 0.5
    assert periods(outcome) == pytest.approx([step, step])
    assert outcome.steps_per_hour == pytest.approx(3600 / step)
    assert outcome.sampler_busy == pytest.approx(sampling / step)
    assert outcome.learner_busy == pytest.approx(1.4 / step)
    assert outcome.staleness_max == 0


def test_a_batch_lasts_as_long_as_its_longest_completion() -> None:
    assert batch_seconds([Draw(0, (10, 20)), Draw(0, (500, 5))], RATES, samplers=2) == pytest.approx(5.0)


def test_sequences_without_a_slot_wait_for_one() -> None:
    assert batch_seconds([Draw(0, (100,) * 4)], replace(RATES, slots=2), samplers=1) == pytest.approx(2.0)


def test_a_sequence_slows_down_those_beside_it_only_while_it_runs() -> None:
    rates = SamplerRates(token_s=0.0, sequence_s=0.01)
    assert batch_seconds([Draw(0, (100, 300))], rates, samplers=1) == pytest.approx(100 * 0.02 + 200 * 0.01)


def test_a_token_takes_longer_the_more_context_there_is() -> None:
    rates = SamplerRates(token_s=0.01, context_s=1e-6)
    whole = 400 * 0.01 + 1e-6 * 2 * (1000 * 400 + 400**2 / 2)
    assert batch_seconds([Draw(1000, (400, 400))], rates, samplers=1) == pytest.approx(whole)


def test_learners_share_the_tokens_of_a_step_and_nothing_else() -> None:
    alone = pipeline(learner=LearnerRates(step_s=1, token_s=0.01))
    one, four = (periods(simulate(replace(alone, learners=count), draws(100), 2))[0] for count in (1, 4))
    assert one - four == pytest.approx(400 * 0.01 * 3 / 4)


@pytest.mark.parametrize(("tokens", "slower"), [(100, 2.0), (900, 9.0)])
def test_one_step_ahead_takes_the_slower_of_sampling_and_learning(tokens: int, slower: float) -> None:
    outcome = simulate(pipeline(async_steps=1, push_s=0.5), draws(tokens), 5)
    *middle, last = periods(outcome)
    assert middle == pytest.approx([slower + 0.5] * 3)
    assert last == pytest.approx(2.5)  # nothing is sampled beside the last step
    assert [step.staleness for step in outcome.steps] == [(0, 0), *[(1, 1)] * 4]


def test_several_steps_ahead_a_long_completion_delays_no_step() -> None:
    lengths = [100, 100, 100, 1000]  # every second step has a long one, which takes 10 s
    one, eight = (simulate(pipeline(async_steps=ahead), draws(*lengths), 21) for ahead in (1, 8))
    assert sum(periods(one)) == pytest.approx(9 * 10.0 + 11 * 2.0)
    assert periods(eight) == pytest.approx([2.0] * 20)


def test_in_flight_completions_are_computed_again_after_a_push() -> None:
    rates = SamplerRates(token_s=0.01, prefill_s=0.001)
    cheap, dear = (simulate(pipeline(sampler=each, async_steps=2), draws(1000), 10) for each in (RATES, rates))
    assert dear.steps_per_hour < cheap.steps_per_hour


def test_cpus_that_are_shared_slow_everything_down_alike() -> None:
    whole = [Draw(0, (100,)), Draw(0, (100,))]
    for cpus, seconds in (
        (Cpus(count=2), 1.0),
        (Cpus(count=0.5), 4.0),
        (Cpus(count=2, others=6), 4.0),
        (Cpus(count=2, of_sampler=2), 2.0),
    ):
        assert batch_seconds(whole, RATES, 2, cpus) == pytest.approx(seconds)


# What holds whatever is asked.

PIPELINES = st.builds(
    Pipeline,
    sampler=st.builds(
        SamplerRates,
        token_s=st.floats(0.001, 0.1),
        sequence_s=st.floats(0, 0.01),
        context_s=st.floats(0, 1e-5),
        request_s=st.floats(0, 0.1),
        prefill_s=st.floats(0, 1e-3),
        slots=st.integers(1, 6),
    ),
    learner=st.builds(LearnerRates, step_s=st.floats(0, 10), token_s=st.floats(0, 0.01)),
    samplers=st.integers(1, 3),
    learners=st.integers(1, 3),
    push_s=st.floats(0, 2),
    scoring_s=st.floats(0, 0.5),
    groups_per_step=st.integers(1, 4),
    async_steps=st.integers(0, 4),
    cpus=st.sampled_from([Cpus(), Cpus(count=2), Cpus(count=0.5, others=1)]),
)
STREAMS = st.lists(
    st.builds(Draw, st.integers(0, 50), st.lists(st.integers(1, 200), min_size=1, max_size=3).map(tuple)),
    min_size=1,
    max_size=9,
)


@settings(max_examples=30, deadline=None)
@given(PIPELINES, STREAMS)
def test_every_problem_is_learned_once_and_none_is_too_old(asked: Pipeline, stream: Sequence[Draw]) -> None:
    size, num_steps = asked.groups_per_step, 6
    outcome = simulate(asked, cycle(stream), num_steps)
    first = [draw for draw, _ in zip(cycle(stream), range(size * num_steps), strict=False)]
    learned = sorted(draw for step in outcome.steps for draw in step.draws)
    assert learned == sorted(first)
    assert outcome.staleness_max <= (2 * asked.async_steps if asked.async_steps > 1 else asked.async_steps)
    assert 0 <= outcome.sampler_busy <= 1 + 1e-9
    assert 0 <= outcome.learner_busy <= 1 + 1e-9
    ends = [step.end_s for step in outcome.steps]
    assert ends == sorted(ends)


@settings(max_examples=30, deadline=None)
@given(PIPELINES.filter(lambda asked: asked.async_steps < 2), STREAMS)
def test_no_step_is_shorter_than_its_learning_and_its_push(asked: Pipeline, stream: Sequence[Draw]) -> None:
    outcome = simulate(asked, cycle(stream), 4)
    for period, step in zip(periods(outcome), outcome.steps[1:], strict=True):
        learning = asked.learner.step_s + asked.learner.token_s * step.tokens / asked.learners
        assert period >= learning + asked.push_s - 1e-4


@settings(max_examples=30, deadline=None)
@given(PIPELINES, STREAMS)
def test_a_machine_that_is_twice_as_slow_takes_twice_as_long(asked: Pipeline, stream: Sequence[Draw]) -> None:
    sampler = SamplerRates(
        token_s=2 * asked.sampler.token_s,
        sequence_s=2 * asked.sampler.sequence_s,
        context_s=2 * asked.sampler.context_s,
        request_s=2 * asked.sampler.request_s,
        prefill_s=2 * asked.sampler.prefill_s,
        slots=asked.sampler.slots,
    )
    learner = LearnerRates(step_s=2 * asked.learner.step_s, token_s=2 * asked.learner.token_s)
    slow = replace(asked, sampler=sampler, learner=learner, push_s=2 * asked.push_s, scoring_s=2 * asked.scoring_s)
    fast, slow_end = (simulate(each, cycle(stream), 4).steps[-1].end_s for each in (asked, slow))
    assert slow_end == pytest.approx(2 * fast, rel=1e-3, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(PIPELINES.map(lambda asked: replace(asked, cpus=Cpus())), STREAMS)
def test_one_step_ahead_is_never_slower_than_waiting(asked: Pipeline, stream: Sequence[Draw]) -> None:
    waiting, ahead = (simulate(replace(asked, async_steps=depth), cycle(stream), 6).steps[-1].end_s for depth in (0, 1))
    assert ahead <= waiting + 1e-3


@settings(max_examples=30, deadline=None)
@given(PIPELINES.filter(lambda asked: asked.async_steps < 2), STREAMS, st.integers(2, 5))
def test_longer_completions_are_never_faster(asked: Pipeline, stream: Sequence[Draw], factor: int) -> None:
    longer = [Draw(draw.prompt, tuple(factor * tokens for tokens in draw.completions)) for draw in stream]
    short_end, long_end = (simulate(asked, cycle(each), 4).steps[-1].end_s for each in (stream, longer))
    assert long_end >= short_end - 1e-3


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=12), st.integers(1, 4), st.integers(2, 3)
)
def test_a_step_takes_the_groups_that_the_run_would_take(begun: list[tuple[int, bool]], size: int, ahead: int) -> None:
    buffer, simulated = GroupBuffer(BufferState(next_position=0)), []
    for version, is_finished in sorted(begun):
        position = buffer.begin(version)
        simulated.append(Group(Draw(0, (1,)), position, version, 0, is_finished))
        if is_finished:
            sampled = replace(group(["2"]), trajectories=(completion(policy_version=version),))
            buffer.finish(FinishedGroup(position=position, group=sampled, results=()))
    due = buffer.due(4, size=size, updates_per_step=1, max_staleness=2 * ahead)
    taken = buffer.take(size, due)
    expected = Continuous(size, ahead, 2 * ahead).take(simulated, 4)
    assert sorted(each.index for each in expected) == [each.position for each in taken or ()]


# Rates and lengths.


@settings(max_examples=30, deadline=None)
@given(st.floats(0.001, 0.1), st.floats(0.0001, 0.01), st.floats(0.01, 1), st.integers(1, 3), st.integers(2, 50))
def test_rates_that_made_the_times_are_found_again(
    token_s: float, sequence_s: float, request_s: float, samplers: int, slots: int
) -> None:
    rates = SamplerRates(token_s=token_s, sequence_s=sequence_s, request_s=request_s, slots=slots)
    steps = [
        [Draw(0, (tokens,) * count)] * samplers for tokens, count in ((10, 3), (50, 2), (200, 5), (90, 1), (20, 8))
    ]
    seconds = [batch_seconds(step, rates, samplers) for step in steps]
    found = sampler_rates(steps, seconds, samplers=samplers, slots=slots)
    assert [found.token_s, found.sequence_s, found.request_s] == pytest.approx(
        [token_s, sequence_s, request_s], rel=1e-3
    )


def test_stated_lengths_have_their_mean_and_their_share_of_long_ones() -> None:
    lengths = Lengths(mean=1000, spread=0.6, long_share=0.1, long_mean=8000, max_tokens=20_000)
    stream = stated_draws(lengths, prompt=10, samples_per_prompt=4, seed=1)
    drawn = [tokens for draw, _ in zip(stream, range(3000), strict=False) for tokens in draw.completions]
    assert sum(drawn) / len(drawn) == pytest.approx(0.9 * 1000 + 0.1 * 8000, rel=0.05)
    assert max(drawn) <= 20_000


def test_the_table_has_a_row_for_every_number_of_devices_and_depth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "--lengths 200 --samplers 1,2 --learners 1,2 --depths 0,3 --steps 4 --prompts-per-step 4"
    monkeypatch.setattr(sys, "argv", ["pipeline_simulator.py", *asked.split()])
    pipeline_simulator.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split()[:3] for line in lines if line.strip()[:1].isdigit()]
    assert rows == [[samplers, learners, depth] for samplers in "12" for learners in "12" for depth in "03"]
    assert any(line.startswith("most steps an hour for each device, 3 ahead") for line in lines)


def test_a_folder_that_is_no_run_is_an_error_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:  # Any: a path
    monkeypatch.setattr(sys, "argv", ["pipeline_simulator.py", "--from-run", str(tmp_path)])
    with pytest.raises(SystemExit, match=str(tmp_path)):
        pipeline_simulator.main()
