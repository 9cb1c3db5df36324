"""The doctor passes a sound run, and finds each fault by the check that is meant for it."""

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import run_config
from copies import CopyEngine
from faults import Faulty, wrong
from faults import examine as examine_engine
from typer.testing import CliRunner

from reasonrl import commands
from reasonrl.engines import Engine, Request
from reasonrl.errors import ConfigError
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.environment import SingleTurn
from reasonrl.run.build import RunComponents, build_components
from reasonrl.run.doctor import Check, checks
from reasonrl.run.inputs import load_inputs
from reasonrl.types import Trajectory

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
    result = CliRunner().invoke(commands.app, ["doctor", "one.yaml", *arguments])
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
def still() -> RunComponents:
    """Components that stand still; faults are put into the module's own forward pass."""
    config, plugins = run_config(**STILL, model={"name": "tiny", "fast_path": False}), Plugins()
    return build_components(config, load_inputs(config, plugins), plugins)


def failed(components: RunComponents, steps: int = 2) -> list[str]:
    """The names of the checks that fail."""
    first = next(components.sampler.batches(range(1, 2)))
    return [check.name for check in checks(components, first, steps) if not check.passed]


def sampling_otherwise(components: RunComponents, **changes: Any) -> RunComponents:
    """Components whose sampler has other parts. Any: fields of GroupSampler."""
    groups = replace(components.sampler.groups, **changes)
    return replace(components, sampler=replace(components.sampler, groups=groups))


def test_components_that_stand_still_have_no_fault(still: RunComponents) -> None:
    assert failed(still) == []


def test_weights_that_move_are_found(still: RunComponents) -> None:
    weight = next(still.learner.model.parameters())

    def nudge(*_: object) -> None:
        with torch.no_grad():
            weight[0, 0] += 1e-6

    still.learner.model.register_forward_pre_hook(nudge)
    assert "weights at learning rate 0" in failed(still)


def test_randomness_in_the_forward_pass_is_found(still: RunComponents) -> None:
    still.learner.model.get_input_embeddings().register_forward_hook(
        lambda module, args, output: output + 0.1 * torch.randn_like(output)
    )
    assert {
        "ratio at learning rate 0",
        "sampler and learner agree",
        "the same seeds give the same tokens",
    } <= set(failed(still))


def test_a_sampler_at_another_temperature_is_found(still: RunComponents) -> None:
    environment = still.sampler.groups.environment
    assert isinstance(environment, SingleTurn)
    hotter = replace(environment, params=replace(environment.params, temperature=1.3))
    assert failed(sampling_otherwise(still, environment=hotter)) == ["sampler and learner agree"]


def test_a_sampler_that_drifts_away_is_found(still: RunComponents) -> None:
    class Drifting(Faulty):
        async def generate(self, request: Request) -> Trajectory:
            completion = await super().generate(request)
            off = 1e-6 * next(self.drift)
            return replace(completion, logprobs=tuple(value - off for value in completion.logprobs))

        drift = count()

    drifting = sampling_otherwise(still, engine=Drifting(still.engine))
    assert failed(drifting, steps=3) == ["their difference stays"]


# Engines with weights of their own

OWN_WEIGHTS = [
    "engine and learner agree",
    "they agree at temperature 0.7",
    "weights that are not pushed are noticed",
    "new weights arrive",
    "the old weights come back",
    "they agree after the first and the last of 528 tokens",
    "every end of sequence ends a completion",
    "a stop string ends a completion",
]
SHARED = [
    "weights at learning rate 0",
    "ratio at learning rate 0",
    "sampler and learner agree",
    "their difference stays",
    "the same seeds give the same tokens",
]

