"""Our gradient is TRL's: GRPOTrainer and the Learner, given the same tokens, rewards and model.

TRL tokenizes, pads, scores, compares and loses with its own code; only the sampling is scripted. The settings keep
clear of what TRL does differently on purpose or by mistake: one optimizer step a batch of completions (trl issue
5619), no vLLM correction (5814), an explicit ``epsilon_high``.
"""

# Parts of transformers, TRL and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
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
    training_sample,
)
from gradients import Recorder, flat_gradient
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from reasonrl.algorithms.advantages import group_centered, group_normalized
from reasonrl.learner.controller import EntropyController

trl = pytest.importorskip("trl", reason="compares with TRL, which is not installed: pip install 'reasonrl[trl]'")

pytestmark = [
    pytest.mark.slow,
    # What TRL and its trainer warn about is not ours to mend.
    pytest.mark.filterwarnings("default"),
]

PROMPTS = ("1 + 1?", "12 * 3 - 4?", "9")
LENGTHS_PG = ((1, 5, 12, 7), (3, 12, 2, 9), (4, 4, 8, 11))
"""Tokens of each completion; those of 12 are cut, the others end by themselves."""
LONGEST = 12
REWARDS_PG = torch.tensor([[1.0, 0.0, 0.25, 1.0], [0.0, 0.0, 0.5, -1.0], [1.0, 0.0, 0.0, 0.0]])
TEMPERATURE = 0.9
KL_COEFFICIENT = 0.5
UPDATES: Mapping[str, int] = {"skywork_or1": 2}
"""Updates after which a gradient is compared: a bonus acts from the second on."""

TRL_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "grpo": {"loss_type": "grpo", "scale_rewards": "group", "epsilon_high": 0.2},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none", "epsilon_high": 0.2},
    "dapo": {"loss_type": "dapo", "scale_rewards": "group", "epsilon_high": 0.28},
    "sapo": {"loss_type": "sapo", "scale_rewards": "group"},
    "gmpo": {"scale_rewards": "group", "epsilon": 0.4},
    "deepseek_v3_2": {"loss_type": "grpo", "scale_rewards": "none", "off_policy_mask_threshold": 0.05},
    "skywork_or1": {
        "loss_type": "dapo",
        "scale_rewards": "group",
        "use_adaptive_entropy": True,
        "entropy_target": 10.0,
        "entropy_coef_delta": 0.5,
    },
}
"""What each of our presets is called in TRL. Any: each setting has a type of its own."""
OURS: Mapping[str, Mapping[str, Any]] = {
    "deepseek_v3_2": {"off_policy_threshold": 0.05},
    "skywork_or1": {"entropy_target": 10.0, "entropy_delta": 0.5},
}
"""Values beside the presets, so that a mask and a bonus act on the scripted completions. Any: as above."""


def completions() -> list[list[int]]:
    """Random tokens of the scripted lengths, group after group; one that is not cut ends in the end token."""
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(1, len(VOCABULARY), (n,), generator=generator).tolist() for row in LENGTHS_PG for n in row]
    return [row if len(row) == LONGEST else [*row[:-1], 0] for row in rows]


def slow_logprobs(model: nn.Module, prompt: Sequence[int], completion: Sequence[int]) -> Tensor:
    """The log-probability of each token of one completion, with no padding and no batch."""
    logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1] / TEMPERATURE
    return logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]


@torch.no_grad()
def old_logprobs() -> list[Tensor]:
    """Log-probabilities of a policy so far from the current one that many ratios are clipped on either side."""
    model, generator = small_llama(), torch.Generator().manual_seed(5)
    prompts = [letter_tokenizer()(prompt)["input_ids"] for prompt in PROMPTS for _ in range(4)]
    current = [slow_logprobs(model, *pair) for pair in zip(prompts, completions(), strict=True)]
    return [logprobs + 0.3 * torch.randn(len(logprobs), generator=generator) for logprobs in current]


def reward_of(completion_ids: Sequence[Sequence[int]], **_: object) -> list[float]:
    """The scripted rewards: a TRL reward function sees the whole batch in order."""
    assert list(completion_ids) == completions()
    return REWARDS_PG.flatten().tolist()


