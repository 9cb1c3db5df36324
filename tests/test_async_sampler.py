"""Sampling ahead: the schedule decides every number, whoever is faster, and whatever ends a run ends its thread."""

import asyncio
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import (
    WeightlessEngine,
    batch,
    completion,
    group,
    policy_learner,
    problem,
    run_config,
    training_samples,
    unused,
)
from copies import CopyEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import AHEAD
from pydantic import ValidationError
from rich.console import Console
from test_resume import NOISE, identical, records, run_child, start_child, state

from reasonrl.engines import EngineInputs, Request
from reasonrl.errors import PluginError, RunError
from reasonrl.learner import Learner
from reasonrl.models.load import load_model
from reasonrl.rollout.prefetch import AsyncSampler
from reasonrl.run.files.checkpoint import CHECKPOINT_FILE, PENDING_FILE, load_pending, save_pending
from reasonrl.run.metrics import step_metrics
from reasonrl.run.start import resume_run, start_run
from reasonrl.run.terminal import PlainView
from reasonrl.system.timer import PhaseTimer
from reasonrl.types import (
    Batch,
    Group,
    RewardResult,
    RewardResults,
    Score,
    Segment,
    StepRecord,
    TrainingSample,
    Trajectory,
)

RUN = """\
name: {name}
model: tiny
task: {{name: arithmetic, params: {{num_problems: 60, min_terms: 3, max_terms: 3}}}}
template: plain
rewards: [numeric_answer, {{name: ./noise.py:noise, weight: 0.01, isolated: false}}]
algorithm: {{preset: grpo, refill_attempts: 1}}
rollout: {{prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 12}}
learner: {{learning_rate: 3e-4, minibatch_sequences: 4, epochs: 2}}
evaluation:
  suites: [{{name: arithmetic, params: {{num_problems: 4}}, template: plain, max_new_tokens: 12}}]
  every: 3
run: {{steps: 5, checkpoint_every: 1, keep_checkpoints: 20}}
"""
STEPS = range(1, 6)


@pytest.fixture
def folder(in_folder: Path) -> Path:
    """An empty folder with a reward that draws from the process's generators."""
    (in_folder / "noise.py").write_text(NOISE)
    return in_folder


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that sampled ahead, undisturbed; not to be changed."""
    folder = tmp_path_factory.mktemp("straight")
    (folder / "noise.py").write_text(NOISE)
    (folder / "straight.yaml").write_text(RUN.format(name="straight"))
    assert run_child(folder, "straight.yaml", ahead=True) == 0
    return folder / "runs" / "straight"


def write_run(name: str, text: str = RUN) -> Path:
    path = Path(f"{name}.yaml")
    path.write_text(text.format(name=name))
    return path


class Go:
    """Trains with an engine on a copy of the learner's model; a test may choose the engine's class."""

    kind: type[CopyEngine] = CopyEngine

    def __call__(self, name: str, *overrides: str, ahead: bool = True, text: str = RUN) -> Path:
        engine = f"rollout.engine={__name__}:chosen_engine"
        changes = [*AHEAD, engine, *([] if ahead else ["rollout.async_steps=0"]), *overrides]
        start_run(write_run(name, text), changes, [self._view()], argv=["test"])
        return Path("runs", name)

    def again(self, run: Path) -> None:
        resume_run(run, [], [self._view()])

    def _view(self) -> PlainView:
        self.output = StringIO()
        return PlainView(Console(file=self.output, width=10_000))


def chosen_engine(inputs: EngineInputs) -> CopyEngine:
    """The engine of :class:`Go`'s runs."""
    return Go.kind(inputs.model, inputs.tokenizer, inputs.compute)


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> Iterator[Go]:
    monkeypatch.setattr(Go, "kind", CopyEngine)
    yield Go()
    assert_nothing_runs()


def assert_nothing_runs() -> None:
    """No thread samples any more; one that has just handed over its batch may need a moment to end."""
    for thread in threading.enumerate():
        if thread.name == "sampling ahead":
            thread.join(timeout=1)
            assert not thread.is_alive()


