"""Runs that learn from a teacher: they reach it, go on as they were, and may have it in a server or on ranks."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from builders import letter_tokenizer, run_config, small_llama, training_samples, untimed
from engine_cases import model_for_engines
from test_resume import run_child

from reasonrl.config.distillation import DistillationSettings
from reasonrl.distributed.calls import Ranks
from reasonrl.errors import ConfigError, ModelError
from reasonrl.learner.distillation import TeacherModel
from reasonrl.learner.logprobs import logprob_model
from reasonrl.models.compute import Compute
from reasonrl.models.load import load_model, load_tokenizer
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.run.distillation import check_teacher, open_teacher, require_fitting_teacher, resolve_teacher
from reasonrl.run.files.rollouts import read_rollouts
from reasonrl.run.plan import plan_run
from reasonrl.run.start import start_run
from reasonrl.types import TeacherTokens

RUN: Mapping[str, Any] = {
    "name": "one",
    "task": {"name": "arithmetic", "params": {"num_problems": 60}},
    "template": "plain",
    "rollout": {"prompts_per_step": 8, "samples_per_prompt": 1, "max_new_tokens": 12},
    "learner": {"learning_rate": 1e-2, "adam_epsilon": 1e-4},
    "alarms": {"truncation": "off", "repetition": "off"},
    "run": {"steps": 24, "checkpoint_every": 24},
}
"""A run without rewards and without siblings. Any: values of a run file."""


def save(folder: Path, seed: int, *, other: bool = False) -> None:
    """Write a small random model; one of the ``other`` kind has one more token."""
    tokenizer, model = letter_tokenizer(), small_llama(seed=seed)
    if other:
        tokenizer.add_tokens(["<more>"])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make(folder: Path, **changes: Any) -> Path:
    """Write a student, a teacher, and a run file. Any: values of a run file."""
    save(folder / "student", 0)
    save(folder / "teacher", 5)
    run = {**RUN, "model": str(folder / "student"), "distillation": {"teacher": str(folder / "teacher")}, **changes}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run))
    return path


def metrics(run: Path) -> list[dict[str, Any]]:
    """What a run measured of its steps, without what a clock decides. Any: JSON values."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [untimed(line) for line in lines if line["step"]]


@pytest.fixture
def here(in_folder: Path) -> Path:
    return in_folder


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [None, 8])
def test_a_run_without_rewards_moves_the_policy_to_its_teacher(here: Path, top_k: int | None) -> None:
    teacher = {"teacher": str(here / "teacher"), "top_k": top_k}
    start_run(make(here, distillation=teacher), [], [], argv=["test"])
    steps = metrics(here / "runs/one")
    first, last = (sum(line["distillation/kl"] for line in part) / 5 for part in (steps[:5], steps[-5:]))
    assert last < 0.6 * first
    assert all(line["groups/count"] == 8 for line in steps)
    if top_k:
        assert steps[-1]["distillation/kl_top_k"] < 0.6 * steps[0]["distillation/kl_top_k"]
    manifest = json.loads((here / "runs/one/manifest.json").read_text())
    assert manifest["status"] == "finished"
    record = next(read_rollouts(here / "runs/one/rollouts/step_000001.jsonl"))
    assert record.tokens is not None
    assert len(record.tokens.teacher_logprobs) == len(record.tokens.logprobs) > 0
    assert isinstance(record.advantage, tuple) is (top_k is None)
    assert_is_a_teacher(here)