STILL = {
    "task": {"name": "arithmetic", "params": {"num_problems": 50}},
    "rollout": {"prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 12},
    "learner": {"learning_rate": 0.0, "minibatch_sequences": 4},
}


def examined(settings: Any = None, **faults: Any) -> dict[str, Check]:
    """The checks of a run whose engine has faults. Any: what a run file may say, and what Faulty takes."""
    return examined_with(lambda engine: Faulty(engine, **faults), settings)


def examined_with(make: Callable[[CopyEngine], Engine], settings: Any = None) -> dict[str, Check]:
    """The checks of a run with an engine made of a sound one. Any: what a run file may say."""
    config = run_config(**STILL, **(settings or {}))
    return examine_engine(config, lambda components: make(CopyEngine(components.learner.model, components.tokenizer)))


def test_a_sound_engine_with_weights_of_its_own_passes_every_check() -> None:
    found = examined()
    assert list(found) == OWN_WEIGHTS + SHARED
    assert wrong(found) == []


def test_wider_limits_need_more_noise_to_notice_stale_weights() -> None:
    found = examined(settings={"vllm": {"dtype": "bfloat16"}})
    assert wrong(found) == []
    assert "limits 0.05 and 1" in found["engine and learner agree"].line()
    assert "with noise of 10%" in found["weights that are not pushed are noticed"].line()


def test_a_corrupted_layer_is_found_and_told_from_stale_weights() -> None:
    found = examined(corrupted=lambda push: push == 1)
    assert wrong(found)[0] == "engine and learner agree"
    assert not set(wrong(found)[1:]) & set(OWN_WEIGHTS)
    assert "a tensor arrived wrongly" in found["engine and learner agree"].line()


def test_a_layer_that_is_always_corrupted_is_found() -> None:
    found = examined(corrupted=lambda push: True)
    assert "engine and learner agree" in wrong(found)
    assert "computes another function of the same weights" in found["engine and learner agree"].line()


def test_another_temperature_than_the_runs_is_found() -> None:
    found = examined(temperature=0.8)
    assert {"engine and learner agree", "they agree at temperature 0.7"} <= set(wrong(found))
    assert "at temperature 0.8 the learner agrees" in found["engine and learner agree"].line()
    assert "at temperature 0.56 the learner agrees" in found["they agree at temperature 0.7"].line()


def test_a_temperature_that_is_ignored_is_found_though_it_is_the_runs() -> None:
    class Fixed(Faulty):
        async def generate(self, request: Request) -> Trajectory:
            fixed = replace(request.params, temperature=1.0 if request.params.temperature else 0.0)
            return await super().generate(replace(request, params=fixed))

    found = examined_with(Fixed)
    assert wrong(found) == ["they agree at temperature 0.7"]
    assert "at temperature 1 the learner agrees" in found["they agree at temperature 0.7"].line()


def test_a_lost_push_is_found() -> None:
    found = examined(lost=lambda push: push == 2)
    assert wrong(found) == ["new weights arrive"]
    assert "The engine had weights 0 where the learner has 1" in found["new weights arrive"].line()
    assert "a push was lost" in found["new weights arrive"].line()


def test_an_end_of_sequence_that_does_not_end_is_found() -> None:
    def endless(engine: CopyEngine) -> Engine:
        vars(engine)["end_ids"] = frozenset()
        return engine

    assert "every end of sequence ends a completion" in wrong(examined_with(endless))


def test_a_stop_string_that_does_not_stop_is_found() -> None:
    class Unstopped(Faulty):
        async def generate(self, request: Request) -> Trajectory:
            return await super().generate(replace(request, params=replace(request.params, stop=())))

    assert wrong(examined_with(Unstopped)) == ["a stop string ends a completion"]


def test_an_engine_can_be_named_on_the_command_line(in_folder: Path) -> None:
    code, _ = examine(in_folder, "--steps", "2", "--engine", "local")
    assert code == 0
    (in_folder / "one.yaml").write_text(RUN)
    with pytest.raises(ConfigError, match=r"rollout.engine"):
        CliRunner().invoke(commands.app, ["doctor", "one.yaml", "--engine", "vlm"], catch_exceptions=False)
