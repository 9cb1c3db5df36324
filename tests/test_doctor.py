"""The doctor passes a sound run, and finds each fault by the check that is meant for it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from builders import run_config
from typer.testing import CliRunner

from reasonrl import cli
from reasonrl.assembly import Machinery, build, gather, sampler
from reasonrl.config import RunConfig
from reasonrl.doctor import checks
from reasonrl.engines import Request, SamplingParams
from reasonrl.plugins import Plugins
from reasonrl.rollouts import Sampler
from reasonrl.types import Completion

RUN = """\
name: one
model: tiny
task: {name: arithmetic, params: {num_problems: 50, min_terms: 3, max_terms: 3}}
template: plain
rewards: [numeric_answer]
rollout: {prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 12}
learner: {learning_rate: 1e-3, weight_decay: 0.1, minibatch_sequences: 4}
run: {steps: 4}
"""


def examine(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code of the command and what it printed."""
    (folder / "one.yaml").write_text(RUN)
    result = CliRunner().invoke(cli.app, ["doctor", "one.yaml", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_sound_run_gets_its_report_and_passes_every_check_without_a_trace(in_folder: Path) -> None:
    code, shown = examine(in_folder, "--steps", "2")
    assert code == 0
    assert "# Start-up report of one" in shown
    lines = shown[shown.index("ok ") :].splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok     weights at learning rate 0",
        "ok     ratio at learning rate 0",
        "ok     sampler and learner agree",
        "ok     their difference stays",
        "ok     the same seeds give the same tokens",
    ]
    assert os.listdir() == ["one.yaml"]


def test_bfloat16_has_limits_of_its_own(in_folder: Path) -> None:
    code, shown = examine(in_folder, "--steps", "2", "model.compute_dtype=bfloat16")
    assert "limits of bfloat16" in shown
    assert code == 0


def test_a_run_without_completions_to_learn_from_fails_and_says_so(in_folder: Path) -> None:
    code, shown = examine(in_folder, "--steps", "2", "rollout.max_new_tokens=1", "algorithm.truncated=drop")
    assert code == 5
    assert "FAILED completions reach the learner: a step had none. Raise rollout.max_new_tokens." in shown


@pytest.fixture
def still() -> tuple[RunConfig, Machinery, Sampler]:
    """A machinery that stands still, and what samples for it."""
    config = run_config(
        task={"name": "arithmetic", "params": {"num_problems": 50}},
        rollout={"prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 12},
        learner={"learning_rate": 0.0, "minibatch_sequences": 4},
    )
    plugins = Plugins()
    material = gather(config, plugins)
    machinery = build(config, material, plugins)
    return config, machinery, sampler(config, material, machinery)


Still = tuple[RunConfig, Machinery, Sampler]


def failed(machinery: Machinery, samples: Sampler, steps: int = 2) -> list[str]:
    """The names of the checks that fail."""
    first = next(samples.batches(range(1, 2)))
    return [check.name for check in checks(machinery, samples, first, steps) if not check.passed]


def test_a_machinery_that_stands_still_has_no_fault(still: Still) -> None:
    assert failed(*still[1:]) == []


def test_weights_that_move_are_found(still: Still) -> None:
    _, machinery, samples = still
    weight = next(machinery.learner.model.parameters())

    def nudge(*_: object) -> None:
        with torch.no_grad():
            weight[0, 0] += 1e-6

    machinery.learner.model.register_forward_pre_hook(nudge)
    assert "weights at learning rate 0" in failed(machinery, samples)


def test_randomness_in_the_forward_pass_is_found(still: Still) -> None:
    _, machinery, samples = still
    machinery.learner.model.get_input_embeddings().register_forward_hook(
        lambda module, args, output: output + 0.1 * torch.randn_like(output)
    )
    assert {
        "ratio at learning rate 0",
        "sampler and learner agree",
        "the same seeds give the same tokens",
    } <= set(failed(machinery, samples))


def test_a_sampler_at_another_temperature_is_found(still: Still) -> None:
    config, machinery, samples = still
    hotter = replace(samples, settings=config.rollout.model_copy(update={"temperature": 1.3}))
    assert failed(machinery, hotter) == ["sampler and learner agree"]


def test_a_sampler_that_drifts_away_is_found(still: Still) -> None:
    _, machinery, samples = still
    sample, drift = machinery.engine.sample, count()

    def drifting(requests: Sequence[Request], params: SamplingParams) -> list[tuple[Completion, ...]]:
        off = 1e-5 * next(drift)
        return [
            tuple(replace(member, logprobs=tuple(value - off for value in member.logprobs)) for member in members)
            for members in sample(requests, params)
        ]

    machinery.engine.sample = drifting  # type: ignore[method-assign]  # the fault
    assert failed(machinery, samples, steps=3) == ["their difference stays"]
