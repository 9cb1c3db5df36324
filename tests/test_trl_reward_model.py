"""Our reward models learn as TRL's do: RewardTrainer and our trainer, given the same pairs, steps and start.

TRL is given our token ids, in our order. It adds the end-of-sequence token to texts by itself, but to conversations
whatever their chat template ends with, and it pads with the end-of-sequence token unless the tokenizer has another
one: it then learns from the scores of the tokens before the end. The padding token is another one here.
"""

# Parts of transformers, TRL and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.models.load import load_classifier, load_tokenizer
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.preference.data import load_data
from reasonrl.preference.encoded import EncodedPair
from reasonrl.preference.trainer import RewardModelTrainer

trl = pytest.importorskip("trl", reason="compares with TRL, which is not installed: pip install 'reasonrl[trl]'")

pytestmark = [
    pytest.mark.slow,
    # What TRL and its trainer warn about is not ours to mend.
    pytest.mark.filterwarnings("default"),
]

STEPS, PAIRS = 20, 8
TOLERANCE = 1e-5
"""Of losses around 1, after up to 20 steps of AdamW."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with heads, from which both begin."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    load_classifier("tiny", torch.device("cpu"), num_labels=1).save_pretrained(folder)
    load_tokenizer("tiny").save_pretrained(folder)
    return folder


def our_trainer(start: Path, folder: Path, centering: float) -> RewardModelTrainer:
    """Ours, on pairs of which the right sum is preferred, one of each prompt."""
    random = Random(0)
    with (folder / "pairs.jsonl").open("w") as file:
        for _ in range(400):
            a, b = random.randint(1, 99), random.randint(1, 99)
            wrong = a + b + random.choice((-10, -1, 1, 10))
            row = {"prompt": f"What is {a} plus {b}?", "chosen": f"It is {a + b}.", "rejected": f"It is {wrong}."}
            file.write(json.dumps({**row, "margin": random.random()}) + "\n")
    config = RewardModelConfig.model_validate(
        {
            "name": "ours",
            "model": {"name": str(start), "compute_dtype": "float32"},
            "data": {"path": str(folder / "pairs.jsonl")},
            "template": "plain",
            "objective": {"centering": centering, "by_prompt": False},
            "pairs_per_step": PAIRS,
            "learner": {"learning_rate": 3e-4, "schedule": "linear", "microbatch_tokens": 200},
            "run": {"steps": STEPS},
        }
    )
    return RewardModelTrainer.build(config, load_data(config.data, "bradley_terry"), installed_plugins())


class Recording(trl.RewardTrainer):  # type: ignore[misc, name-defined]  # its types are not looked at
    """TRL's trainer, which notes the loss of each step and takes the rows in their order."""

    def __init__(self, **arguments: Any) -> None:
        self.losses: list[float] = []
        super().__init__(**arguments)

    def compute_loss(self, *arguments: Any, **named: Any) -> Any:
        loss = super().compute_loss(*arguments, **named)
        self.losses.append(float(loss.detach()))
        return loss

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def trl_trainer(ours: RewardModelTrainer, start: Path, folder: Path, centering: float, padding: str = "a") -> Recording:
    """TRL's with the same pairs."""
    from datasets import Dataset

    pairs = [ours._train[index] for step in range(1, STEPS + 1) for index in ours._order.at(step)]
    tokenizer = load_tokenizer(str(start))
    tokenizer.pad_token = padding
    arguments = trl.RewardConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=PAIRS,
        max_steps=STEPS,
        learning_rate=3e-4,
        lr_scheduler_type="linear",
        center_rewards_coefficient=centering or None,
        max_length=None,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    return Recording(
        model=AutoModelForSequenceClassification.from_pretrained(start),
        args=arguments,
        train_dataset=Dataset.from_list([columns(pair) for pair in pairs if isinstance(pair, EncodedPair)]),
        processing_class=tokenizer,
    )


def columns(pair: EncodedPair) -> dict[str, Any]:
    """A row as TRL's collator takes it. Any: columns."""
    chosen, rejected = ([*text.prompt, *text.after] for text in pair.texts)
    return {"chosen_ids": chosen, "rejected_ids": rejected, "margin": pair.example.margin}


@pytest.mark.parametrize("centering", [0.0, 0.05])
def test_the_loss_curve_and_the_weights_are_those_of_trl(start: Path, tmp_path: Path, centering: float) -> None:
    ours = our_trainer(start, tmp_path, centering)
    theirs = trl_trainer(ours, start, tmp_path, centering)
    theirs.train()
    losses = [ours.step(step)["rm/loss"] for step in range(1, STEPS + 1)]
    differences = [abs(one - other) for one, other in zip(losses, theirs.losses, strict=True)]
    print(f"\nlosses of ours {', '.join(f'{loss:.4f}' for loss in losses)}")
    print(f"largest difference to TRL's: {max(differences):.2e}; of the first step {differences[0]:.2e}")
    assert differences[0] < 1e-6
    assert max(differences) < TOLERANCE
    before = load_classifier(str(start), torch.device("cpu"), num_labels=1).state_dict()
    weights, others = ours.model.state_dict(), theirs.model.state_dict()
    moved = max(float((weight - before[name]).abs().max()) for name, weight in others.items())
    apart = max(float((weight - weights[name]).abs().max()) for name, weight in others.items())
    print(f"weights moved by up to {moved:.2e} and are up to {apart:.2e} apart")
    assert apart < 0.02 * moved


def test_trl_learns_from_another_token_where_it_pads_with_the_end_token(start: Path, tmp_path: Path) -> None:
    ours = our_trainer(start, tmp_path, centering=0.0)
    theirs = trl_trainer(ours, start, tmp_path, centering=0.0, padding="<|endoftext|>")
    theirs.train()
    assert abs(theirs.losses[0] - ours.step(1)["rm/loss"]) > 1e-3