def metrics(run: Path, name: str) -> list[float]:
    """One metric of every step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def rollouts(run: Path, step: int) -> list[dict[str, Any]]:
    """The completions of a step. Any: JSON values."""
    return [json.loads(line) for line in (run / "rollouts" / f"step_{step:06d}.jsonl").read_text().splitlines()]


def version_after(run: Path, step: int) -> int:
    """The learner's policy version after a step."""
    learner = torch.load(run / "checkpoints" / f"step_{step:06d}" / "learner.pt", weights_only=True)
    return int(learner["policy_version"])


# The schedule.


@pytest.mark.slow
def test_each_batch_is_sampled_with_the_weights_from_before_the_step_before_it(straight: Path) -> None:
    versions = [0] + [version_after(straight, step) for step in STEPS]
    assert versions[-1] > len(STEPS), "a step has several updates"
    found = [{line["policy_version"] for line in rollouts(straight, step)} for step in STEPS]
    assert found == [{versions[max(step - 2, 0)]} for step in STEPS]
    lags = [versions[step - 1] - versions[max(step - 2, 0)] for step in STEPS]
    assert metrics(straight, "staleness/max") == metrics(straight, "staleness/mean") == lags


@pytest.mark.slow
def test_a_run_is_the_same_again(straight: Path, folder: Path, go: Go) -> None:
    again = go("again")
    assert records(again) == records(straight)
    assert identical(state(again, STEPS[-1]), state(straight, STEPS[-1]))


class Slow(CopyEngine):
    """Samples slower than the learner learns, and must not get new weights meanwhile."""

    is_sampling = 0

    async def generate(self, request: Request) -> Trajectory:
        self.is_sampling += 1
        sampled = await super().generate(request)
        await asyncio.sleep(1)
        self.is_sampling -= 1
        return sampled

    def load_weights(self, weights: Any, version: int) -> None:
        assert not self.is_sampling
        super().load_weights(weights, version)


@pytest.mark.slow
def test_who_is_faster_decides_nothing_but_the_time_that_is_waited(folder: Path, go: Go) -> None:
    changes = ("run.steps=3", "evaluation.suites=[]", "algorithm.refill_attempts=0")
    update = Learner.update

    def slow_update(self: Learner, samples: Sequence[TrainingSample]) -> dict[str, float]:
        time.sleep(1)
        return update(self, samples)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "update", slow_update)
        learning = go("learning", *changes)
    Go.kind = Slow
    sampling = go("sampling", *changes)
    assert records(learning) == records(sampling)
    assert identical(state(learning, 3), state(sampling, 3))
    assert max(metrics(learning, "seconds/waiting")[1:]) < 0.5 < min(metrics(sampling, "seconds/waiting")[:-1])
    assert max(metrics(sampling, "seconds/learning")) < 1.0 < min(metrics(learning, "seconds/learning"))
    for run in (learning, sampling):
        phases = [metrics(run, f"seconds/{phase}") for phase in ("waiting", "learning", "weight_sync")]
        parts = zip(*phases, strict=True)
        assert metrics(run, "seconds/step") == pytest.approx([*map(sum, parts)])


@pytest.mark.slow
def test_at_learning_rate_zero_running_ahead_changes_no_number(folder: Path, go: Go) -> None:
    ahead = go("ahead", "learner.learning_rate=0")
    in_step = go("in_step", "learner.learning_rate=0", ahead=False)
    for name in ("staleness/mean", "staleness/max", "groups/too_old"):
        assert not metrics(in_step, name)
    assert numbers(ahead) == numbers(in_step)
    assert identical(state(ahead, 5), state(in_step, 5))


def numbers(run: Path) -> Mapping[str, Any]:
    """Everything a run wrote but times, and how old its completions were. Any: JSON values."""
    found = records(run)
    for line in found["metrics"]:
        for name in ("staleness/mean", "staleness/max", "groups/too_old"):
            line.pop(name, None)
    for name, text in found["texts"].items():
        lines = map(json.loads, text.splitlines())
        found["texts"][name] = [{**line, "policy_version": None, "segments": None} for line in lines]
    return found