def trl_trainer(preset: str, folder: Path, microbatches: int) -> Any:
    """TRL's trainer, whose sampler returns the scripted completions. Any: TRL's types are not ours to check."""
    from datasets import Dataset
    from trl.experimental import gmpo

    config, kind = (gmpo.GMPOConfig, gmpo.GMPOTrainer) if preset == "gmpo" else (trl.GRPOConfig, trl.GRPOTrainer)
    settings = config(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        shuffle_dataset=False,
        per_device_train_batch_size=12 // microbatches,
        gradient_accumulation_steps=microbatches,
        num_generations=4,
        max_completion_length=LONGEST,
        temperature=TEMPERATURE,
        beta=0.0,
        **{"epsilon": 0.2, "epsilon_high": None if preset == "gmpo" else 0.2, **TRL_SETTINGS[preset]},
    )
    trainer = kind(
        model=small_llama(),
        reward_funcs=reward_of,
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": list(PROMPTS)}),
        processing_class=letter_tokenizer(),
    )
    trainer._generate_single_turn = lambda *_, **__: (completions(), None)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = microbatches
    return trainer


def trl_inputs(trainer: Any) -> dict[str, Tensor]:
    """What TRL makes of the scripted batch: padded tokens, masks, advantages. Any: as above."""
    return trainer._generate_and_score_completions([{"prompt": prompt} for prompt in PROMPTS for _ in range(4)])


def trl_gradient(
    preset: str,
    folder: Path,
    advantages_PG: Tensor,
    *,
    microbatches: int = 1,
    reference: Sequence[Tensor] | None = None,
) -> Tensor:
    """The gradient of TRL's own loss, summed over micro-batches; with a divergence where a reference is given."""
    from trl.trainer.utils import split_tensor_dict

    trainer = trl_trainer(preset, folder, microbatches)
    inputs = {
        **trl_inputs(trainer),
        "advantages": advantages_PG.flatten().float(),
        "old_per_token_logps": pad_sequence(old_logprobs(), batch_first=True),
    }
    if reference is not None:
        trainer.beta = KL_COEFFICIENT
        inputs["ref_per_token_logps"] = pad_sequence(list(reference), batch_first=True)
    for _ in range(UPDATES.get(preset, 1)):
        trainer.model.zero_grad()
        for number, part in enumerate(split_tensor_dict(inputs, microbatches), 1):
            trainer.accelerator.gradient_state._set_sync_gradients(number == microbatches)
            trainer.compute_loss(trainer.model, part).backward()
    return flat_gradient(trainer.model)


def our_gradient(preset: str, advantages_PG: Tensor, *, reference: PreTrainedModel | None = None) -> Tensor:
    """The gradient of the last update of the Learner, before clipping."""
    divergence = {} if reference is None else {"kl_coefficient": KL_COEFFICIENT}
    config = run_config(
        algorithm={"preset": preset, **OURS.get(preset, {}), **divergence},
        rollout={
            "prompts_per_step": 3,
            "samples_per_prompt": 4,
            "max_new_tokens": LONGEST,
            "temperature": TEMPERATURE,
        },
    )
    initial = None if reference is None else logprob_model(reference, TEMPERATURE)
    one = policy_learner(small_llama(), config, kind=Recorder, reference=initial)
    prompts = [letter_tokenizer()(prompt)["input_ids"] for prompt in PROMPTS for _ in range(4)]
    columns = zip(prompts, completions(), advantages_PG.flatten().tolist(), old_logprobs(), strict=True)
    samples = [training_sample(*column, sampler_logprobs=tuple(old.tolist())) for *column, old in columns]
    one.old = dict(zip(samples, old_logprobs(), strict=True))
    for _ in range(UPDATES.get(preset, 1)):
        one.update(samples)
    return one.gradient


# TRL's entropy bonus is a mean over the tokens of each micro-batch: how the batch is cut changes it.
CUTS = [(preset, count) for preset in TRL_SETTINGS for count in (1, 3) if (preset, count) != ("skywork_or1", 3)]


@pytest.mark.parametrize(("preset", "microbatches"), CUTS)
def test_our_gradient_is_that_of_trl(preset: str, microbatches: int, tmp_path: Path) -> None:
    is_centered = TRL_SETTINGS[preset]["scale_rewards"] == "none"
    advantages_PG = (group_centered if is_centered else group_normalized)(REWARDS_PG)
    ours = our_gradient(preset, advantages_PG)
    theirs = trl_gradient(preset, tmp_path, advantages_PG, microbatches=microbatches)
    assert float(torch.cosine_similarity(ours, theirs, dim=0)) > 0.99999
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=1e-4)


