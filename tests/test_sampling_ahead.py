"""Runs that sample several steps ahead: every problem is learned from once, whatever ends a run in between."""

import asyncio
import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from copies import CopyEngine
from test_async_sampler import interrupt
from test_resume import run_child, start_child

from reasonrl.config.runfile import load_run
from reasonrl.config.settings import RunConfig
from reasonrl.engines import EngineInputs, Request
from reasonrl.errors import RunError
from reasonrl.learner import Learner
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.files.checkpoint import BUFFER_FILE, load_buffer
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.plan import plan_run
from reasonrl.run.start import fork_run, resume_run, start_run
from reasonrl.run.tasks import load_tasks, problem_order
from reasonrl.types import Trajectory

RUN = """\
name: {name}
model: tiny
task: {{name: arithmetic, params: {{num_problems: 200, min_terms: 3, max_terms: 3}}}}
template: plain
rewards: [./length.py:length]
algorithm: {{preset: grpo}}
rollout: {{engine: "{engine}", async_steps: 3, prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 12}}
learner: {{learning_rate: 3e-4, minibatch_sequences: 4}}
evaluation:
  suites: [{{name: arithmetic, params: {{num_problems: 4}}, template: plain, max_new_tokens: 12}}]
  every: 2
run: {{steps: 5, checkpoint_every: 1, keep_checkpoints: 20}}
"""
LENGTH = """\
def length(rollout) -> float:
    return float(len(rollout.completion.token_ids) % 7 + rollout.completion.sample_index / 10)
"""
"""A reward by which every group teaches something, so that every step makes its 2 updates."""

COPY = "copies:copy_engine"


class Uneven(CopyEngine):
    """Samples some completions long after others, so that groups do not finish in their order."""

    async def generate(self, request: Request) -> Trajectory:
        sampled = await super().generate(request)
        await asyncio.sleep(0.05 * (request.seed % 5 == 0))
        return sampled


def uneven_engine(inputs: EngineInputs) -> Uneven:
    """Start in place of vLLM: ``rollout.engine=test_sampling_ahead:uneven_engine``."""
    return Uneven(inputs.model, inputs.tokenizer, inputs.compute)


UNEVEN = f"{__name__}:uneven_engine"


def write_run(name: str, engine: str = UNEVEN, text: str = RUN) -> Path:
    Path("length.py").write_text(LENGTH)
    path = Path(f"{name}.yaml")
    path.write_text(text.format(name=name, engine=engine))
    return path


def train(name: str, *overrides: str, engine: str = UNEVEN) -> Path:
    """Train in this process; return the run's folder."""
    start_run(write_run(name, engine), overrides, [], argv=["test"])
    return Path("runs", name)


def metrics(run: Path, name: str) -> list[float]:
    """One metric of every step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def used(run: Path) -> list[str]:
    """The problems of all steps, in the order in which they were learned from, those left out included."""
    found = list[str]()
    for path in sorted(run.glob("rollouts/step_*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found += dict.fromkeys(f"{line['group_id']}/{line['group_index']}" for line in lines)
    return [name.partition("/")[0] for name in found]


def stream(run: Path, count: int, first: int = 0) -> list[str]:
    """The first problems of a run's order."""
    config = RunDirectory.open(run).config
    assert isinstance(config, RunConfig)
    return [problem.id for problem in problem_order(config, load_tasks(config, Plugins())).at(first, count)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("straight"))
        return train("straight").absolute()


