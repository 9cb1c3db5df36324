"""``reasonrl sft`` beside a plain script of TRL's with the same settings: tokens, masks and the loss of every step.

    python benchmarks/sft_against_trl.py [--conversations 200] [--steps 10] [--folder FOLDER]

Both learn the same conversations (one to three answers, some with a system prompt) from SmolLM2-135M-Instruct. TRL
renders and tokenizes them by itself, with ``assistant_only_loss``: the chat template is SmolLM2's with the markers that
it makes masks of, and the script refuses to go on where the two write a conversation differently. The same questions
and answers are compared a second time as ``prompt`` and ``completion``, with ``completion_only_loss``.

Our rows end with the end of the last answer. What TRL has after it, the line break that the chat template writes,
follows everything that has a loss; with ``completion_only_loss`` TRL learns it too, though no sampler gets there.
"""

# TRL and datasets are untyped.
# mypy: disallow-untyped-calls=False

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from transformers import PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback

from reasonrl.config.finetune import SFTRunConfig
from reasonrl.finetune.training import build_finetuning
from reasonrl.models import locate
from reasonrl.models.load import load_tokenizer
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.finetune.data import load_finetune_data
from reasonrl.run.finetune.show import shown_row

Conversation: TypeAlias = list[dict[str, str]]

MODEL: Final = "smollm2-135m-instruct"
ROWS_PER_STEP, MICROBATCH, RATE, WARMUP, SEED = 8, 4, 5e-5, 2, 1

TURN: Final = "'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'"
"""How SmolLM2's chat template writes a turn."""
MARKED: Final = (
    "'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}{% generation %}"
    "{{message['content'] + '<|im_end|>'}}{% endgeneration %}{% else %}{{message['content'] + '<|im_end|>'}}{% endif %}"
    "{{'\n'"
)
"""The same with the answer marked."""

SYSTEMS: Final = ("", "", "Answer in one short sentence.", "You are a patient teacher.\nExplain each step.")
ANSWERS: Final = (
    "It is {c}.",
    "{a} + {b} = {c}",
    "First {a}, then {b} more:\n\n{a} + {b} = {c}.\n\nSo the answer is **{c}**.",
    "<think>\n{a} and {b} make {c}.\n</think>\n<answer>{c}</answer>",
    "```python\nprint({a} + {b})  # {c}\n```",
    "Das ergibt {c} – größer als {a}.",
)


def conversations(count: int) -> list[Conversation]:
    """Make conversations about sums."""
    chance = random.Random(SEED)
    return [list(_conversation(chance)) for _ in range(count)]


def _conversation(chance: random.Random) -> Iterator[dict[str, str]]:
    if system := chance.choice(SYSTEMS):
        yield {"role": "system", "content": system}
    for _ in range(chance.randint(1, 3)):
        a, b = chance.randint(1, 99), chance.randint(1, 99)
        yield {"role": "user", "content": chance.choice((f"What is {a} + {b}?", f"{a} plus {b}, please."))}
        yield {"role": "assistant", "content": chance.choice(ANSWERS).format(a=a, b=b, c=a + b)}


def marked_tokenizer(talks: Sequence[Conversation]) -> PreTrainedTokenizerBase:
    """Return SmolLM2's tokenizer, whose chat template marks answers and writes the same."""
    plain, marked = load_tokenizer(MODEL), load_tokenizer(MODEL)
    assert isinstance(plain.chat_template, str)
    marked.chat_template = plain.chat_template.replace(TURN, MARKED)
    assert "generation" in marked.chat_template
    for talk in talks:
        ours, theirs = (each.apply_chat_template(talk, tokenize=False) for each in (plain, marked))
        assert ours == theirs, f"{ours!r} is not {theirs!r}"
    return marked


def settings(path: Path, steps: int) -> SFTRunConfig:
    """Return our run."""
    return SFTRunConfig.model_validate(
        {
            "name": "against-trl",
            "model": {"name": MODEL, "compute_dtype": "float32"},
            "data": {"path": str(path)},
            "rows_per_step": ROWS_PER_STEP,
            "seed": SEED,
            "learner": {
                "learning_rate": RATE,
                "schedule": "cosine",
                "warmup_steps": WARMUP,
                "microbatch_rows": MICROBATCH,
            },
            "run": {"steps": steps},
        }
    )


