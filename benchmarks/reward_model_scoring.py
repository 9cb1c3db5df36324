"""How fast a reward model scores the completions of a step, against TRL's way of doing it.

TRL's GRPOTrainer tokenizes prompt and completion of every sample together, pads all rows at the right to the longest,
and runs one forward pass of a sequence classifier over them. Here a prompt is computed once for its completions, and
completions of like length go together. Both sides tokenize, score the same texts with the same weights in the same type
of products, and must give the same scores; they take turns, and which comes first changes from pair to pair.

  reasonrl models get smollm2-135m-instruct
  python benchmarks/reward_model_scoring.py
  python benchmarks/reward_model_scoring.py --dtype bfloat16 --mean-tokens 200 --max-tokens 512

TRL's side is its code of ``_calculate_rewards``, without the trainer around it. Its padding token is not its
end-of-sequence token: where the two are one, transformers reads the score at another token. The gain depends on how
much of the texts is shared and on how their lengths vary: what each side computes is printed.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from measuring import machine, row, spread
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.errors import ReasonRLError
from reasonrl.models.hardware import autocast, find_device, keep_freed_memory
from reasonrl.models.load import load_classifier, load_tokenizer
from reasonrl.plugins.builtin import TEMPLATES
from reasonrl.preference.card import HeadScale, RewardModelCard, TemplateCard
from reasonrl.preference.encoding import encoder_of
from reasonrl.preference.model import RewardModel
from reasonrl.types import Problem

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.3}
"""Largest difference of two scores that rounding explains, where their spread is about 1."""

SENTENCE = "the first number is then we have to so that all of them cost each day and what was left of it makes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    model: str
    device: str
    dtype: Any
    """Type of products, by name. Any: one of three."""
    prompts: int
    samples: int
    mean_tokens: int
    max_tokens: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Trl:
    """The model as TRL's GRPOTrainer loads and asks it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype

    @torch.inference_mode()
    def scores(self, texts: Sequence[str]) -> list[float]:
        """Score prompts with completions, each in one text, in one forward pass."""
        inputs = self.tokenizer(
            text=list(texts), return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False
        )
        asked = {name: inputs[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        with autocast(self.model.device, self.dtype):
            found: list[float] = self.model(**asked).logits[:, 0].float().tolist()
        return found


def reward_model(options: Options, folder: Path) -> RewardModel:
    """Save the backbone with a head that starts at random, and load it."""
    torch.manual_seed(0)
    tokenizer, template = load_tokenizer(options.model), TEMPLATES["plain"]
    card = RewardModelCard(
        kind="bradley_terry",
        num_heads=1,
        template=TemplateCard(name="plain", text=template.text, chat=False),
        max_length=4096,
        too_long="drop",
        scales=(HeadScale(mean=0.0, std=1.0, p999=10.0),),
        base_model=options.model,
    )
    RewardModel(
        card=card,
        tokenizer=tokenizer,
        encoder=encoder_of(card, tokenizer),
        model=load_classifier(options.model, torch.device("cpu"), num_labels=1),
        dtype=torch.float32,
    ).save(folder)
    return RewardModel.load(folder, find_device(options.device), dtype=options.dtype)


def trl(folder: Path, ours: RewardModel) -> Trl:
    """Load the same model as TRL does; in half precision accelerate runs its forward pass under autocast."""
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    tokenizer = load_tokenizer(str(folder))
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        raise SystemExit(
            "transformers would read scores at other tokens: the tokenizer has no special token to pad with."
        )
    model.config.pad_token_id = tokenizer.pad_token_id
    return Trl(model.to(ours.model.device).eval(), tokenizer, ours.dtype)


def step(options: Options) -> list[tuple[Problem, str]]:
    """Return the completions of a step: lengths vary as those of reasoning do, a few being long."""
    generator = random.Random(0)

    def text(words: int) -> str:
        return " ".join(generator.choices(SENTENCE.split(), k=words))

    def length() -> int:
        return min(16 + int(generator.expovariate(1 / max(options.mean_tokens - 16, 1))), options.max_tokens)

    problems = [
        Problem(id=str(number), task="benchmark", prompt=text(generator.randint(40, 100)), answer="")
        for number in range(options.prompts)
    ]
    return [(problem, f" {text(length())}") for problem in problems for _ in range(options.samples)]


def benchmark(options: Options) -> Iterator[str]:
    """Measure and tell."""
    yield from machine("trl")
    with TemporaryDirectory() as folder:
        ours = reward_model(options, Path(folder))
        theirs = trl(Path(folder), ours)
    items = step(options)
    texts = whole_texts(ours, items)
    yield (
        f"{options.model} on {ours.model.device}, {str(ours.dtype).removeprefix('torch.')} products: "
        f"{options.prompts} prompts x {options.samples} completions, medians over {options.pairs} pairs after a warm-up"
    )
    yield from told(theirs, ours, items, texts)
    rates = {"reasonrl": list[float](), "trl": list[float]()}
    for number in range(options.pairs + 1):
        scores, seconds = pair(ours, theirs, items, texts, ours_first=bool(number % 2))
        require_equal(scores, ours.dtype)
        if number:
            for side in rates:
                rates[side].append(len(items) / seconds[side])
    yield row("", "sequences a second")
    for side, reached in rates.items():
        yield row(side, spread(reached))
    yield f"{median(mine / other for mine, other in zip(rates['reasonrl'], rates['trl'], strict=True)):.1f}x"


def whole_texts(ours: RewardModel, items: Sequence[tuple[Problem, str]]) -> list[str]:
    """Return prompt, completion and end in one text, which is cut into the same tokens."""
    end = ours.tokenizer.eos_token
    texts = [f"{ours.encoder.renderer.text(problem)}{text}{end}" for problem, text in items]
    for text, item in zip(texts, items, strict=True):
        ids = ours.encoder.ids(*item)
        assert ids is not None, "no text is too long"
        assert ours.tokenizer(text, add_special_tokens=False)["input_ids"] == [*ids[0], *ids[1]], "the tokens differ"
    return texts


def told(theirs: Trl, ours: RewardModel, items: Sequence[tuple[Problem, str]], texts: Sequence[str]) -> Iterator[str]:
    """Say how long the texts are, and what is computed of them."""
    rows = [ids for item in items if (ids := ours.encoder.ids(*item)) is not None]
    prompts, afters = {prompt for prompt, _ in rows}, [len(after) for _, after in rows]
    lengths = [len(prompt) for prompt in prompts]
    padded = len(texts) * max(len(prompt) + len(after) for prompt, after in rows)
    yield (
        f"prompts of {min(lengths)} to {max(lengths)} tokens, completions of {min(afters)} to {max(afters)}, "
        f"mean {sum(afters) / len(afters):.0f}: {sum(lengths) + sum(afters):,} different tokens, {padded:,} in "
        f"TRL's padded rows"
    )


def pair(
    ours: RewardModel, theirs: Trl, items: Sequence[tuple[Problem, str]], texts: Sequence[str], *, ours_first: bool
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Score with both sides; return scores and seconds by side."""
    scores, seconds = dict[str, list[float]](), dict[str, float]()
    for side in ("reasonrl", "trl") if ours_first else ("trl", "reasonrl"):
        began = perf_counter()
        if side == "trl":
            scores[side] = theirs.scores(texts)
        else:
            scores[side] = [found[0] for found in ours.scores(items) if found is not None]
        seconds[side] = perf_counter() - began
    return scores, seconds


def require_equal(scores: dict[str, list[float]], dtype: torch.dtype) -> None:
    """Hold that both sides gave the same scores."""
    differences = [abs(one - other) for one, other in zip(scores["reasonrl"], scores["trl"], strict=True)]
    assert max(differences) < TOLERANCE[dtype], f"the scores differ by up to {max(differences):.3g}"


def options_from() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="smollm2-135m-instruct", help="a name from `reasonrl models list`, or a folder")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    add("--dtype", default="float32", choices=["auto", "float32", "bfloat16"], help="type of products (%(default)s)")
    add("--prompts", type=int, default=8, help="prompts of the step (%(default)s)")
    add("--samples", type=int, default=8, help="completions of each prompt (%(default)s)")
    add("--mean-tokens", type=int, default=80, help="mean length of a completion, about (%(default)s)")
    add("--max-tokens", type=int, default=256, help="longest completion, about (%(default)s)")
    add("--pairs", type=int, default=5, help="measured pairs, after a warm-up (%(default)s)")
    return Options(**vars(parser.parse_args()))


def main() -> None:
    """Measure and print."""
    try:
        keep_freed_memory()
        for line in benchmark(options_from()):
            print(line, flush=True)
    except ReasonRLError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
