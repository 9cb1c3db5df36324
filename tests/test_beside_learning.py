"""Evaluations beside learning: they change no number, no kill loses one, and nothing is left running."""

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from builders import reward, run_config
from copies import CopyEngine
from test_resume import NOISE, identical, records, run_child, state

from reasonrl.config.settings import RunConfig
from reasonrl.engines import EngineInputs, Request
from reasonrl.learner import Learner
from reasonrl.run.beside import is_engine_free
from reasonrl.run.start import start_run
from reasonrl.types import TrainingSample, Trajectory

RUN = """\
name: {name}
model: tiny
task: {{name: arithmetic, params: {{num_problems: 60, min_terms: 3, max_terms: 3}}}}
template: plain
rewards: [random]
rollout: {{engine: {engine}, prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 12}}
learner: {{learning_rate: 1e-3, minibatch_sequences: 8}}
evaluation:
  suites:
    - {{name: arithmetic, params: {{num_problems: 6}}, template: plain, max_new_tokens: 12, num_samples: 2,
        temperature: 1.0}}
  every: 2
  beside_learning: {beside}
run: {{steps: 5, checkpoint_every: 1, keep_checkpoints: 20}}
"""
THREAD = "evaluation"


class Watched(CopyEngine):
    """Notes which threads sampled with which weights."""

    seen: ClassVar[set[tuple[str, int]]] = set()

    async def generate(self, request: Request) -> Trajectory:
        Watched.seen.add((threading.current_thread().name, self.policy_version))
        return await super().generate(request)


def watched_engine(inputs: EngineInputs) -> Watched:
    return Watched(inputs.model, inputs.tokenizer, inputs.compute)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    Watched.seen = set()
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == THREAD]


def written(name: str, beside: str = "auto", engine: str = "copies:copy_engine") -> Path:
    path = Path(f"{name}.yaml")
    path.write_text(RUN.format(name=name, beside=beside, engine=engine))
    return path


def trained(name: str, beside: str = "auto", *overrides: str, engine: str = f"{__name__}:watched_engine") -> Path:
    assert start_run(written(name, beside, engine), overrides, [], argv=["test"]) == "finished"
    return Path("runs", name)


@pytest.mark.slow
def test_an_evaluation_beside_learning_changes_no_number_of_the_run_and_none_of_its_own(in_folder: Path) -> None:
    beside = trained("beside")
    seen, Watched.seen = Watched.seen, set()
    in_place = trained("in_place", "never")
    versions = [state(beside, step)["learner"]["policy_version"] for step in (2, 4)]
    assert {version for thread, version in seen if thread == THREAD} == set(versions)
    assert 0 < versions[0] < versions[1]
    assert THREAD not in {thread for thread, _ in Watched.seen}
    assert records(beside) == records(in_place)
    assert all(identical(state(beside, step), state(in_place, step)) for step in (2, 3, 5))
    lines = [json.loads(line) for line in (beside / "metrics.jsonl").read_text().splitlines()]
    order = [line["step"] for line in lines if "heldout/arithmetic" in line or "reward/mean" in line]
    assert order == [0, 1, 2, 2, 3, 4, 4, 5, 5], "each figure comes before the next step's"