def assert_is_a_teacher(folder: Path) -> None:
    """The run that has ended is itself a teacher: its checkpoint, for runs of its template."""
    teacher = {"teacher": str(folder / "runs/one")}
    config = run_config(**{**RUN, "model": str(folder / "student"), "rewards": []}, distillation=teacher)
    resolved = resolve_teacher(config, installed_plugins()).distillation
    assert resolved is not None
    assert resolved.teacher == str(folder / "runs/one/checkpoints/step_000024")
    with pytest.raises(ModelError, match=r"distillation.teacher: .* was trained with template 'plain'"):
        resolve_teacher(config.model_copy(update={"template": "bare"}), installed_plugins())


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [False, True], ids=["in step", "sampling ahead"])
def test_a_run_with_rewards_and_a_teacher_that_is_killed_ends_as_one_that_was_left_alone(
    here: Path, ahead: bool
) -> None:
    changes = {
        "rewards": [{"name": "./length.py:length", "isolated": False}],
        "rollout": {"prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 8},
        "learner": {"learning_rate": 1e-2, "minibatch_sequences": 4, "epochs": 2},
        "run": {"steps": 8, "checkpoint_every": 2, "keep_checkpoints": 20},
        "distillation": {"teacher": "initial", "reward_weight": 0.5, "top_k": 4},
    }
    (here / "length.py").write_text("def length(rollout) -> float:\n    return len(rollout.text) / 8\n")
    for name in ("straight", "killed"):
        make(here, **changes, name=name).rename(here / f"{name}.yaml")
    calls = [
        ("straight.yaml", None, 0),
        ("killed.yaml", "update", 9),
        (None, "checkpoint not sealed", 1),
        (None, None, 0),
    ]
    codes = [run_child(here, *call, ahead=ahead) for call in calls]
    assert codes == [0, -signal.SIGKILL, -signal.SIGKILL, 0]
    assert metrics(here / "runs/killed") == metrics(here / "runs/straight")
    states = [
        torch.load(here / "runs" / name / "checkpoints/step_000008/learner.pt", weights_only=True)
        for name in ("killed", "straight")
    ]
    assert states[0] == states[1]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_a_teacher_on_two_ranks_teaches_as_in_one_process(here: Path, strategy: str) -> None:
    changes = {"steps": 3, "checkpoint_every": 3}
    path = make(here, name="alone", run=changes, distillation={"teacher": str(here / "teacher"), "top_k": 4})
    assert start_run(path, [], [], argv=["test"]) == "finished"
    command = [sys.executable, "-m", "reasonrl", "train", str(path), "--plain", "--processes=2", "name=ranks"]
    parallel = f"learner.parallel.strategy={strategy}"
    subprocess.run([*command, parallel], check=True, capture_output=True, timeout=200)
    names = ("distillation/kl", "distillation/kl_top_k", "distillation/others", "policy/grad_norm")
    ours, theirs = (metrics(here / "runs" / name) for name in ("ranks", "alone"))
    for name in names:
        assert [line[name] for line in ours] == pytest.approx([line[name] for line in theirs], rel=1e-3, abs=1e-6)


@pytest.mark.slow
def test_the_plan_of_a_run_knows_its_teacher(here: Path) -> None:
    config = run_config(
        **{**RUN, "model": str(here / "student"), "rewards": [], "algorithm": "dr_grpo"},
        distillation={"teacher": str(here / "teacher"), "top_k": 4},
    )
    make(here)
    plan = plan_run(config, installed_plugins())
    assert plan.parts["teacher"] >= sum(each.nbytes for each in small_llama().parameters())
    assert plan.measured is not None


def test_a_teacher_that_is_nowhere_is_refused_by_its_key(here: Path) -> None:
    save(here / "student", 0)
    config = run_config(**{**RUN, "model": str(here / "student"), "rewards": []}, distillation={"teacher": "initial"})
    assert resolve_teacher(config, installed_plugins()) is config
    lost = config.model_copy(update={"distillation": DistillationSettings(teacher=str(here / "nowhere"))})
    with pytest.raises(ModelError, match=r"distillation.teacher: model .*nowhere"):
        check_teacher(lost)


def test_a_teacher_that_sees_less_than_a_completion_is_refused(here: Path) -> None:
    save(here / "student", 0)
    long = {"prompts_per_step": 2, "samples_per_prompt": 2, "max_new_tokens": 300}
    config = run_config(
        **{**RUN, "model": str(here / "student"), "rewards": [], "rollout": long}, distillation={"teacher": "initial"}
    )
    with pytest.raises(ConfigError, match=r"rollout.max_new_tokens is 300, but distillation.teacher, .*can see 256"):
        check_teacher(config)


def test_a_teacher_with_other_tokens_is_refused_by_the_first_difference(here: Path) -> None:
    save(here / "student", 0)
    save(here / "other", 5, other=True)
    config = run_config(
        **{**RUN, "model": str(here / "student"), "rewards": []}, distillation={"teacher": str(here / "other")}
    )
    with pytest.raises(ModelError, match=r"token 49 is '<more>' there and none here.*reasonrl sft"):
        require_fitting_teacher(config, load_tokenizer(str(here / "student")))


@pytest.mark.vllm
def test_a_teacher_in_a_vllm_server_says_what_it_says_in_this_process_also_after_the_server_was_lost(
    here: Path,
) -> None:
    top_k = 6
    for name in ("student", "teacher"):
        model_for_engines().save_pretrained(here / name)
        letter_tokenizer().save_pretrained(here / name)
    served = {"engine": "vllm_server", "vllm": {"dtype": "float32", "cpu_kv_cache_gib": 0.25, "max_model_len": 64}}
    config = run_config(
        **{**RUN, "model": str(here / "student"), "rewards": []},
        distillation={"teacher": str(here / "teacher"), "top_k": top_k, **served},
    )
    samples = training_samples(6)
    with closing(_opened(config, here)) as teacher:
        said = teacher.of_samples(samples)
        assert teacher._replica is not None
        teacher._replica._process.terminate()
        again = teacher.of_samples(samples)
    assert said == again
    model = logprob_model(load_model(str(here / "teacher"), torch.device("cpu")), Compute(), 1.0)
    ours = TeacherModel(model=model, top_k=top_k, vocabulary=49).of_samples(samples, max_tokens=256)
    for their, our in zip(said, ours, strict=True):
        assert their.logprobs == pytest.approx(our.logprobs, abs=1e-4)
        assert len(their.top_ids) == len(our.top_ids)
        assert_same_top(their, our)


def _opened(config: Any, folder: Path) -> Any:
    """The teacher of a run, with its server. Any: a run, and a teacher."""
    return open_teacher(config, load_tokenizer(str(folder / "student")), Ranks({}), Compute())


def assert_same_top(theirs: TeacherTokens, ours: TeacherTokens) -> None:
    """Compare the most probable tokens; two that are equally probable may change places."""
    for their_ids, our_ids, their_logprobs, our_logprobs in zip(
        theirs.top_ids, ours.top_ids, theirs.top_logprobs, ours.top_logprobs, strict=True
    ):
        assert their_logprobs == pytest.approx(our_logprobs, abs=1e-4)
        assert len({*their_ids} & {*our_ids}) >= len(our_ids) - 1
