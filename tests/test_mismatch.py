"""Every push is verified: a run whose engine is not the learner's policy stops, and says why."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from copies import CopyEngine
from faults import Faulty, MakeEngine, Trained, config_of, with_engine

from reasonrl.config.settings import RunConfig
from reasonrl.errors import EngineError
from reasonrl.models.compute import Compute
from reasonrl.models.load import load_tokenizer
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.build import RunComponents, build_components
from reasonrl.run.inputs import load_inputs
from reasonrl.run.mismatch import MISMATCH_LIMITS, MismatchCheck, mismatch_check


def copied(components: RunComponents) -> CopyEngine:
    """An engine with weights of its own."""
    return CopyEngine(components.learner.model, components.tokenizer)


def faulty(**faults: Any) -> MakeEngine:
    """A way to make an engine with faults. Any: what Faulty takes."""
    return lambda components: Faulty(copied(components), **faults)


def test_a_sound_run_logs_the_difference_at_its_start_and_every_so_many_steps(tmp_path: Path) -> None:
    trained = Trained(tmp_path, copied, steps=4, verify_every=2)
    assert trained.run() == "finished"
    compared = [row for row in trained.rows() if "push/mismatch_max" in row]
    assert [row["step"] for row in compared] == [0, 2, 4]
    assert all(row["push/mismatch_mean"] <= row["push/mismatch_max"] < 1e-4 for row in compared)
    assert [row["step"] for row in trained.rows()] == [0, 1, 2, 3, 4]
    assert trained.rows()[-1]["policy/grad_norm"] > 0


def test_an_engine_that_samples_from_the_learners_module_needs_no_comparison(tmp_path: Path) -> None:
    trained = Trained(tmp_path, None, steps=1, verify_every=1)
    assert trained.run() == "finished"
    assert not any(name.startswith("push/") for row in trained.rows() for name in row)


def test_a_corrupted_layer_stops_the_run_before_its_first_step(tmp_path: Path) -> None:
    trained = Trained(tmp_path, faulty(corrupted=lambda push: push == 1))
    message = trained.stops()
    assert message.startswith("after step 0: log-probabilities of the same tokens in engine and learner differ by ")
    assert "limits 0.001 and 0.001" in message
    assert "though the engine called them 0 before as well: a tensor arrived wrongly" in message
    (row,) = trained.rows()
    assert row["push/mismatch_max"] > 1e-3


def test_a_layer_that_is_corrupted_later_stops_the_run_at_the_next_comparison(tmp_path: Path) -> None:
    trained = Trained(tmp_path, faulty(corrupted=lambda push: push == 3), verify_every=2)
    message = trained.stops()
    assert message.startswith("after step 2: ")
    assert "though the engine called them 2 before as well: a tensor arrived wrongly" in message
    assert f"--resume {trained.directory.path}" in message
    assert [row["step"] for row in trained.rows() if "push/mismatch_max" in row] == [0, 2]
    assert max(trained.directory.checkpoints()) == 1


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.3])
def test_another_temperature_is_named(tmp_path: Path, factor: float) -> None:
    message = Trained(tmp_path, faulty(temperature=factor)).stops()
    assert f"at temperature {factor} the learner agrees" in message
    assert "not at the 1 it is asked for" in message


def test_a_push_that_was_lost_is_found_though_the_weights_hardly_moved(tmp_path: Path) -> None:
    trained = Trained(tmp_path, faulty(lost=lambda push: push == 2), verify_every=1, learning_rate=1e-9)
    message = trained.stops()
    assert message.startswith("after step 1: ")
    assert trained.rows()[-1]["push/mismatch_max"] < 1e-4
    assert "The engine had weights 0 where the learner has 1" in message
    assert "a push was lost" in message


def test_completions_of_stale_weights_are_not_learned_from(tmp_path: Path) -> None:
    trained = Trained(tmp_path, faulty(lost=lambda push: push == 2), verify_every=10)
    assert trained.stops().startswith("step 2: completions were sampled with weights 0, where the learner has 1")
    assert [row["step"] for row in trained.rows()] == [0, 1]


def test_an_engine_that_takes_no_weights_is_told_from_one_that_lost_some(tmp_path: Path) -> None:
    message = Trained(tmp_path, faulty(lost=lambda push: push > 1), verify_every=1).stops()
    assert "the engine does not take weights" in message


def test_an_engine_that_computes_something_else_is_neither_stale_nor_at_another_temperature(tmp_path: Path) -> None:
    message = Trained(tmp_path, faulty(corrupted=lambda push: True)).stops()
    assert "Neither pushing the weights once more" in message
    assert "the engine (float32) computes another function of the same weights than the learner (float32)" in message


def test_a_resumed_run_is_compared_at_once_and_its_metrics_stay_as_they_were(tmp_path: Path) -> None:
    trained = Trained(tmp_path, copied, steps=1)
    trained.run()
    before = trained.rows()
    trained.run(done=1)
    assert trained.rows() == before
    engine = trained.components.engine
    assert isinstance(engine, CopyEngine)
    engine.load_weights(
        [(name, 1.5 * value) for name, value in trained.components.learner.weights()], engine.policy_version
    )
    with pytest.raises(EngineError, match=r"after step 1: .* arrived wrongly"):
        trained.run(done=1)


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., MismatchCheck]:
    """Makes the comparison of a run with these settings."""
    config = config_of(tmp_path)
    (tmp_path / "reward.py").write_text("def score(rollout): return 0")
    inputs = load_inputs(config, Plugins())
    components = build_components(config, inputs, Plugins())
    components = with_engine(components, copied(components))

    def compare(**changes: Any) -> MismatchCheck:
        changed = RunConfig.model_validate({**config.model_dump(), **changes})
        found = mismatch_check(changed, inputs, components)
        assert found is not None
        return found

    return compare


def test_bfloat16_on_either_side_has_wider_limits(compared: Callable[..., MismatchCheck]) -> None:
    assert compared().limits == MISMATCH_LIMITS[torch.float32]
    assert compared(vllm={"dtype": "bfloat16"}).limits == MISMATCH_LIMITS[torch.bfloat16]


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1])
def test_wider_limits_let_no_wrong_temperature_pass(compared: Callable[..., MismatchCheck], factor: float) -> None:
    wide = compared(vllm={"dtype": "bfloat16"})
    engine = Faulty(wide.engine, temperature=factor)
    seen = replace(wide, engine=engine).measure()
    assert (seen.mean, seen.largest) < (wide.limits.mean, wide.limits.largest)
    assert f"at temperature {factor} the learner agrees" in (replace(wide, engine=engine).diagnose(seen) or "")


def test_rounding_in_bfloat16_looks_like_no_temperature(compared: Callable[..., MismatchCheck]) -> None:
    model, tokenizer = compared().learner.model, load_tokenizer("tiny")
    rough = replace(
        compared(vllm={"dtype": "bfloat16"}), engine=CopyEngine(model, tokenizer, Compute(dtype=torch.bfloat16))
    )
    seen = rough.measure()
    assert seen.largest > 1e-3
    assert (seen.temperature_error, rough.diagnose(seen)) == (0.0, None)


def test_the_learner_is_asked_at_the_temperature_of_the_run(compared: Callable[..., MismatchCheck]) -> None:
    cool = compared(rollout={"temperature": 0.6})
    assert cool.params.temperature == 0.6
    assert cool.measure().largest < 1e-4


def test_what_is_no_number_is_a_mismatch(compared: Callable[..., MismatchCheck]) -> None:
    found = compared()
    found.engine.load_weights(((name, value * torch.nan) for name, value in found.learner.weights()), 0)
    assert "nan nats" in (found.diagnose(found.measure()) or "")


def test_a_comparison_is_small_and_on_the_runs_own_prompts(compared: Callable[..., MismatchCheck]) -> None:
    found = compared(rollout={"max_new_tokens": 200})
    assert (len(found.requests), found.params.max_new_tokens) == (8, 16)
    assert len({request.prompt_ids for request in found.requests}) == 4
    assert len({(request.prompt_ids, request.seed) for request in found.requests}) == 8
    assert compared(rollout={"max_new_tokens": 5}).params.max_new_tokens == 5


def test_a_run_that_samples_ahead_is_compared_when_both_have_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    (tmp_path / "lost").mkdir()
    ahead = {"engine": "copies:copy_engine", "async_steps": 1, "verify_every": 1}
    sound = Trained(tmp_path / "sound", copied, **ahead)
    assert sound.run() == "finished"
    assert max(row["push/mismatch_max"] for row in sound.rows()) < 1e-4
    lost = Trained(tmp_path / "lost", faulty(lost=lambda push: push == 3), **ahead)
    message = lost.stops()
    assert message.startswith("after step 2: ")
    assert "a push was lost" in message