@pytest.mark.slow
def test_the_learner_learns_while_the_suite_is_measured(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the other to have begun: one after the other would never end."""
    learning, measuring, update = threading.Event(), threading.Event(), Learner.update
    steps = iter(range(1, 6))

    def learn(self: Learner, samples: Sequence[TrainingSample]) -> dict[str, float]:
        if next(steps) == 3:
            learning.set()
            assert measuring.wait(60), "nothing is measured meanwhile"
        return update(self, samples)

    async def generate(self: Watched, request: Request) -> Trajectory:
        if threading.current_thread().name == THREAD:
            measuring.set()
            assert learning.wait(60), "nothing is learned meanwhile"
        return await CopyEngine.generate(self, request)

    monkeypatch.setattr(Learner, "update", learn)
    monkeypatch.setattr(Watched, "generate", generate)
    trained("one", "auto", "run.steps=3")


def test_a_step_that_fails_ends_what_is_measured_beside_it(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measuring, steps, update = threading.Event(), iter(range(1, 6)), Learner.update

    def fail_at_third(self: Learner, samples: Sequence[TrainingSample]) -> dict[str, float]:
        if next(steps) == 3:
            assert measuring.wait(60)
            raise MemoryError("no room")
        return update(self, samples)

    async def generate(self: Watched, request: Request) -> Trajectory:
        if threading.current_thread().name == THREAD:
            measuring.set()
        return await CopyEngine.generate(self, request)

    monkeypatch.setattr(Learner, "update", fail_at_third)
    monkeypatch.setattr(Watched, "generate", generate)
    with pytest.raises(MemoryError):
        trained("one")
    (run,) = Path("runs").iterdir()
    assert json.loads((run / "manifest.json").read_text())["status"] == "failed"
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(timeout=10)


@pytest.mark.slow
def test_what_fails_in_a_suite_ends_the_run_as_it_would_in_place(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def generate(self: Watched, request: Request) -> Trajectory:
        if threading.current_thread().name == THREAD:
            raise ValueError("lost")
        return await CopyEngine.generate(self, request)

    monkeypatch.setattr(Watched, "generate", generate)
    with pytest.raises(Exception, match="lost"):
        trained("one")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody killed, trained in a process of its own."""
    folder = tmp_path_factory.mktemp("straight")
    (folder / "straight.yaml").write_text(RUN.format(name="straight", beside="auto", engine="copies:copy_engine"))
    assert run_child(folder, "straight.yaml") == 0
    return folder / "runs" / "straight"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("evaluation begun", 2),
        ("update", 10),
        ("evaluation not written", 2),
        ("metrics", 5),
    ],
)
def test_a_run_killed_while_it_is_measured_loses_no_evaluation(
    straight: Path, tmp_path: Path, place: str, count: int
) -> None:
    (tmp_path / "killed.yaml").write_text(RUN.format(name="killed", beside="auto", engine="copies:copy_engine"))
    assert run_child(tmp_path, "killed.yaml", place, count) != 0
    assert run_child(tmp_path, None) == 0
    killed = tmp_path / "runs" / "killed"
    assert records(killed) == records(straight)
    assert identical(state(killed, 5), state(straight, 5))


def free(config: RunConfig, *, isolated: bool = True, shares_weights: bool = False) -> bool:
    used = reward(lambda text: 1.0, isolated=isolated)
    return is_engine_free(config, [used], shares_weights=shares_weights)


def test_an_engine_is_free_where_it_has_weights_of_its_own_and_neither_sleeps_nor_samples_ahead() -> None:
    server = run_config(rollout={"engine": "vllm_server"})
    assert free(server)
    assert not free(server, shares_weights=True)
    assert not free(run_config(rollout={"engine": "vllm"})), "it gives the learner its memory"
    assert free(run_config(rollout={"engine": "vllm"}, vllm={"sleep": False}))
    assert not free(run_config(rollout={"engine": "vllm_server", "async_steps": 1}, algorithm={"importance": "token"}))


def test_a_reward_that_needs_this_process_is_measured_with_in_place() -> None:
    suites = ["arithmetic"]
    server = {"engine": "vllm_server"}
    assert not free(run_config(rollout=server, evaluation={"suites": suites}), isolated=False)
    assert free(run_config(rollout=server, evaluation={"suites": suites, "rewards": "none"}), isolated=False)
    assert not free(run_config(rollout=server, evaluation={"suites": suites, "beside_learning": "never"}))


@pytest.mark.slow
def test_a_reward_that_draws_from_the_process_s_generators_changes_no_number_of_the_run(in_folder: Path) -> None:
    Path("noise.py").write_text(NOISE)
    rewards = "rewards=[random, {name: ./noise.py:noise, weight: 0.01, isolated: false}]"
    scored = trained("scored", "auto", rewards, "run.steps=3")
    assert THREAD not in {thread for thread, _ in Watched.seen}
    without = trained("without", "auto", rewards, "run.steps=3", "evaluation.rewards=none")
    assert identical(state(scored, 3), state(without, 3))
    assert "heldout/arithmetic/reward_mean" in (scored / "metrics.jsonl").read_text()
    assert "heldout/arithmetic/reward_mean" not in (without / "metrics.jsonl").read_text()
    assert not list(without.rglob("disagreements.md"))


@pytest.mark.vllm
def test_a_server_measures_while_the_learner_learns(in_folder: Path) -> None:
    server = ("vllm.cpu_kv_cache_gib=0.25", "run.steps=4")
    beside, in_place = (
        trained(name, setting, *server, engine="vllm_server") for name, setting in (("b", "auto"), ("i", "never"))
    )
    assert records(beside) == records(in_place)