def plain_trainer(rows: Sequence[Mapping[str, Any]], tokenizer: Any, folder: Path, steps: int, **masks: bool) -> Any:
    """Return TRL's trainer as its documentation has it, with our settings under its names. Any: TRL is untyped."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        str(folder),
        seed=SEED,
        per_device_train_batch_size=MICROBATCH,
        gradient_accumulation_steps=ROWS_PER_STEP // MICROBATCH,
        learning_rate=RATE,
        lr_scheduler_type="cosine",
        warmup_steps=WARMUP,
        max_steps=steps,
        max_length=1024,
        logging_steps=1,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **masks,
    )
    data = Dataset.from_list([dict(row) for row in rows])
    return SFTTrainer(locate(MODEL), arguments, train_dataset=data, processing_class=tokenizer)


def compare_rows(name: str, ours: Any, theirs: Any) -> None:
    """Print how many rows have the same tokens and the same mask. Any: data sets of ``datasets``."""
    same_tokens = same_masks = beyond = 0
    for our, their in zip(ours, theirs, strict=True):
        length = len(our["input_ids"])
        same_tokens += our["input_ids"] == their["input_ids"][:length]
        same_masks += our["labels"] == their["labels"][:length]
        beyond += any(label != -100 for label in their["labels"][length:])
    print(f"{name}: {len(ours)} rows, {same_tokens} with the same tokens, {same_masks} with the same mask, ", end="")
    print(f"{beyond} where TRL learns something after our last token")


def our_columns(path: Path, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return rows as our run gives them to TRL, without training. Any: a data set of ``datasets``."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = settings(path, 1 + WARMUP)
    data = load_finetune_data(config, Plugins())
    tuned = build_finetuning(config, data.rows, data.source, Plugins())
    tuned.close()
    return tuned.trainer.train_dataset


def trained(path: Path, steps: int) -> list[float]:
    """Train with our settings; return the loss of each step."""
    config = settings(path, steps)
    data = load_finetune_data(config, Plugins())
    tuned = build_finetuning(config, data.rows, data.source, Plugins())
    losses: list[float] = []

    def after_step(step: int, logs: Mapping[str, float]) -> bool:
        losses.append(logs["loss"])
        return True

    tuned.trainer.train_from(None, after_step)
    tuned.close()
    return losses


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("sft_against_trl"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    talks = conversations(given.conversations)
    tokenizer = marked_tokenizer(talks)
    path = given.folder / "conversations.jsonl"
    messages = [{"messages": talk} for talk in talks]
    ours = our_columns(path, messages)
    print(shown_row(settings(path, given.steps), Plugins(), 0).text())

    plain = plain_trainer(messages, tokenizer, given.folder / "trl", given.steps, assistant_only_loss=True)
    compare_rows("conversations, assistant_only_loss", ours, plain.train_dataset)
    single = [{"prompt": talk[:-1], "completion": talk[-1:]} for talk in talks]
    of_pairs = plain_trainer(single, tokenizer, given.folder / "trl", given.steps, completion_only_loss=True)
    both = our_columns(given.folder / "prompts.jsonl", single), of_pairs.train_dataset
    compare_rows("prompt and completion, completion_only_loss", *both)
    del of_pairs

    plain.remove_callback(PrinterCallback)
    plain.train()
    theirs = [line["loss"] for line in plain.state.log_history if "loss" in line]
    del plain
    losses = trained(path, given.steps)
    print(f"step  {'reasonrl sft':>14}  {'TRL':>14}  difference")
    for step, (one, other) in enumerate(zip(losses, theirs, strict=True), start=1):
        print(f"{step:>4}  {one:>14.9f}  {other:>14.9f}  {one - other:+.1e}")
    print(f"greatest difference {max(abs(one - other) for one, other in zip(losses, theirs, strict=True)):.1e}")


if __name__ == "__main__":
    main()
