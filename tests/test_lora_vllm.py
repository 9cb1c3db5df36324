"""An adapter in vLLM: it alone is pushed, and what is sampled is what transformers says of model and adapter."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from builders import letter_tokenizer, policy_learner, run_config
from engine_cases import (
    LONG_PROMPT,
    PROMPTS,
    SETTINGS,
    Asked,
    exact_logprobs,
    greedy,
    model_for_engines,
    requests,
    sample,
)
from torch import Tensor

from reasonrl.config.settings import LoraSettings
from reasonrl.engines import Engine, EngineInputs, builtin
from reasonrl.errors import ConfigError, EngineError
from reasonrl.learner import Learner
from reasonrl.models.compute import Compute
from reasonrl.models.load import load_model
from reasonrl.models.lora import adapter_of, prepare_adapter
from reasonrl.types import Trajectory

pytestmark = pytest.mark.vllm

CPU = torch.device("cpu")


def learner_on(folder: str, lora: LoraSettings) -> Learner:
    """A learner of a new adapter on the model in a folder."""
    model = load_model(folder, CPU)
    prepare_adapter(model, lora, seed=0)
    learner: Learner = policy_learner(model, run_config())
    return learner


def start(kind: str, learner: Learner) -> Engine:
    """Start an engine for a learner."""
    make: Callable[[EngineInputs], Engine] = getattr(builtin, kind)
    return make(
        EngineInputs(
            model=learner.model,
            tokenizer=letter_tokenizer(),
            compute=Compute(),
            device=CPU,
            weight_names=frozenset(dict(learner.weights())),
            adapter=adapter_of(learner.model),
            vllm=SETTINGS,
        )
    )


class Subject:
    """An engine with the learner whose adapter it has."""

    def __init__(self, kind: str, folder: str) -> None:
        """Start it."""
        self.learner = learner_on(folder, LoraSettings(rank=5, alpha=10))
        self.engine = start(kind, self.learner)

    @torch.no_grad()
    def adapt(self, seed: int) -> None:
        """Make another adapter, and push it."""
        generator = torch.Generator().manual_seed(seed)
        for _, weight in self.learner.weights():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
        self.engine.load_weights(self.learner.weights(), seed)

    def sample(self, asked: Sequence[Asked], temperature: float = 1.0) -> list[tuple[Trajectory, ...]]:
        """Sample 12 tokens for each seed."""
        return sample(self.engine, asked, max_new_tokens=12, temperature=temperature)

    def error(self, asked: Sequence[Asked], got: Sequence[tuple[Trajectory, ...]]) -> float:
        """Return the greatest difference between the engine's log-probabilities and transformers'."""
        errors: list[Tensor] = [
            (exact_logprobs(self.learner.model, request.prompt_ids, one, 1.0) - torch.tensor(one.logprobs)).abs().max()
            for request, completions in zip(asked, got, strict=True)
            for one in completions
        ]
        return float(max(errors))


@pytest.fixture(scope="module", params=["vllm", "vllm_server"])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """One engine for all tests: starting takes seconds, and a process can hold one vLLM only."""
    folder = tmp_path_factory.mktemp("base")
    model_for_engines().save_pretrained(folder)
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    made = Subject(request.param, str(folder))
    yield made
    made.engine.close()
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files


def test_every_new_adapter_is_loaded(subject: Subject) -> None:
    asked, seen = requests(1, prompts=(*PROMPTS, LONG_PROMPT)), set()
    for version in range(1, 6):
        subject.adapt(version)
        got = subject.sample(asked, temperature=0)
        assert subject.error(asked, got) < 1e-3
        for one, (completion,) in zip(asked, got, strict=True):
            assert completion.token_ids == greedy(subject.learner.model, one.prompt_ids, 12)
            assert completion.policy_version == version
        seen.add(got[-1][0].token_ids)
    assert len(seen) > 1, "adapters that change no answer show nothing"


def test_a_prompt_that_an_older_adapter_computed_is_computed_again(subject: Subject) -> None:
    asked = [Asked(LONG_PROMPT, (0, 1))]
    for version in (7, 8):
        subject.adapt(version)
        assert subject.error(asked, subject.sample(asked)) < 1e-3


def test_without_its_effect_the_adapter_leaves_the_model_below(subject: Subject) -> None:
    subject.adapt(1)
    with torch.no_grad():
        for name, weight in subject.learner.weights():
            if "lora_B" in name:
                weight.zero_()
    subject.engine.load_weights(subject.learner.weights(), 2)
    asked = requests(1, prompts=(*PROMPTS, LONG_PROMPT))
    base = model_for_engines()
    for request, (completion,) in zip(asked, subject.sample(asked, temperature=0), strict=True):
        assert completion.token_ids == greedy(base, request.prompt_ids, 12)


def test_an_adapter_with_a_weight_missing_is_refused(subject: Subject) -> None:
    some = dict(subject.learner.weights())
    some.popitem()
    with pytest.raises(EngineError, match="1 of the weights for the engine are missing"):
        subject.engine.load_weights(some.items(), 9)
    subject.adapt(9)


def test_nothing_is_left_of_older_adapters(subject: Subject) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for version in range(20, 24):
        subject.adapt(version)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_server_that_is_killed_is_restarted_with_the_adapter(subject: Subject) -> None:
    from reasonrl.engines.vllm.server import VLLMServerEngine

    if isinstance(subject.engine, VLLMServerEngine):
        subject.adapt(30)
        asked = requests(1, prompts=(*PROMPTS, LONG_PROMPT))
        before = subject.sample(asked)
        (replica,) = subject.engine._replicas
        assert replica._process is not None
        os.killpg(replica._process._group, signal.SIGKILL)
        after = subject.sample(asked)
        assert [one.token_ids for (one,) in after] == [one.token_ids for (one,) in before]
        assert replica.num_restarts == 1
        subject.adapt(31)
        assert subject.error(asked, subject.sample(asked)) < 1e-3


def test_a_rank_beyond_vllms_is_refused(tmp_path: Path) -> None:
    model_for_engines().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"model\.lora\.rank is 1000, but vLLM .* takes at most 512"):
        start("vllm", learner_on(str(tmp_path), LoraSettings(rank=1000)))