def test_the_next_batch_is_sampled_while_a_step_is_learned(
    folder: Path, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the other to have begun: one after the other would never end."""
    learning, sampling, update = threading.Event(), threading.Event(), Learner.update

    def learn(self: Learner, samples: Sequence[TrainingSample]) -> dict[str, float]:
        learning.set()
        assert sampling.wait(60), "nothing is sampled meanwhile"
        return update(self, samples)

    class Meeting(CopyEngine):
        async def generate(self, request: Request) -> Trajectory:
            if threading.current_thread() is not threading.main_thread() and next(is_later):
                sampling.set()
                assert learning.wait(60), "nothing is learned meanwhile"
            return await super().generate(request)

    is_later = iter([*(False for _ in range(8)), *(True for _ in range(8))])  # a batch has 8 requests
    monkeypatch.setattr(Learner, "update", learn)
    Go.kind = Meeting
    go("one", "run.steps=2", "algorithm.refill_attempts=0")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_rewards_in_the_thread_have_the_generators_for_themselves(checkpointing: bool) -> None:
    """torch's checkpointing would put its generator back to an earlier state for as long as it computes again."""
    model = load_model("tiny", torch.device("cpu"), gradient_checkpointing=checkpointing)
    learner, drawn, done = policy_learner(model, run_config()), list[float](), threading.Event()

    def draw() -> None:
        while not done.is_set():
            drawn.append(float(torch.rand(())))

    torch.manual_seed(0)
    thread = threading.Thread(target=draw)
    thread.start()
    for seed in range(4):
        learner.update(training_samples(48, seed=seed))
    done.set()
    thread.join()
    torch.manual_seed(0)
    assert drawn == [float(torch.rand(())) for _ in drawn]


def test_in_step_nothing_is_pending_and_nothing_stale(folder: Path, go: Go) -> None:
    run = go("one", "run.steps=2", ahead=False)
    assert not list(run.rglob(PENDING_FILE))
    assert not metrics(run, "staleness/max")


@pytest.mark.slow
def test_a_step_whose_gradient_is_refused_does_not_disturb_the_schedule(
    folder: Path, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_update(monkeypatch, 6)
    run = go("one", "alarms.not_finite=warn")
    assert [line["step"] for line in records(run)["metrics"] if "reward/mean" in line] == [*STEPS]
    versions = [0] + [version_after(run, step) for step in STEPS]
    found = [{line["policy_version"] for line in rollouts(run, step)} for step in STEPS]
    assert found == [{versions[max(step - 2, 0)]} for step in STEPS]


def refuse_update(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let one update of a run have a gradient that is not finite."""
    step, calls = Learner._step, iter(range(1, 1000))

    def refuse(self: Learner, rate: float) -> float:
        if next(calls) == number:
            next(self.model.parameters()).grad.fill_(torch.nan)  # type: ignore[union-attr]  # it has one here
        return step(self, rate)

    monkeypatch.setattr(Learner, "_step", refuse)


# What is too old.


@pytest.mark.slow
def test_groups_that_are_too_old_are_left_out_whole(folder: Path, go: Go) -> None:
    run = go("one", "rollout.max_staleness=1")
    versions = [0] + [version_after(run, step) for step in STEPS]
    too_old = metrics(run, "groups/too_old")
    assert [bool(count) for count in too_old] == [lag > 1 for lag in metrics(run, "staleness/max")]
    assert too_old[1] == 2  # all of the step, which learns nothing
    assert versions[2] == versions[1]
    assert {line["advantage"] for line in rollouts(run, 2)} == {None}
    assert too_old[2] == 0
    assert "rollout.max_staleness is 1, but a step makes up to 4 weight updates" in go.output.getvalue()


@pytest.mark.slow
def test_a_limit_that_is_kept_leaves_nothing_out(straight: Path, folder: Path, go: Go) -> None:
    assert records(go("limited", "rollout.max_staleness=4")) == records(straight)
    assert "max_staleness" not in go.output.getvalue()


class Idle(WeightlessEngine):
    """Is not asked for anything."""

    async def generate(self, request: Request) -> Trajectory:
        raise AssertionError


SCORED = (RewardResult(total=Score(1.0), rewards={}),) * 2


def test_one_old_completion_makes_its_group_too_old() -> None:
    old, new = completion("1", policy_version=3), completion("2", policy_version=4)
    mixed, fresh = (replace(group(["1"]), trajectories=members) for members in ((new, old), (new, new)))
    engine = Idle()
    engine.policy_version = 5
    (given,) = AsyncSampler(iter([batch([mixed, fresh], [SCORED, SCORED])]), engine, PhaseTimer(), max_staleness=1)
    assert given.groups == (fresh,)
    assert given.unused == unused([(mixed, SCORED)], "stale")
    record = StepRecord(batch=given, advantages=((0.0, 0.0),), policy_version=5, measured={}, seconds={})
    metrics = step_metrics(record, async_steps=1)
    assert metrics["staleness/mean"] == 1.25
    assert metrics["staleness/max"] == 2.0
    assert metrics["groups/too_old"] == 1


# What goes wrong.


def test_a_reward_that_fails_stops_the_run_with_its_cause(folder: Path, go: Go) -> None:
    Path("bad.py").write_text(
        "calls = []\ndef score(rollout):\n    calls.append(1)\n    assert len(calls) <= 16, 'broken'\n    return 1.0\n"
    )
    run = RUN.replace("numeric_answer", "./bad.py:score")
    with pytest.raises(RunError, match=r"bad\.py:score.*broken"):
        go("one", "algorithm.refill_attempts=0", "evaluation.rewards=none", text=run)
    manifest = json.loads(Path("runs/one/manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert "broken" in manifest["cause"]
    assert len(metrics(Path("runs/one"), "reward/mean")) == 1  # the batch of step 3 failed while step 2 was learned


def test_what_the_thread_raises_is_what_the_run_raises(folder: Path, go: Go) -> None:
    error = OSError("the network is gone")

    class Failing(CopyEngine):
        async def generate(self, request: Request) -> Trajectory:
            if self.policy_version > 0:
                raise error
            return await super().generate(request)

    Go.kind = Failing
    with pytest.raises(PluginError, match=r"chosen_engine': OSError: the network is gone") as caught:
        go("one", "evaluation.every=9", "rollout.verify_every=6")
    assert caught.value.__cause__ is error
    assert error.__context__ is None


class Endless(CopyEngine):
    """Samples until it is aborted, as soon as a step is learned."""

    async def generate(self, request: Request) -> Trajectory:
        sampled = await super().generate(request)
        async with self._switch.guard():
            while LEARNING.is_set():
                await asyncio.sleep(0.01)
        return sampled


LEARNING = threading.Event()


@pytest.mark.parametrize("error", [KeyError("a mistake"), KeyboardInterrupt()], ids=["mistake", "second Ctrl-C"])
def test_a_learner_that_fails_ends_the_sampling(
    folder: Path, go: Go, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(self: Learner, samples: Sequence[TrainingSample]) -> dict[str, float]:
        LEARNING.set()
        time.sleep(0.3)
        raise error

    monkeypatch.setattr(Learner, "update", fail)
    monkeypatch.setattr("reasonrl.rollout.prefetch.MAX_END_S", 60.0)
    Go.kind = Endless
    began = time.monotonic()
    try:
        with pytest.raises(KeyError) if isinstance(error, KeyError) else nullcontext():
            go("one", "evaluation.suites=[]", "rollout.verify_every=6")
    finally:
        LEARNING.clear()
    assert time.monotonic() - began < 30
    assert_nothing_runs()


def test_a_sampling_that_begins_after_the_abort_is_ended_too() -> None:
    """Scoring cannot be aborted, and a refill would be sampled after it."""
    engine = Forgetful()
    ahead = AsyncSampler(refilling(engine), engine, PhaseTimer())
    assert next(iter(ahead)).step == 1
    began = time.monotonic()
    ahead.close()
    assert time.monotonic() - began < 5
    assert_nothing_runs()


class Forgetful(Idle):
    """Only a sampling that runs can be aborted."""

    def __init__(self) -> None:
        self.aborted = threading.Event()

    def abort(self) -> None:
        self.aborted.set()

    def wait(self) -> None:
        self.aborted.clear()
        assert self.aborted.wait(60)
        raise RuntimeError("aborted")


def refilling(engine: Forgetful) -> Iterator[Batch]:
    yield batch([group(["1", "2"])], [SCORED])
    time.sleep(0.5)
    engine.wait()


def test_a_reward_that_never_ends_does_not_keep_a_stopped_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasonrl.rollout.prefetch.MAX_END_S", 0.3)
    release = threading.Event()

    def hanging() -> Iterator[Batch]:
        yield batch([group(["1", "2"])], [SCORED])
        release.wait(60)

    ahead = AsyncSampler(hanging(), Forgetful(), PhaseTimer())
    next(iter(ahead))
    began = time.monotonic()
    ahead.close()
    assert time.monotonic() - began < 2
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "sampling ahead"]
    assert thread.daemon  # the process ends without it
    release.set()


# Resume.


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_with_the_batch_that_was_sampled(straight: Path, folder: Path) -> None:
    write_run("killed")
    for number, (place, count) in enumerate(
        [("checkpoint without the pending batch", 2), ("update", 6), ("sampling", 20), ("checkpoint not listed", 1)]
    ):
        file = None if number else "killed.yaml"
        assert run_child(folder, file, place, count, ahead=True) == -signal.SIGKILL
    assert run_child(folder, None, ahead=True) == 0
    killed = folder / "runs" / "killed"
    assert records(killed) == records(straight)
    assert identical(state(killed, 5), state(straight, 5))


@pytest.mark.vllm
@pytest.mark.parametrize("engine", ["vllm", "vllm_server"])
def test_vllm_keeps_the_schedule_and_goes_on_after_a_kill(folder: Path, engine: str) -> None:
    text = RUN.replace("rollout: {{", f"rollout: {{{{engine: {engine}, async_steps: 1, ") + "vllm: {{sleep: false}}\n"
    text = text.replace("preset: grpo,", "preset: grpo, importance: token,")
    for name in ("straight", "killed"):
        write_run(name, text)
    assert run_child(folder, "straight.yaml") == 0
    assert run_child(folder, "killed.yaml", "update", 6) == -signal.SIGKILL
    assert run_child(folder, None) == 0
    straight, killed = folder / "runs" / "straight", folder / "runs" / "killed"
    versions = [0] + [version_after(straight, step) for step in STEPS]
    found = [{line["policy_version"] for line in rollouts(straight, step)} for step in STEPS]
    assert found == [{versions[max(step - 2, 0)]} for step in STEPS]
    assert records(killed) == records(straight)
    assert identical(state(killed, 5), state(straight, 5))


@pytest.mark.slow
def test_ctrl_c_ends_after_the_step_and_the_run_goes_on_exactly(straight: Path, folder: Path) -> None:
    write_run("killed", RUN.replace("checkpoint_every: 1", "checkpoint_every: 9"))
    process = start_child(folder, "killed.yaml", ahead=True)
    interrupt(process.pid, after=folder / "runs/killed/rollouts/step_000002.jsonl")
    process.join(timeout=60)
    assert process.exitcode == 0
    run = folder / "runs" / "killed"
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"
    assert list(run.rglob(PENDING_FILE))
    assert run_child(folder, None, ahead=True) == 0
    assert records(run) == records(straight)
    assert identical(state(run, 5), state(straight, 5))


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(folder: Path) -> None:
    slow = "import time\ndef score(rollout):\n    time.sleep(0.25)\n    return 1.0\n"
    (folder / "slow.py").write_text(slow)
    write_run("killed", RUN.replace("numeric_answer", "./slow.py:score"))
    process = start_child(folder, "killed.yaml", ahead=True)
    interrupt(process.pid, after=folder / "runs/killed/startup.md")
    time.sleep(0.5)
    interrupt(process.pid)
    began = time.monotonic()
    process.join(timeout=60)
    assert process.exitcode == 0
    assert time.monotonic() - began < 8
    assert json.loads((folder / "runs/killed/manifest.json").read_text())["status"] == "interrupted"


def interrupt(pid: int | None, *, after: Path | None = None) -> None:
    """Send Ctrl-C to a process, once a file is there."""
    for _ in range(3000):
        if after is None or after.exists():
            break
        time.sleep(0.02)
    assert pid is not None
    os.kill(pid, signal.SIGINT)


@pytest.mark.slow
def test_a_rolled_back_run_learns_from_the_pending_batch_of_the_checkpoint(
    folder: Path, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_update(monkeypatch, 10)
    run = go("one", "alarms.not_finite=rollback")
    (kept,) = run.glob("rollouts/rollback_1_step_*.jsonl")
    before = [json.loads(line) for line in kept.read_text().splitlines()]
    assert before == rollouts(run, before[0]["step"])
    assert json.loads((run / "manifest.json").read_text())["status"] == "finished"


@pytest.fixture
def stopped(straight: Path, folder: Path) -> Path:
    """A run that can be resumed after its second step."""
    run = folder / "runs" / "stopped"
    shutil.copytree(straight, run)
    for step in (3, 4, 5):
        shutil.rmtree(run / "checkpoints" / f"step_{step:06d}")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    return run


@pytest.mark.slow
def test_a_pending_batch_that_is_gone_is_refused_by_name(stopped: Path, go: Go) -> None:
    (stopped / "checkpoints/step_000002" / PENDING_FILE).unlink()
    with pytest.raises(RunError, match=r"step_000002: lacks pending\.json"):
        go.again(stopped)


@pytest.mark.slow
def test_a_checkpoint_that_never_had_a_pending_batch_is_refused_by_name(stopped: Path, go: Go) -> None:
    folder = stopped / "checkpoints/step_000002"
    (folder / PENDING_FILE).unlink()
    manifest = json.loads((folder / CHECKPOINT_FILE).read_text())
    manifest["parts"].pop(PENDING_FILE)
    (folder / CHECKPOINT_FILE).write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"step_000002: lacks pending\.json, the batch that was sampled ahead"):
        go.again(stopped)


@pytest.mark.slow
def test_a_pending_batch_that_was_changed_is_refused_by_name(stopped: Path, go: Go) -> None:
    path = stopped / "checkpoints/step_000002" / PENDING_FILE
    path.write_text(path.read_text().replace("0.", "1.", 1))
    with pytest.raises(RunError, match=r"pending\.json is not the file that was written there"):
        go.again(stopped)


@pytest.mark.slow
def test_every_checkpoint_but_the_last_has_a_pending_batch(straight: Path) -> None:
    found = sorted(path.parent.name for path in straight.rglob(PENDING_FILE))
    assert found == [f"step_{step:06d}" for step in STEPS[:-1]]


numbers_st = st.floats(allow_nan=False, allow_infinity=False)
scores_st = st.one_of(
    st.builds(Score, numbers_st, st.text(), st.just("scored"), st.dictionaries(st.text(), numbers_st, max_size=2)),
    st.builds(Score, st.none(), st.text(), st.sampled_from(["unscorable", "timeout", "error"])),
)


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    """A trajectory of one or more segments, not all of them the policy's."""
    tokens = draw(st.lists(st.integers(0, 2**31), max_size=4))
    cut = draw(st.integers(0, len(tokens)))
    versions = draw(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 9)))
    lengths = (cut, len(tokens) - cut)
    return Trajectory(
        token_ids=tuple(tokens),
        text=draw(st.text(max_size=5)),
        logprobs=tuple(draw(st.floats(max_value=0, allow_nan=False)) for _ in tokens),
        finish_reason=draw(st.sampled_from(["stop", "length"])),
        segments=tuple(Segment(num_tokens=n, policy_version=v) for n, v in zip(lengths, versions, strict=True)),
        sample_index=draw(st.integers(0, 9)),
        seed=draw(st.integers(0, 2**63 - 1)),
    )


results_st = st.builds(
    RewardResult,
    total=scores_st,
    rewards=st.dictionaries(st.text(), scores_st, max_size=2),
    weights=st.dictionaries(st.text(), numbers_st, max_size=2),
    shut=st.lists(st.text(), max_size=2).map(tuple),
    penalties=st.dictionaries(st.text(), numbers_st, max_size=2),
)
said_st = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Group, RewardResults]:
    """A group and its results."""
    messages = draw(st.none() | st.just(({"role": "user", "content": "1 + 1?"},)))
    members = tuple(draw(st.lists(trajectories(), min_size=1, max_size=2)))
    asked = problem(draw(said_st), messages=messages)
    made = Group(problem=asked, prompt=draw(st.text()), prompt_ids=(1, 2), trajectories=members)
    return made, tuple(draw(results_st) for _ in members)


