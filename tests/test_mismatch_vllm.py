"""The same faults in a real vLLM: the running trainer and the doctor both say so, with the cause."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import run_config
from faults import Faulty, MakeEngine, Trained, config_of, examine, wrong

from reasonrl.engines import Engine
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.build import build_components
from reasonrl.run.inputs import load_inputs

pytestmark = pytest.mark.vllm

VLLM = {"cpu_kv_cache_gib": 0.125, "max_num_seqs": 64, "max_model_len": 256}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """vLLM with the shape of the packaged model; it starts once."""
    config = run_config(rollout={"engine": "vllm"}, vllm=VLLM)
    components = build_components(config, load_inputs(config, Plugins()), Plugins())
    yield components.engine
    components.close()


def faulty(engine: Engine, **faults: Any) -> MakeEngine:
    """A way to make an engine with faults. Any: what Faulty takes."""
    return lambda _: Faulty(engine, **faults)


def train(folder: Path, engine: Engine, **faults: Any) -> Trained:
    """A run that compares after every step. Any: what Faulty takes."""
    return Trained(folder, faulty(engine, **faults), steps=2, verify_every=1)


def seen(folder: Path, engine: Engine, **faults: Any) -> dict[str, str]:
    """What the doctor says of the checks that fail. Any: what Faulty takes."""
    config = config_of(folder, learning_rate=0.0)
    (folder / "reward.py").write_text("def score(rollout): return len(rollout.text) % 7")
    found = examine(config, faulty(engine, **faults))
    return {name: found[name].line() for name in wrong(found)}


def test_a_sound_engine_passes_every_check_and_its_difference_is_rounding(tmp_path: Path, engine: Engine) -> None:
    trained = train(tmp_path, engine)
    assert trained.run() == "finished"
    differences = [row["push/mismatch_max"] for row in trained.rows()]
    assert len(differences) == 3
    assert max(differences) < 1e-4
    assert seen(tmp_path, engine) == {}


def test_a_corrupted_layer_is_told_from_stale_weights(tmp_path: Path, engine: Engine) -> None:
    message = train(tmp_path, engine, corrupted=lambda push: push == 2).stops()
    assert message.startswith("after step 1: ")
    assert "a tensor arrived wrongly" in message
    assert (
        "a tensor arrived wrongly"
        in seen(tmp_path, engine, corrupted=lambda push: push == 1)["engine and learner agree"]
    )


def test_another_temperature_is_named(tmp_path: Path, engine: Engine) -> None:
    message = train(tmp_path, engine, temperature=0.7).stops()
    assert message.startswith("after step 0: ")
    assert "at temperature 0.7 the learner agrees" in message
    found = seen(tmp_path, engine, temperature=0.7)
    assert "at temperature 0.7 the learner agrees" in found["engine and learner agree"]
    assert "at temperature 0.49 the learner agrees" in found["they agree at temperature 0.7"]


def test_a_lost_push_is_told_from_a_corrupted_layer(tmp_path: Path, engine: Engine) -> None:
    message = train(tmp_path, engine, lost=lambda push: push == 2).stops()
    assert message.startswith("after step 1: ")
    assert "The engine had weights 0 where the learner has 1" in message
    assert "a push was lost" in message
    found = seen(tmp_path, engine, lost=lambda push: push == 2)
    assert list(found) == ["new weights arrive"]
    assert "a push was lost" in found["new weights arrive"]
