"""Training a low-rank adapter: the model below it never changes, and a checkpoint holds the adapter alone."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import (
    VOCABULARY,
    letter_tokenizer,
    logprob_model,
    policy_learner,
    run_config,
    small_llama,
    training_samples,
)
from engine_cases import requests, sample
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedModel

from reasonrl.config.runfile import load_run
from reasonrl.config.settings import LoraSettings, SuiteRef
from reasonrl.engines.local import LocalEngine
from reasonrl.errors import ConfigError, ModelError
from reasonrl.learner import Learner, logprobs
from reasonrl.learner.logprobs import LogprobModel
from reasonrl.learner.objectives import PolicyObjective
from reasonrl.models.compute import Compute
from reasonrl.models.load import load_model
from reasonrl.models.lora import prepare_adapter
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.build import build_components
from reasonrl.run.evaluate import evaluate_model
from reasonrl.run.evaluation_request import EvaluationRequest
from reasonrl.run.inputs import load_inputs
from reasonrl.run.plan.memory import StepSize, memory_parts
from reasonrl.run.start import fork_run, resume_run, start_run

CPU = torch.device("cpu")
LORA = LoraSettings(rank=4, alpha=8)
RUN = """\
name: one
model: {name: tiny, lora: {rank: 4}}
task: {name: arithmetic, params: {num_problems: 200, min_terms: 3, max_terms: 3}}
template: plain
rewards: [./spread.py:spread]
algorithm: dr_grpo
rollout: {prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 16}
learner: {learning_rate: 5e-3, minibatch_sequences: 8}
evaluation:
  suites: [{name: arithmetic, params: {num_problems: 12}, template: plain, max_new_tokens: 16}]
  every: 2
run: {steps: 4, checkpoint_every: 2}
"""


def base(folder: Path) -> str:
    """A small model on disk."""
    small_llama().save_pretrained(folder / "base")
    return str(folder / "base")


def adapted(folder: Path, lora: LoraSettings = LORA, *, seed: int = 0, checkpointing: bool = False) -> PreTrainedModel:
    """A small model with a new adapter."""
    model = load_model(base(folder), CPU, gradient_checkpointing=checkpointing)
    prepare_adapter(model, lora, seed=seed)
    return model


def learner(model: PreTrainedModel, reference: LogprobModel | None = None, **changes: Any) -> Learner:
    """A learner of a model. Any: settings of the run."""
    settings = {"learner": {"learning_rate": 1e-2}, **changes}
    made: Learner = policy_learner(model, run_config(**settings), reference=reference)
    return made


def own_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Copies of a model's weights without those of its adapter, by their names without one."""
    named = {name.replace(".base_layer", ""): weight for name, weight in model.state_dict().items()}
    return {name: weight.clone() for name, weight in named.items() if "lora_" not in name}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Compare to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def logits(model: PreTrainedModel) -> torch.Tensor:
    """A model's logits after a few tokens."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([[3, 4, 5, 6]])).logits


SPREAD = """
def spread(rollout) -> float:
    return len(rollout.text) % 3 / 2
