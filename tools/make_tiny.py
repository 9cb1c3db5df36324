"""Make the tiny base model that lives in the package: corpus, tokenizer, pretraining.

The model knows the shape of a chain of thought and is often wrong, on purpose: most of its corpus blurts a
guess, some of it works the problem out, and some of that slips. Reinforcement learning has something to find
in it. Every problem comes from the ``train`` split, so the model has never seen a held-out one.

    python tools/make_tiny.py --out reasonrl/models/tiny
"""

import argparse
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice, product
from pathlib import Path
from random import Random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reasonrl import Problem
from reasonrl_tasks.arithmetic import arithmetic
from reasonrl_tasks.countdown import countdown

# --- The corpus --------------------------------------------------------------------------------------------

R1_ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the "
    "answer. The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> "
    "tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
    "User: {prompt} Assistant:"
)
PLAIN = "Question: {prompt}\nAnswer:"
TEMPLATE_SHARES = {PLAIN: 0.6, R1_ZERO: 0.4}
"""Both are known well; the longer one costs more a document."""

ARITHMETIC_SHARE = 0.6
"""The rest is countdown, whose chains hold more sums a document and teach arithmetic too."""

THOUGHT_SHARES = {"none": 0.55, "right": 0.31, "slip": 0.09, "repaired": 0.05}
"""How a response thinks. The immediate guess is the mode, so greedy decoding blurts; one response in three
is meant to work it out correctly, so a group of eight samples usually holds one to learn from."""

ENDING_SHARES = {"tags": 0.80, "bare tag": 0.06, "sentence": 0.06, "boxed": 0.05, "nothing": 0.03}
"""How a response ends. Most close in the tags a reward can read; the others teach what not to do."""

GUESS_RIGHT_SHARE = 0.2
"""Guesses are near the answer, and now and then right: blurting pays a little, as it does for people."""

GUESS_OFFSETS = (1, 2, 3, 4, 5, 6, 8, 10)
SLIP_OFFSETS = (1, 2, 3, 10)
Shares = Mapping[str, float]
"""Drawn in proportion, whatever they add up to."""

Term = tuple[int, int]
"""A sign, 1 or -1, and a number."""


