"""Our gradient is TRL's: GRPOTrainer and the Learner, given the same tokens, rewards and model.

TRL tokenizes, pads, scores, compares and loses with its own code; only the sampling is scripted. The settings keep
clear of what TRL does differently on purpose or by mistake: one optimizer step a batch of completions (trl issue
5619), no vLLM correction (5814), no KL term, an explicit ``epsilon_high``.
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
from builders import VOCABULARY, letter_tokenizer, policy_learner, run_config, small_llama, training_sample
from gradients import Recorder, flat_gradient
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from reasonrl.algorithms.advantages import group_centered, group_normalized

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

TRL_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "grpo": {"loss_type": "grpo", "scale_rewards": "group", "epsilon_high": 0.2},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none", "epsilon_high": 0.2},
    "dapo": {"loss_type": "dapo", "scale_rewards": "group", "epsilon_high": 0.28},
}
"""What each of our presets is called in TRL. Any: each setting has a type of its own."""


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

    settings = trl.GRPOConfig(
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
        epsilon=0.2,
        **TRL_SETTINGS[preset],
    )
    trainer = trl.GRPOTrainer(
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


def trl_gradient(preset: str, folder: Path, advantages_PG: Tensor, *, microbatches: int = 1) -> Tensor:
    """The gradient of TRL's own loss, summed over micro-batches."""
    from trl.trainer.utils import split_tensor_dict

    trainer = trl_trainer(preset, folder, microbatches)
    inputs = {
        **trl_inputs(trainer),
        "advantages": advantages_PG.flatten().float(),
        "old_per_token_logps": pad_sequence(old_logprobs(), batch_first=True),
    }
    for part in split_tensor_dict(inputs, microbatches):
        trainer.compute_loss(trainer.model, part).backward()
    return flat_gradient(trainer.model)


def our_gradient(preset: str, advantages_PG: Tensor) -> Tensor:
    """The gradient of one update of the Learner, before clipping."""
    config = run_config(
        algorithm=preset,
        rollout={
            "prompts_per_step": 3,
            "samples_per_prompt": 4,
            "max_new_tokens": LONGEST,
            "temperature": TEMPERATURE,
        },
    )
    one = policy_learner(small_llama(), config, kind=Recorder)
    prompts = [letter_tokenizer()(prompt)["input_ids"] for prompt in PROMPTS for _ in range(4)]
    columns = zip(prompts, completions(), advantages_PG.flatten().tolist(), strict=True)
    samples = [training_sample(*column) for column in columns]
    one.old = dict(zip(samples, old_logprobs(), strict=True))
    one.update(samples)
    return one.gradient


@pytest.mark.parametrize("microbatches", [1, 3])
@pytest.mark.parametrize("preset", TRL_SETTINGS)
def test_our_gradient_is_that_of_trl(preset: str, microbatches: int, tmp_path: Path) -> None:
    advantages_PG = (group_centered if preset == "dr_grpo" else group_normalized)(REWARDS_PG)
    ours = our_gradient(preset, advantages_PG)
    theirs = trl_gradient(preset, tmp_path, advantages_PG, microbatches=microbatches)
    assert float(torch.cosine_similarity(ours, theirs, dim=0)) > 0.99999
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=1e-4)


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