"""


def checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step_{step:06d}"


def answers(run: Path, step: int) -> str:
    """What a run answered in an evaluation."""
    return (run / "evals" / f"step_{step:06d}" / "arithmetic" / "samples.jsonl").read_text()


def adapter(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(checkpoint(run, step) / "adapter_model.safetensors")


def test_a_new_adapter_changes_no_number_and_leaves_the_random_generators_alone(tmp_path: Path) -> None:
    plain, model = (load_model(base(tmp_path), CPU) for _ in range(2))
    before = torch.get_rng_state()
    prepare_adapter(model, LORA, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(logits(model), logits(plain))
    assert type(model) is type(plain)


def test_the_seed_of_the_run_decides_the_adapter(tmp_path: Path) -> None:
    one, again, other = (dict(learner(adapted(tmp_path, seed=seed)).weights()) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)


def test_training_moves_the_adapter_and_never_the_model_below(tmp_path: Path) -> None:
    model = adapted(tmp_path)
    one = learner(model)
    before = {name: weight.detach().clone() for name, weight in one.weights()}
    before_training, own = logits(model), own_weights(model)
    for seed in range(3):
        one.update(training_samples(seed=seed))
    assert same(own_weights(model), own)
    assert same(own, own_weights(load_model(base(tmp_path), CPU)))
    assert not any(torch.equal(weight, before[name]) for name, weight in one.weights())
    assert not torch.allclose(logits(model), before_training, atol=1e-2)


def test_only_the_named_layers_are_adapted(tmp_path: Path) -> None:
    names = dict(learner(adapted(tmp_path, LoraSettings(target_modules=["q_proj", "down_proj"]))).weights())
    assert {name.split(".")[-3] for name in names} == {"q_proj", "down_proj"}
    every = dict(learner(adapted(tmp_path)).weights())
    assert {name.split(".")[-3] for name in every} == {
        f"{part}_proj" for part in ["q", "k", "v", "o", "gate", "up", "down"]
    }
    assert not any("lm_head" in name or "embed" in name for name in every)


@pytest.mark.parametrize("name", ["q_porj", "lm_head", "model.layers.0"])
def test_a_layer_that_cannot_be_adapted_is_refused_with_the_names_that_can(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=rf"target_modules: LlamaForCausalLM has no .*'{name}'.*Known: all-linear, .*q_pr"
    ):
        adapted(tmp_path, LoraSettings(target_modules=["v_proj", name]))


def test_the_command_line_opens_what_is_null_and_a_name_stands_for_a_list_of_it(in_folder: Path) -> None:
    (in_folder / "one.yaml").write_text(RUN.replace("{name: tiny, lora: {rank: 4}}", "tiny"))
    assert load_run(Path("one.yaml")).model.lora is None
    overrides = ["model.lora.rank=8", "model.lora.target_modules=q_proj"]
    assert load_run(Path("one.yaml"), overrides).model.lora == LoraSettings(rank=8, target_modules=["q_proj"])
    with pytest.raises(ConfigError, match=r"model\.lora\.rnak: unknown setting\. Did you mean 'rank'"):
        load_run(Path("one.yaml"), ["model.lora.rnak=8"])


def test_gradient_checkpointing_gives_the_same_adapter(tmp_path: Path) -> None:
    plain, checkpointing = (adapted(tmp_path, checkpointing=on) for on in (False, True))
    assert checkpointing.is_gradient_checkpointing
    weights = []
    for model in (plain, checkpointing):
        one = learner(model, algorithm={"preset": "grpo"}, learner={"learning_rate": 1.0, "adam_epsilon": 1e3})
        one.update(training_samples())
        weights.append(dict(one.weights()))
    assert all(torch.allclose(weights[0][name], weights[1][name], rtol=1e-4, atol=1e-7) for name in weights[0])
    assert any(weight.abs().max() > 0 for name, weight in weights[0].items() if "lora_B" in name)


def test_an_engine_is_given_what_a_checkpoint_holds(tmp_path: Path) -> None:
    one = learner(adapted(tmp_path))
    one.update(training_samples())
    one.save_state(tmp_path / "checkpoint")
    assert same(load_file(tmp_path / "checkpoint" / "adapter_model.safetensors"), dict(one.weights()))
    assert not list((tmp_path / "checkpoint").glob("model*"))


def test_a_checkpoint_loads_here_and_with_transformers_to_the_last_bit(tmp_path: Path) -> None:
    model = adapted(tmp_path)
    one = learner(model)
    one.update(training_samples())
    one.save_state(tmp_path / "checkpoint")
    assert not torch.allclose(logits(model), logits(load_model(base(tmp_path), CPU)), atol=1e-3)
    loaded = load_model(str(tmp_path / "checkpoint"), CPU)
    prepare_adapter(loaded, LORA, seed=99)
    assert same(loaded.state_dict(), model.state_dict())
    assert torch.equal(logits(loaded), logits(model))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint")
    assert torch.allclose(logits(theirs), logits(model), atol=1e-5)


def test_layers_that_keep_their_weights_transposed_are_adapted_too(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=len(VOCABULARY), n_positions=64, n_embd=32, n_layer=2, n_head=2, eos_token_id=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    model = load_model(str(tmp_path / "base"), CPU)
    prepare_adapter(model, LORA, seed=0)
    one = learner(model)
    assert {name.split(".")[-3] for name, _ in one.weights()} == {"c_attn", "c_proj", "c_fc"}
    one.update(training_samples())
    one.save_state(tmp_path / "checkpoint")
    loaded = load_model(str(tmp_path / "checkpoint"), CPU)
    prepare_adapter(loaded, LORA, seed=0)
    assert torch.equal(logits(loaded), logits(model))


def test_learning_goes_on_bit_for_bit_from_a_checkpoint(tmp_path: Path) -> None:
    straight = learner(adapted(tmp_path))
    straight.update(training_samples(seed=1))
    straight.save_state(tmp_path / "checkpoint")
    resumed = learner(load_model(str(tmp_path / "checkpoint"), CPU))
    resumed.restore_state(tmp_path / "checkpoint")
    for one in (straight, resumed):
        one.update(training_samples(seed=2))
    assert same(dict(straight.weights()), dict(resumed.weights()))


def test_an_adapter_other_than_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    learner(adapted(tmp_path)).save_state(tmp_path / "checkpoint")
    model = load_model(str(tmp_path / "checkpoint"), CPU)
    with pytest.raises(ModelError, match=r"rank is 4 in the adapter and 8 in model\.lora; alpha is 8 .* and 32"):
        prepare_adapter(model, LoraSettings(rank=8), seed=0)
    with pytest.raises(ModelError, match=r"is an adapter of .*base, but model\.lora is not set"):
        prepare_adapter(model, None, seed=0)


def test_an_adapter_whose_base_is_gone_says_which_file_to_correct(tmp_path: Path) -> None:
    learner(adapted(tmp_path)).save_state(tmp_path / "checkpoint")
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"adapter_config\.json: base_model_name_or_path .*there is no folder .*base"):
        load_model(str(tmp_path / "checkpoint"), CPU)


def test_the_model_without_its_adapter_is_the_reference_to_the_last_bit(tmp_path: Path) -> None:
    model = adapted(tmp_path)
    learner(model).update(training_samples())
    copied = load_model(base(tmp_path), CPU)
    within = logprobs.logprob_model(model, Compute(), 1.0, without_adapter=True)
    beside = logprob_model(copied, fast=False)  # a model with an adapter takes the general way too
    kl = {"algorithm": {"preset": "grpo", "kl_coefficient": 0.1, "kl_estimator": "k3"}}
    learned, before = [], copy.deepcopy(dict(learner(model).weights()))
    for reference in (within, beside):
        model.load_state_dict({**model.state_dict(), **_by_module(before)})
        one = learner(model, reference, **kl)
        measured = one.update([replace(one, advantages_T=0.0) for one in training_samples()])
        assert measured["policy/kl"] > 1e-4
        learned.append((measured, {name: weight.detach().clone() for name, weight in one.weights()}))
    assert learned[0][0] == learned[1][0]
    assert same(learned[0][1], learned[1][1])
    assert not same(learned[0][1], before)


def _by_module(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Name an adapter's weights as the model does."""
    return {
        name.removeprefix("base_model.model.").replace(".weight", ".default.weight"): weight
        for name, weight in weights.items()
    }


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_a_reference_is_a_second_model_only_where_there_is_no_adapter(lora: dict[str, int] | None) -> None:
    config = run_config(model={"name": "tiny", "lora": lora}, algorithm={"preset": "grpo", "kl_coefficient": 0.1})
    plugins = Plugins()
    components = build_components(config, load_inputs(config, plugins), plugins)
    objective = components.learner.actor.objective
    assert isinstance(objective, PolicyObjective)
    assert objective.reference is not None
    assert (objective.reference.model is components.learner.model) is (lora is not None)
    parts = memory_parts(config, components, StepSize.at_limit(config, 8))
    components.close()
    if lora is None:
        assert parts["reference"] == parts["gradients"] == parts["weights"]
    else:
        trained = sum(weight.numel() for _, weight in components.learner.weights())
        assert (parts["reference"], parts["gradients"], parts["optimizer"]) == (0, 4 * trained, 8 * trained)