@dataclass(frozen=True, slots=True)
class Document:
    """One prompt with one response; only the response is learned."""

    prompt: str
    response: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a response says: its working, possibly empty, and the answer it arrives at."""

    working: str
    answer: str


def choose(random: Random, shares: Shares) -> str:
    """Draw a key with the probability of its share."""
    return random.choices(list(shares), list(shares.values()))[0]


AttemptFn = Callable[[Random, Problem, str], Attempt]
"""Attempts a problem in the named way to think."""


def write(random: Random, problem: Problem, attempt: AttemptFn) -> Document:
    """Write one document: a template around the problem, a way to think, a way to end."""
    template = choose(random, TEMPLATE_SHARES)
    attempted = attempt(random, problem, choose(random, THOUGHT_SHARES))
    return Document(template.format(prompt=problem.prompt), finish(attempted, choose(random, ENDING_SHARES)))


def finish(attempt: Attempt, ending: str) -> str:
    """Lay out an attempt in one of the styles; a completion begins with a space."""
    working = f" {attempt.working}" if attempt.working else ""
    return {
        "tags": f" <think>{working} </think> <answer> {attempt.answer} </answer>",
        "bare tag": f"{working} <answer> {attempt.answer} </answer>",
        "sentence": f"{working} The answer is {attempt.answer}.",
        "boxed": f"{working} The answer is \\boxed{{{attempt.answer}}}.",
        "nothing": f" <think>{working} </think> {attempt.answer}",
    }[ending]


# Arithmetic: one step a term, from left to right.


def attempt_arithmetic(random: Random, problem: Problem, thought: str) -> Attempt:
    """Blurt a number near the answer, or add up term by term with or without a slip."""
    if thought == "none":
        return Attempt("", str(_guess(random, int(problem.answer))))
    terms = _terms(problem.prompt)
    slip_at = random.randrange(1, len(terms)) if thought != "right" else None
    return _add_up(random, terms, slip_at=slip_at, repair=thought == "repaired")


def _guess(random: Random, answer: int) -> int:
    """Return the answer or a number near it."""
    if random.random() < GUESS_RIGHT_SHARE:
        return answer
    return abs(answer + random.choice((1, -1)) * random.choice(GUESS_OFFSETS))


def _terms(prompt: str) -> list[Term]:
    """Read ``What is 7 + 15 - 4?``."""
    return [(-1 if sign else 1, int(number)) for sign, number in re.findall(r"(- )?(\d+)", prompt)]


def _add_up(random: Random, terms: Sequence[Term], *, slip_at: int | None = None, repair: bool = False) -> Attempt:
    """Add the terms one by one; a slip is carried on unless it is repaired at once."""
    total, said = terms[0][1], list[str]()
    for index, (sign, number) in enumerate(terms[1:], start=1):
        step, right = f"{total} {'-' if sign < 0 else '+'} {number} =", total + sign * number
        total = _slipped(random, right) if index == slip_at else right
        said.append(f"{step} {total}.")
        if total != right and repair:
            said.append(f"Wait, {step} {right}.")
            total = right
    return Attempt(" ".join(said), str(total))


def _slipped(random: Random, result: int) -> int:
    """Return a result that is wrong in the way of a slip: off by a little, or by a ten."""
    return abs(result + random.choice((1, -1)) * random.choice(SLIP_OFFSETS))


# Countdown: try signs for the numbers until the total is the target.


def attempt_countdown(random: Random, problem: Problem, thought: str) -> Attempt:
    """Blurt an expression, or search; a slip gives up early or wishes the total to be the target."""
    numbers, target = problem.meta["numbers"], int(problem.answer)
    if thought == "none":
        signs = random.choices((1, -1), k=len(numbers) - 1)
        first, *rest = random.sample(numbers, len(numbers))
        return Attempt("", _expression([(1, first), *zip(signs, rest, strict=True)]))
    tries = list(_tries(random, numbers, target))
    if thought == "slip":
        return _wrong_search(random, tries, target)
    return Attempt(" ".join(_say(terms, target) for terms in tries), _expression(tries[-1]))


def _wrong_search(random: Random, tries: Sequence[Sequence[Term]], target: int) -> Attempt:
    """Give up before the end of the search, and wish the last total to be the target."""
    cut = tries[: random.randint(1, max(1, len(tries) - 1))]
    said = " ".join(_say(terms, target) for terms in cut)
    return Attempt(re.sub(r"\d+, not (\d+)\.$", r"\1.", said), _expression(cut[-1]))


def _tries(random: Random, numbers: Sequence[int], target: int) -> Iterator[list[Term]]:
    """Yield sign patterns in random order, added numbers first, up to the one that gives the target."""
    patterns = list(product((1, -1), repeat=len(numbers)))
    for signs in random.sample(patterns, len(patterns)):
        shuffled = random.sample(list(zip(signs, numbers, strict=True)), len(numbers))
        terms = sorted(shuffled, key=lambda term: -term[0])
        total = sum(sign * number for sign, number in terms)
        if terms[0][0] > 0 and total >= 0:
            yield terms
        if total == target:
            return


def _say(terms: Sequence[Term], target: int) -> str:
    """Spell out one try: ``9 + 7 = 16. 16 - 13 = 3.``, with ``, not 5`` where it misses."""
    attempt = _add_up(Random(0), terms)
    return attempt.working if int(attempt.answer) == target else f"{attempt.working[:-1]}, not {target}."


def _expression(terms: Sequence[Term]) -> str:
    """Write signed numbers as an expression; the first is never negative."""
    return str(terms[0][1]) + "".join(f" {'-' if sign < 0 else '+'} {number}" for sign, number in terms[1:])


def corpus(seed: int) -> Iterator[Document]:
    """Write documents without end, about problems of the train split alone."""
    random = Random(seed)
    sums = arithmetic(split="train", seed=seed, num_problems=60_000, min_terms=2, max_terms=4, max_value=20)
    searches = countdown(split="train", seed=seed, num_problems=9_000, max_value=25, max_target=75, operations="+-")
    while True:
        if random.random() < ARITHMETIC_SHARE:
            yield write(random, random.choice(sums), attempt_arithmetic)
        else:
            yield write(random, random.choice(searches), attempt_countdown)


# --- The tokenizer -----------------------------------------------------------------------------------------

END = "<|endoftext|>"
PIECES = r"\d| ?</?[a-z]+> ?|(?:(?! <)[^\d<])+| ?<"
"""A digit, a tag, or the text between them. Merges cross spaces (SuperBPE, arXiv:2503.13423), so the fixed
words of a template are a handful of tokens and a step of working is little more than its digits."""


def sample_texts(seed: int) -> Iterator[str]:
    """Yield prompts and responses apart for the tokenizer to learn from."""
    for document in islice(corpus(seed), 20_000):
        yield from (document.prompt, document.response)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Learn byte-level merges until every piece of the sample is one token."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1_024,
        min_frequency=100,
        special_tokens=[END],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


# --- Rows of tokens ----------------------------------------------------------------------------------------

ROW_TOKENS = 144
ROWS_PER_STEP = 14


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document's tokens, the first of them its prompt's."""

    tokens: list[int]
    prompt_length: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Documents laid end to end in rows of T tokens, each blind to its neighbours."""

    tokens_RT: Tensor
    positions_RT: Tensor
    """Position within the document: every document begins at 0, as a prompt does."""
    documents_RT: Tensor
    """Number of the document within the row; -1 for padding."""
    learned_RT: Tensor
    """True where the token is part of a response."""


def encode(tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document]) -> list[Encoded]:
    """Encode prompt and response apart, as sampling does, so that no token spans the two."""
    prompts = tokenizer([document.prompt for document in documents])["input_ids"]
    responses = tokenizer([document.response + END for document in documents])["input_ids"]
    return [Encoded(prompt + response, len(prompt)) for prompt, response in zip(prompts, responses, strict=True)]


def pack(stream: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    """Fill rows one after another; a document that does not fit begins the next row."""
    row: list[Encoded] = []
    used = 0
    for document in stream:
        if used + len(document.tokens) > ROW_TOKENS:
            yield row
            row, used = [], 0
        row.append(document)
        used += len(document.tokens)


def to_rows(packed: Sequence[Sequence[Encoded]], pad: int) -> Rows:
    """Lay packed documents out as tensors."""

    def laid_out(values: Callable[[int, Encoded], Iterable[int]], fill: int) -> Tensor:
        rows = [[value for index, item in enumerate(row) for value in values(index, item)] for row in packed]
        return torch.tensor([row + [fill] * (ROW_TOKENS - len(row)) for row in rows])

    return Rows(
        tokens_RT=laid_out(lambda _, item: item.tokens, pad),
        positions_RT=laid_out(lambda _, item: range(len(item.tokens)), 0),
        documents_RT=laid_out(lambda index, item: [index] * len(item.tokens), -1),
        learned_RT=laid_out(lambda _, item: (i >= item.prompt_length for i in range(len(item.tokens))), 0).bool(),
    )


def batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Rows]:
    """Yield the rows of one optimizer step after another, every document new."""
    documents = corpus(seed)
    rows = pack(encoded for _ in count() for encoded in encode(tokenizer, list(islice(documents, 1_000))))
    while True:
        yield to_rows(list(islice(rows, ROWS_PER_STEP)), tokenizer.pad_token_id)


# --- The model ---------------------------------------------------------------------------------------------

PEAK_LEARNING_RATE = 4e-3
WARMUP_STEPS = 60


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Make a fresh four-layer Llama with tied embeddings."""
    return LlamaForCausalLM(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def response_loss(model: LlamaForCausalLM, rows: Rows) -> Tensor:
    """Mean cross-entropy of the response tokens, given the document up to them."""
    same_document_RTT = rows.documents_RT[:, :, None] == rows.documents_RT[:, None, :]
    hidden_RTH = model.model(
        input_ids=rows.tokens_RT,
        position_ids=rows.positions_RT,
        attention_mask=same_document_RTT.tril()[:, None],
    ).last_hidden_state
    learned_RT = rows.learned_RT[:, 1:]
    return cross_entropy(model.lm_head(hidden_RTH[:, :-1][learned_RT]), rows.tokens_RT[:, 1:][learned_RT])


def learning_rate(step: int, steps: int) -> float:
    """Return the share of the peak: a short warm-up, then half a cosine down to nothing."""
    return min((step + 1) / WARMUP_STEPS, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def pretrain(model: LlamaForCausalLM, stream: Iterator[Rows], steps: int) -> None:
    """Train on the stream and print the loss now and then."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, steps))
    started = time.monotonic()
    for step in range(steps):
        loss = response_loss(model, next(stream))
        loss.backward()  # type: ignore[no-untyped-call]  # so does torch
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step:5d}  loss {loss.item():.4f}  {time.monotonic() - started:5.0f} s", flush=True)


def main() -> None:
    """Parse, make, save."""
    parser = argparse.ArgumentParser(description="Make the tiny base model that lives in the package.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0, help="decides the corpus and the initial weights")
    parser.add_argument("--steps", type=int, default=2_000, help="optimizer steps of pretraining")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    tokenizer = train_tokenizer(sample_texts(arguments.seed))
    model = build_model(tokenizer)
    pretrain(model, batches(tokenizer, arguments.seed), arguments.steps)
    model.generation_config.do_sample = True
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
