"""Evaluations with vLLM: the weights of a folder, of an adapter, and of a server that somebody else started."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import letter_tokenizer
from engine_cases import greedy, model_for_engines

from reasonrl import Measurement, Problem, Rollout, Suite
from reasonrl.config.settings import LoraSettings, VLLMSettings
from reasonrl.engines.batch import run_sampling
from reasonrl.engines.vllm.launch import MODULE
from reasonrl.engines.vllm.replica import Replica, ServerProcess
from reasonrl.errors import EngineError, ModelError
from reasonrl.evaluation.sources import SampleSource
from reasonrl.models.load import load_model
from reasonrl.models.lora import exported_weights, prepare_adapter
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.evaluation_source import open_source
from reasonrl.types import Trajectory

pytestmark = pytest.mark.vllm

CPU = torch.device("cpu")
SMALL = VLLMSettings(cpu_kv_cache_gib=0.125)
QUESTIONS = ("what is it", "a longer question of many words than the others are", "b", "who")


def metric(rollout: Rollout) -> Measurement:
    return Measurement(0.0)


def suite(**changes: Any) -> Suite:
    """Four questions, answered greedily. Any: fields of a suite."""
    problems = [Problem(id=text, task="letters", prompt=text, answer="") for text in QUESTIONS]
    fields = {"template": "plain", "max_new_tokens": 24, "metric": metric, "role": "valid", "name": "letters"}
    return Suite(**{**fields, "version": 1, "problems": problems, **changes})


def sample(source: SampleSource, measured: Suite) -> list[Trajectory]:
    """Sample every question twice, as an evaluation does."""
    environment = source.environment(measured, measured.template)

    async def work() -> list[Trajectory]:
        prompts = [environment.prompt(problem) for problem in measured.problems]
        runs = [
            environment.run(prompt, source.engine.generate, seed=10 * number + index, sample_index=index)
            for number, prompt in enumerate(prompts)
            for index in range(2)
        ]
        return await asyncio.gather(*runs)

    return run_sampling(work(), source.engine)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with its tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    model_for_engines().save_pretrained(folder)
    letter_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def adapter(folder: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of a run that trains an adapter of that model."""
    model = load_model(folder, CPU)
    prepare_adapter(model, LoraSettings(rank=5, alpha=10), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, weight in exported_weights(model):
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    place = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(place)
    letter_tokenizer().save_pretrained(place)
    return str(place)


def expected(place: str, source: SampleSource, measured: Suite) -> list[tuple[int, ...]]:
    """What transformers decodes greedily, each twice."""
    model, environment = load_model(place, CPU), source.environment(measured, measured.template)
    prompts = [environment.prompt(problem).token_ids for problem in measured.problems]
    return [greedy(model, prompt, measured.max_new_tokens) for prompt in prompts for _ in range(2)]


def num_equal(some: list[Trajectory], others: list[Trajectory]) -> int:
    """How many completions are equal: one may differ, because rounding does with what vLLM computes beside it."""
    return sum(one.token_ids == other.token_ids for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("kind", ["folder", "adapter"])
def test_vllm_in_this_process_has_the_weights_of_the_folder_and_this_process_has_none(
    kind: str, request: pytest.FixtureRequest
) -> None:
    place, measured = request.getfixturevalue(kind), suite()
    with closing(open_source(place, "vllm", [measured], plugins=Plugins(), dtype="float32", vllm=SMALL)) as source:
        assert [one.token_ids for one in sample(source, measured)] == expected(place, source, measured)
        assert source.facts["dtype"] == "float32"
        assert "vllm" in source.facts
        too_long = replace(measured, max_new_tokens=60)
        with pytest.raises(ModelError, match="positions"):  # there is room for what was to be measured, and no more
            sample(source, too_long)
        with pytest.raises(EngineError, match="not the model's"):
            source.engine.load_weights(load_model(place, CPU).named_parameters(), 1)


def test_a_server_of_an_adapter_that_is_killed_comes_back_with_the_adapter(adapter: str) -> None:
    measured = suite(temperature=0.9, top_p=0.8)
    opened = open_source(adapter, "vllm_server", [measured], plugins=Plugins(), dtype="float32", vllm=SMALL)
    with closing(opened) as source:
        (replica,) = source.engine._replicas  # type: ignore[attr-defined]  # the engine is known here
        before = sample(source, measured)
        assert {one.token_ids for one in before[::2]} != {one.token_ids for one in before[1::2]}
        certain = replace(measured, temperature=0.0, top_p=1.0)
        assert [one.token_ids for one in sample(source, certain)] == expected(adapter, source, certain)
        os.killpg(replica._process._group, signal.SIGKILL)
        assert num_equal(sample(source, measured), before) >= len(before) - 1
        assert [one.token_ids for one in sample(source, certain)] == expected(adapter, source, certain)
        assert replica.num_restarts == 1


@pytest.fixture(scope="module")
def served(folder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `vllm serve` on the model, started as anybody would."""

    def command(port: int) -> Sequence[str]:
        fixed = [sys.executable, "-P", "-m", MODULE, "--host", "127.0.0.1", "--port", str(port), "--model", folder]
        return [*fixed, "--dtype", "float32", "--enforce-eager", "--kv-cache-memory-bytes", str(1 << 27)]

    variables = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    process = ServerProcess(command, variables, tmp_path_factory.mktemp("log") / "log")
    server = Replica("the server", process, "", 300.0)
    server.launch()
    try:
        server.wait_until_ready(lambda: None)
        yield server.url
    finally:
        server.close()


def test_a_given_server_is_asked_in_token_ids_and_says_what_transformers_says(folder: str, served: str) -> None:
    measured = suite()
    source = open_source(folder, served, [measured], plugins=Plugins())
    assert source.facts["prompts"] == "token ids"
    assert (source.name, source.facts["served_model"]) == (f"{served}/v1", folder)
    assert [one.token_ids for one in sample(source, measured)] == expected(folder, source, measured)
    drawn = suite(temperature=1.0, top_p=0.9, stop=("e",))
    once = sample(source, drawn)
    assert num_equal(sample(source, drawn), once) >= len(once) - 1
    assert len({one.text for one in once}) > 4
    with pytest.raises(ModelError, match="positions"):
        sample(source, replace(measured, max_new_tokens=255))


def test_a_given_server_is_asked_by_name_where_the_model_is_not_here(folder: str, served: str) -> None:
    measured = suite(stop=("e",))
    by_tokens = open_source(folder, served, [measured], plugins=Plugins())
    os.rename(folder, f"{folder}-moved")
    try:
        by_name = open_source(folder, served, [measured], plugins=Plugins())
    finally:
        os.rename(f"{folder}-moved", folder)
    assert by_name.facts["prompts"] == "text"
    for named, exact in zip(sample(by_name, measured), sample(by_tokens, measured), strict=True):
        assert named.text.strip().startswith(exact.text.strip())
        assert (len(named.token_ids), named.finish_reason) == (len(exact.token_ids), exact.finish_reason)


def test_a_server_of_another_model_is_refused(served: str) -> None:
    with pytest.raises(EngineError, match="whose tokenizer is not the one of the model"):
        open_source("tiny", served, [suite()], plugins=Plugins())
    with pytest.raises(ModelError, match="does not serve 'gpt-x'"):
        open_source("gpt-x", served, [suite()], plugins=Plugins())