def test_the_embedded_engine_samples_with_the_adapter(tmp_path: Path) -> None:
    model = adapted(tmp_path)
    one = learner(model)
    one.update(training_samples())
    prompt = (3, 4, 5)
    (completions,) = sample(LocalEngine(model, letter_tokenizer()), requests(2, prompts=(prompt,)), max_new_tokens=12)
    for completion in completions:
        ids = torch.tensor([[*prompt, *completion.token_ids]])
        exact = model(input_ids=ids).logits[0, 2:-1].log_softmax(-1).gather(1, ids[0, 3:, None])[:, 0]
        assert torch.allclose(exact, torch.tensor(completion.logprobs), atol=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of four steps; tests work in the folder that holds ``runs``."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "one.yaml").write_text(RUN)
    (folder / "spread.py").write_text(SPREAD)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert start_run(Path("one.yaml"), [], [], argv=[]) == "finished"
        yield Path("runs/one")


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit(trained: Path) -> None:
    cut = trained.with_name("cut")
    shutil.copytree(trained, cut)
    shutil.rmtree(checkpoint(cut, 4))
    manifest = (cut / "manifest.json").read_text()
    (cut / "manifest.json").write_text(manifest.replace('"finished"', '"interrupted"'))
    assert resume_run(cut, [], []) == "finished"
    assert same(adapter(cut, 4), adapter(trained, 4))
    assert not same(adapter(cut, 4), adapter(cut, 2))
    assert answers(cut, 4) == answers(trained, 4)


@pytest.mark.slow
def test_a_run_is_evaluated_as_it_was_during_training(trained: Path) -> None:
    suite = SuiteRef(name="arithmetic", params={"num_problems": 12}, template="plain", max_new_tokens=16)
    request = EvaluationRequest(model=f"{trained}@4", suites=(suite,), device="cpu", out=Path("after"))
    evaluate_model(request, Plugins())
    (samples,) = Path("after").glob("*/arithmetic/samples.jsonl")
    after, *during = (
        [json.loads(line)["completion"] for line in text.splitlines()]
        for text in (samples.read_text(), answers(trained, 4), answers(trained, 0))
    )
    assert after == during[0] != during[1]


@pytest.mark.slow
def test_a_fork_goes_on_with_the_adapter_of_the_same_base(trained: Path) -> None:
    with pytest.raises(ModelError, match="rank is 4 in the adapter and 8"):
        fork_run(f"{trained}@2", ["name=other", "model.lora.rank=8"], [], argv=[])
    kl = ["algorithm={preset: grpo, kl_coefficient: 0.1}", "learner={learning_rate: 0}"]
    assert fork_run(f"{trained}@2", ["name=two", *kl, "run.steps=1"], [], argv=[]) == "finished"
    two = trained.with_name("two")
    assert same(adapter(two, 1), adapter(trained, 2))
    bases = [
        json.loads((checkpoint(run, step) / "adapter_config.json").read_text())["base_model_name_or_path"]
        for run, step in ((trained, 2), (two, 1))
    ]
    assert bases[0] == bases[1]
    metrics = [json.loads(line) for line in (two / "metrics.jsonl").read_text().splitlines()]
    # The reference is what the fork began with, not the model below.
    assert [row["policy/kl"] for row in metrics if "policy/kl" in row] == [pytest.approx(0, abs=1e-9)]