@settings(deadline=None)
@given(kept=st.lists(pairs(), max_size=2), out=st.lists(pairs(), max_size=1), position=st.integers(0, 2**40))
def test_a_pending_batch_comes_back_exactly(tmp_path_factory: Any, kept: Any, out: Any, position: int) -> None:
    folder = tmp_path_factory.mktemp("pending")
    groups, results = zip(*kept, strict=True) if kept else ((), ())
    given = batch(groups, results, unused=unused(out), position=position, seconds={"sampling": 0.1 + 0.2})
    save_pending(folder, given)
    assert load_pending(folder) == given


def test_what_a_problem_holds_for_rewards_is_not_kept(tmp_path: Path) -> None:
    asked = group(["1", "2"], meta={"numbers": {1, 2}})  # a set: data of any kind, JSON or not
    save_pending(tmp_path, batch([asked], [SCORED]))
    assert load_pending(tmp_path).groups[0].problem.meta == {}


# What is refused.

WHOLE: dict[str, Any] = {
    "rollout": {"engine": "vllm_server", "async_steps": 1},
    "algorithm": {"preset": "grpo", "importance": "token"},
}
KL = {"kl_in": "reward", "kl_estimator": "k1", "kl_coefficient": 0.1}
LORA = {"name": "tiny", "lora": {}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rollout": {"async_steps": 1}}, "engine local samples from the module that is being learned"),
        ({"rollout": {"engine": "vllm", "async_steps": 1}}, "set vllm.sleep: false"),
        ({"algorithm": {"preset": "grpo", "importance": "none"}}, "set algorithm.importance: token"),
        ({"algorithm": {**WHOLE["algorithm"], **KL, "kl_target": 0.1}}, "use algorithm.kl_in: loss"),
        ({"algorithm": {**WHOLE["algorithm"], **KL}, "model": LORA}, "asks the model that is being learned"),
        ({"rollout": {"max_staleness": 1}}, "async_steps is 0: nothing is ever stale"),
        ({"rollout": {**WHOLE["rollout"], "async_steps": 65}}, "less than or equal to 64"),
        ({"rollout": {"engine": "vllm", "async_steps": 4}}, "async_steps is 4, so the engine samples while"),
        ({"rollout": {**WHOLE["rollout"], "async_steps": 2}, "curriculum": {}}, "use rollout.async_steps: 1, or leave"),
        ({"rollout": {**WHOLE["rollout"], "async_steps": 3, "max_staleness": 2}}, "is up to 3 weight updates old"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_sentence(changes: dict[str, Any], said: str) -> None:
    run_config(**WHOLE)
    with pytest.raises(ValidationError, match=said) as caught:
        run_config(**{**WHOLE, **changes})
    assert caught.value.error_count() == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": {**WHOLE["algorithm"], **KL}},
        {"algorithm": {**WHOLE["algorithm"], **KL, "kl_in": "loss", "kl_target": 0.1}, "model": LORA},
        {"rollout": {**WHOLE["rollout"], "engine": "vllm"}, "vllm": {"sleep": False}},
        {"rollout": {**WHOLE["rollout"], "max_staleness": 1}},
        {"rollout": {**WHOLE["rollout"], "async_steps": 3, "max_staleness": 3}},
        {"curriculum": {}},
    ],
)
def test_what_goes_together_is_allowed(changes: dict[str, Any]) -> None:
    run_config(**{**WHOLE, **changes})