def test_a_divergence_in_the_loss_is_that_of_trl_after_the_policy_has_moved(tmp_path: Path) -> None:
    reference, advantages_PG = small_llama(seed=1), group_centered(REWARDS_PG)
    prompts = [letter_tokenizer()(prompt)["input_ids"] for prompt in PROMPTS for _ in range(4)]
    with torch.no_grad():
        logprobs = [slow_logprobs(reference, *pair) for pair in zip(prompts, completions(), strict=True)]
    ours = our_gradient("grpo", advantages_PG, reference=reference)
    theirs = trl_gradient("grpo", tmp_path, advantages_PG, reference=logprobs)
    assert float(torch.cosine_similarity(ours, theirs, dim=0)) > 0.99999
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=1e-4)
    without = our_gradient("grpo", advantages_PG)
    assert float((ours - without).norm()) > 0.1 * float(ours.norm())


def test_masks_and_bonus_act_on_the_scripted_completions() -> None:
    for preset, off in (("deepseek_v3_2", {"off_policy_threshold": 10.0}), ("skywork_or1", {"entropy_target": 1e-6})):
        advantages_PG = group_centered(REWARDS_PG)
        acting = our_gradient(preset, advantages_PG)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(OURS, preset, off)
            assert float((acting - our_gradient(preset, advantages_PG)).norm()) > 0.1 * float(acting.norm())


@pytest.mark.parametrize("target", [0.01, 10.0])
def test_the_entropy_coefficient_moves_as_that_of_trl(target: float, tmp_path: Path) -> None:
    trainer = trl_trainer("skywork_or1", tmp_path, 1)
    trainer.args.entropy_target, trainer.args.entropy_coef_delta, trainer.entropy_coef = target, 0.3, 0.5
    changes = {"entropy_target": target, "entropy_delta": 0.3, "entropy_coefficient": 0.5}
    subject = EntropyController(run_config(algorithm={"preset": "skywork_or1", **changes}).method)
    inputs = trl_inputs(trainer)
    for _ in range(3):
        trainer.compute_loss(trainer.model, inputs)
        subject.adapt(trainer._last_world_entropy * 7, 7)
        assert subject.coefficient == pytest.approx(trainer.entropy_coef)
    assert subject.coefficient == (1.0 if target == 10.0 else 0.0)


def test_centered_advantages_are_those_of_trl(tmp_path: Path) -> None:
    theirs = trl_inputs(trl_trainer("dr_grpo", tmp_path, 1))["advantages"]
    assert torch.allclose(theirs, group_centered(REWARDS_PG).flatten(), atol=1e-6)


@pytest.mark.parametrize("preset", ["grpo", "dapo"])
def test_normalized_advantages_differ_from_those_of_trl_by_the_definition_of_the_spread(
    preset: str, tmp_path: Path
) -> None:
    """TRL divides by the spread with G - 1 as divisor, plus 1e-4; we by that with G, plus 1e-6 (arXiv:2402.03300)."""
    theirs = trl_inputs(trl_trainer(preset, tmp_path, 1))["advantages"]
    wider = group_centered(REWARDS_PG) / (REWARDS_PG.std(dim=1, correction=1, keepdim=True) + 1e-4)
    assert torch.allclose(theirs, wider.flatten(), atol=1e-6)
    ratio = (4 / 3) ** 0.5
    assert torch.allclose(theirs * ratio, group_normalized(REWARDS_PG).flatten(), rtol=1e-3)


def test_the_scripted_policy_is_clipped_on_both_sides() -> None:
    model, prompts = small_llama(), [letter_tokenizer()(p)["input_ids"] for p in PROMPTS for _ in range(4)]
    current = torch.cat([slow_logprobs(model, *pair) for pair in zip(prompts, completions(), strict=True)])
    ratios = (current - torch.cat(old_logprobs())).exp()
    assert 0.1 < float((ratios > 1.28).float().mean()) < 0.5
    assert 0.1 < float((ratios < 0.8).float().mean()) < 0.5


@pytest.mark.slow
def test_the_benchmark_against_trl_ends_in_its_headline() -> None:
    script = Path(__file__).parent.parent / "benchmarks" / "grpo_step.py"
    options = ["--small", "--pairs", "1", "--max-new-tokens", "4"]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, check=True)
    *lines, headline = done.stdout.splitlines()
    assert re.fullmatch(r"[\d.]+x", headline)
    for dtype in ("float32", "bfloat16"):
        assert sum(line.startswith(f"{dtype}, pairs: 1;") for line in lines) == 1
    assert {"sampling s", "learning s", "step s", "completion tokens"} <= {line[:24].strip() for line in lines}