@pytest.mark.slow
def test_every_problem_is_learned_from_once_within_the_bound(straight: Path) -> None:
    assert sorted(used(straight)) == sorted(stream(straight, 10))
    assert max(metrics(straight, "staleness/max")) <= 2 * 3 * 2  # twice 3 steps of 2 updates
    assert metrics(straight, "staleness/max")[-1] >= 2
    assert max(metrics(straight, "staleness/mixed")) == 0  # weights wait for this engine's completions
    assert metrics(straight, "groups/too_old") == [0.0] * 5
    assert all(count <= 6 for count in metrics(straight, "rollout/buffered_groups"))
    assert json.loads((straight / "manifest.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_evaluations_are_measured_with_one_policy_version_while_sampling_goes_on(straight: Path) -> None:
    assert sorted(path.name for path in straight.glob("evals/*")) == [f"step_{step:06d}" for step in (0, 2, 4, 5)]


def test_every_checkpoint_says_what_is_begun_and_not_used(straight: Path) -> None:
    for step in range(1, 6):
        state = load_buffer(straight / "checkpoints" / f"step_{step:06d}")
        left = [*state.unfinished, *(group.position for group in state.finished)]
        assert len(left) == 2 * min(3, 5 - step)
        assert state.next_position == min(2 * (step + 3), 10)


@pytest.fixture
def copied(straight: Path, in_folder: Path) -> Path:
    """A copy of the run, to be gone on with."""
    Path("length.py").write_text(LENGTH)
    shutil.copytree(straight, in_folder / "runs" / "straight")
    return in_folder / "runs" / "straight"


def stop_after(run: Path, step: int) -> None:
    """Leave a run as if it had been killed after a checkpoint."""
    for later in range(step + 1, 6):
        shutil.rmtree(run / "checkpoints" / f"step_{later:06d}")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "interrupted"}))


@pytest.mark.slow
def test_a_run_goes_on_with_what_was_sampled_and_can_be_made_longer(copied: Path) -> None:
    stop_after(copied, 2)
    resume_run(copied, ["run.steps=6"], [])
    assert sorted(used(copied)) == sorted(stream(copied, 12))


@pytest.mark.slow
def test_a_finished_run_is_made_longer(copied: Path) -> None:
    resume_run(copied, ["run.steps=7"], [])
    assert sorted(used(copied)) == sorted(stream(copied, 14))


@pytest.mark.slow
def test_a_run_that_is_made_shorter_keeps_what_it_did_not_use_and_uses_it_later(copied: Path) -> None:
    stop_after(copied, 2)
    resume_run(copied, ["run.steps=3"], [])
    assert load_buffer(copied / "checkpoints" / "step_000003").next_position == 10
    resume_run(copied, ["run.steps=6"], [])
    assert sorted(used(copied)) == sorted(stream(copied, 12))


