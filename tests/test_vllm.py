"""vLLM in the learner's process: what it needs, what it leaves alone, and how it ends."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import gc
import random
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import letter_tokenizer
from engine_cases import SETTINGS, Subject, engine_inputs, model_for_engines, requests, sample

import reasonrl.engines.vllm
from reasonrl.config.settings import VLLMSettings
from reasonrl.engines.vllm.in_process import VLLMEngine
from reasonrl.errors import ConfigError, EngineError

ROOT = Path(__file__).parent.parent


def engine(settings: VLLMSettings = SETTINGS, *, device: str = "cpu", **changes: Any) -> VLLMEngine:
    """Start an engine on a small model. Any: settings of the model."""
    model, tokenizer = model_for_engines(), letter_tokenizer()
    for name, value in changes.items():
        setattr(model.config, name, value)
    return VLLMEngine(engine_inputs(model, tokenizer, settings, device=torch.device(device)))


@pytest.fixture
def subject() -> Iterator[Subject]:
    """An engine with the weights of a model."""
    subject = Subject("vllm", tied=True)
    subject.push(0)
    yield subject
    subject.engine.close()


def test_without_vllm_one_learns_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.delitem(sys.modules, "reasonrl.engines.vllm.api", raising=False)
    monkeypatch.delattr(reasonrl.engines.vllm, "api", raising=False)
    with pytest.raises(EngineError, match=r"not installed.*pip install 'reasonrl\[vllm\]'.*docs/vllm\.md"):
        engine()


def test_the_tested_versions_are_those_that_the_extra_asks_for() -> None:
    from reasonrl.engines.vllm.limits import TESTED, require_tested

    (extra,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["vllm"]
    assert extra == f"vllm{TESTED}" or extra == f"vllm{','.join(reversed(str(TESTED).split(',')))}"
    require_tested("0.32.0")
    require_tested("0.31.1+cpu")
    for version in ("0.27.9", "0.33.0"):
        with pytest.raises(EngineError, match=rf"vLLM {version} is installed.*0\.28"):
            require_tested(version)


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensor_paralel_size": 2}, r"no 'tensor_paralel_size'\. Did you mean 'tensor_parallel_size'\?"),
        ({"max_num_seqs": 2}, r"use vllm\.max_num_seqs"),
        ({"enable_sleep_mode": True}, r"use vllm\.sleep"),
        ({"tensor_parallel_size": 2}, r"'tensor_parallel_size' needs processes.*vllm_server"),
        ({"logprobs_mode": "raw_logprobs"}, r"'logprobs_mode' is set by reasonrl"),
        ({"override_generation_config": {"top_p": 0.9}}, r"'override_generation_config' is set by reasonrl"),
    ],
)
def test_options_that_vllm_does_not_know_or_that_would_spoil_learning_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"vllm\.options: .*{message}"):
        engine(SETTINGS.model_copy(update={"options": options}))


@pytest.mark.vllm
def test_what_cannot_start_says_why_and_leaves_room_for_what_can(subject: Subject) -> None:
    with pytest.raises(EngineError, match=r"has a vLLM engine already.*vllm_server"):
        engine()
    with pytest.raises(EngineError, match=r"built for cpu.*learner is on cuda"):
        engine(device="cuda")
    subject.engine.close()
    with pytest.raises(EngineError, match=r"did not start"):
        engine(architectures=["NoSuchModel"])
    engine().close()


@pytest.mark.vllm
def test_a_closed_engine_says_so(subject: Subject) -> None:
    subject.engine.close()
    with pytest.raises(EngineError, match="closed"):
        subject.sample(requests(), max_new_tokens=2)
    with pytest.raises(EngineError, match="closed"):
        subject.push(1)


@pytest.mark.vllm
def test_engines_can_follow_one_another_with_the_same_model_and_with_others() -> None:
    said = []
    for tied in (True, True, False):
        subject = Subject("vllm", tied=tied)
        subject.push(0)
        got = subject.sample(requests(), max_new_tokens=8)
        said.append([one.token_ids for completions in got for one in completions])
        assert subject.logprob_error(requests(), got, 1.0) < 1e-3
        subject.engine.close()
    assert said[0] == said[1] != said[2]


@pytest.mark.vllm
def test_a_closed_engine_leaves_no_weights_in_memory(subject: Subject) -> None:
    subject.sample(requests(), max_new_tokens=2)
    subject.engine.close()
    modules = [type(kept) for kept in gc.get_objects() if issubclass(type(kept), torch.nn.Module)]
    assert not [module for module in modules if module.__module__.startswith("vllm.")]


@pytest.mark.vllm
def test_the_process_keeps_its_threads_and_random_generators() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))

    model, tokenizer, threads = model_for_engines(), letter_tokenizer(), torch.get_num_threads()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    torch.set_num_threads(2)
    started = VLLMEngine(engine_inputs(model, tokenizer))
    try:
        sample(started, requests(), max_new_tokens=2)
        assert draw() == expected
        assert torch.get_num_threads() == 2
        torch.set_num_threads(3)
        assert torch.get_num_threads() == 3
    finally:
        started.close()
        torch.set_num_threads(threads)


@pytest.mark.vllm
def test_a_temperature_that_vllm_would_raise_is_refused(subject: Subject) -> None:
    with pytest.raises(ConfigError, match=r"0\.005.*0\.01"):
        subject.sample(requests(), max_new_tokens=2, temperature=0.005)
