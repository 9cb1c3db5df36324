"""What `reasonrl eval` opens by the name of an engine, but for vLLM and endpoints, which have files of their own."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from builders import letter_tokenizer, small_llama

from reasonrl import Measurement, Problem, Rollout, Suite
from reasonrl.config.settings import LoraSettings
from reasonrl.engines.batch import run_sampling
from reasonrl.engines.tokens import end_token_ids
from reasonrl.evaluation.sources import SampleSource
from reasonrl.models.load import load_model, load_tokenizer
from reasonrl.models.lora import prepare_adapter
from reasonrl.models.skeleton import load_adapter_config, load_skeleton
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.evaluation_source import open_source

CPU = torch.device("cpu")

MY_ENGINE = """
from reasonrl.engines.local import LocalEngine


def note(text):
    with open("loaded.txt", "a") as file:
        file.write(text)


class MyEngine(LocalEngine):
    def load_weights(self, weights, version):
        names = [name for name, _ in weights]
        note(f"{version} {len(names)} {names[0]} {'base_layer' in ' '.join(names)}")
        super().load_weights([], version)

    def close(self):
        note(" closed")


def mine(inputs):
    return MyEngine(inputs.model, inputs.tokenizer, inputs.compute)
"""


def metric(rollout: Rollout) -> Measurement:
    return Measurement(0.0)


SUITE = Suite(
    name="letters",
    version=1,
    role="valid",
    problems=[Problem(id=text, task="letters", prompt=text, answer="") for text in ("a b", "what is it", "c")],
    metric=metric,
    template="plain",
    max_new_tokens=12,
)


def texts(source: SampleSource) -> list[str]:
    environment = source.environment(SUITE, SUITE.template)

    async def work() -> list[Any]:  # Any: trajectories
        prompts = map(environment.prompt, SUITE.problems)
        runs = [environment.run(prompt, source.engine.generate, seed=1, sample_index=0) for prompt in prompts]
        return await asyncio.gather(*runs)

    return [one.text for one in run_sampling(work(), source.engine)]


def folder_of(place: Path, *, adapter: bool) -> str:
    """Write a model, or an adapter of one that changes what it says."""
    base = place / "base"
    small_llama().save_pretrained(base)
    letter_tokenizer().save_pretrained(base)
    if not adapter:
        return str(base)
    model = load_model(str(base), CPU)
    prepare_adapter(model, LoraSettings(rank=4), seed=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=torch.Generator().manual_seed(0))
    model.save_pretrained(place / "adapter")
    letter_tokenizer().save_pretrained(place / "adapter")
    return str(place / "adapter")


def test_an_engine_of_the_users_is_given_the_weights_and_samples_the_evaluation(in_folder: Path) -> None:
    (in_folder / "mine.py").write_text(MY_ENGINE)
    place = folder_of(in_folder, adapter=False)
    with closing(open_source(place, "local", [SUITE], plugins=Plugins())) as local:
        expected = texts(local)
    with closing(open_source(place, "./mine.py:mine", [SUITE], plugins=Plugins())) as source:
        assert texts(source) == expected
        assert (source.name, source.facts["dtype"]) == ("./mine.py:mine", "float32")
    number = len(list(small_llama().named_parameters()))
    assert (in_folder / "loaded.txt").read_text() == f"0 {number} model.embed_tokens.weight False closed"


def test_an_adapter_is_measured_as_it_is_and_given_to_engines_by_its_own_names(in_folder: Path) -> None:
    (in_folder / "mine.py").write_text(MY_ENGINE)
    place = folder_of(in_folder, adapter=True)
    said = {}
    for name, engine in {"local": "local", "mine": "./mine.py:mine"}.items():
        with closing(open_source(place, engine, [SUITE], plugins=Plugins())) as source:
            said[name] = texts(source)
    with closing(open_source(str(in_folder / "base"), "local", [SUITE], plugins=Plugins())) as base:
        assert said["local"] == said["mine"] != texts(base)
    loaded = (in_folder / "loaded.txt").read_text()
    assert "base_model.model.model.layers.0" in loaded
    assert "True" not in loaded, "the model below is not pushed"


def test_a_skeleton_has_the_names_and_the_end_tokens_of_the_model_and_no_weights(in_folder: Path) -> None:
    for adapter in (False, True):
        place = folder_of(in_folder, adapter=adapter)
        model, skeleton, tokenizer = load_model(place, CPU), load_skeleton(place), load_tokenizer(place)
        assert all(parameter.device.type == "meta" for parameter in skeleton.parameters())
        assert end_token_ids(skeleton, tokenizer) == end_token_ids(model, tokenizer)
        assert skeleton.config.hidden_size == model.config.hidden_size
        found = load_adapter_config(place)
        assert (found is not None) == adapter
        assert found is None or found.base_model_name_or_path == str(in_folder / "base")


def test_the_type_of_products_can_be_chosen(in_folder: Path) -> None:
    with closing(open_source("tiny", "local", [SUITE], plugins=Plugins(), dtype="bfloat16")) as source:
        assert source.facts["dtype"] == "bfloat16"