def test_a_buffer_that_is_gone_is_refused_by_name(copied: Path) -> None:
    stop_after(copied, 2)
    folder = copied / "checkpoints/step_000002"
    (folder / BUFFER_FILE).unlink()
    manifest = json.loads((folder / "checkpoint.json").read_text())
    manifest["parts"].pop(BUFFER_FILE)
    (folder / "checkpoint.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"step_000002: lacks buffer\.json, the groups that were sampled ahead"):
        resume_run(copied, [], [])


@pytest.mark.slow
def test_a_fork_goes_on_where_all_problems_before_were_used(copied: Path) -> None:
    fork_run(f"{copied}@2", ["name=forked", "run.steps=1"], [], argv=["test"], order="continue")
    first = RunDirectory.open(Path("runs/forked")).manifest.parent["position"]  # type: ignore[index]  # it is a fork
    before = stream(copied, int(first))
    assert set(before) <= set(used(copied)[:4])
    assert sorted(used(Path("runs/forked"))) == sorted(stream(copied, 2, int(first)))


@pytest.mark.slow
def test_a_rolled_back_run_uses_every_problem_once(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, calls = Learner._step, iter(range(1, 1000))

    def refuse(self: Learner, rate: float) -> float:
        if next(calls) == 6:
            next(self.model.parameters()).grad.fill_(torch.nan)  # type: ignore[union-attr]  # it has one here
        return step(self, rate)

    monkeypatch.setattr(Learner, "_step", refuse)
    run = train("one", "alarms.not_finite=rollback")
    assert list(run.glob("rollouts/rollback_1_step_*.jsonl"))
    assert sorted(used(run)) == sorted(stream(run, 10))


@pytest.mark.slow
def test_a_run_that_is_killed_uses_every_problem_once(in_folder: Path) -> None:
    write_run("killed", COPY)
    places = [("update", 5), ("sampling", 15), ("checkpoint half written", 1), ("checkpoint not listed", 1)]
    for number, (place, count) in enumerate(places):
        file = None if number else "killed.yaml"
        assert run_child(in_folder, file, place, count) == -signal.SIGKILL
    assert run_child(in_folder, None) == 0
    run = in_folder / "runs" / "killed"
    assert sorted(used(run)) == sorted(stream(run, 10))


@pytest.mark.slow
def test_with_refills_nothing_is_lost_or_used_twice(in_folder: Path) -> None:
    text = RUN.replace("preset: grpo", "preset: grpo, refill_attempts: 2").replace(
        "./length.py:length", "numeric_answer"
    )
    write_run("killed", COPY, text)
    assert run_child(in_folder, "killed.yaml", "rollouts", 3) == -signal.SIGKILL
    assert run_child(in_folder, None) == 0
    run = in_folder / "runs" / "killed"
    state = load_buffer(run / "checkpoints" / "step_000005")
    left = [*state.unfinished, *(group.position for group in state.finished)]
    names = stream(run, state.next_position)
    assert sorted([*used(run), *(names[position] for position in left)]) == sorted(names)


@pytest.mark.slow
def test_ctrl_c_ends_after_the_step_and_the_run_goes_on(in_folder: Path) -> None:
    write_run("killed", COPY, RUN.replace("checkpoint_every: 1", "checkpoint_every: 9").replace("steps: 5", "steps: 9"))
    process = start_child(in_folder, "killed.yaml")
    run = in_folder / "runs" / "killed"
    interrupt(process.pid, after=run / "rollouts/step_000002.jsonl")
    process.join(timeout=60)
    assert process.exitcode == 0
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"
    assert run_child(in_folder, None) == 0
    assert sorted(used(run)) == sorted(stream(run, 18))


@pytest.mark.slow
def test_a_reward_that_fails_stops_the_run_with_its_cause(in_folder: Path) -> None:
    Path("bad.py").write_text(
        "calls = []\ndef score(rollout):\n    calls.append(1)\n    assert len(calls) <= 16, 'broken'\n    return 1.0\n"
    )
    text = RUN.replace("./length.py:length", "./bad.py:score")
    path = write_run("one", text=text)
    with pytest.raises(RunError, match=r"bad\.py:score.*failed on \d of 8 samples of this step.*broken"):
        start_run(path, ["evaluation.rewards=none"], [], argv=["test"])


@pytest.mark.slow
def test_the_plan_says_how_far_ahead(in_folder: Path) -> None:
    plan = plan_run(load_run(write_run("one", COPY)), Plugins()).text()
    assert "sampling runs 3 steps ahead (async_steps); what is learned from is at most 12 weight updates old" in plan


@pytest.mark.vllm
@pytest.mark.parametrize("engine", ["vllm", "vllm_server"])
def test_vllm_samples_ahead_and_a_killed_run_uses_every_problem_once(in_folder: Path, engine: str) -> None:
    text = RUN.replace("steps: 5", "steps: 6") + "vllm: {{sleep: false}}\n"
    write_run("killed", engine, text)
    assert run_child(in_folder, "killed.yaml", "update", 7) == -signal.SIGKILL
    assert run_child(in_folder, None) == 0
    run = in_folder / "runs" / "killed"
    assert sorted(used(run)) == sorted(stream(run, 12))
    assert 0 < metrics(run, "staleness/max")[-1] <= 12
    assert max(metrics(run, "push/mismatch_max")) < 1e-3
