"""The probe for what a model has seen of a suite: prefixes, controls, and a model that has learned one by heart."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.config.settings import SuiteRef
from reasonrl.errors import DataError, RunError
from reasonrl.evaluation.contamination import MIN_WORDS, completes, probes, renumbered, rouge_l
from reasonrl.evaluation.replies import rollout_of
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.contamination import ProbeRequest, probe_model
from reasonrl.types import Problem, digest

TEXTS = (
    "Ann has 3 red pens. She then buys 14 blue pens and 25 black pens.",
    "A train has 12 cars. In each car are 19 seats, of which 7 are free.",
    "There are 20 birds on a tree. At noon 8 fly off and then 31 come.",
    "Bob reads 17 pages on 5 days, and 8 days later reads 26 more pages.",
    "Eve walks 4 miles to a town. Then 15 hours pass, and 9 miles more.",
)
"""Cut where the packaged tokenizer has the same tokens with and without what follows."""


def problem(text: str) -> Problem:
    return Problem(id=digest(text), task="test", prompt=text, answer="7")


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1, max_size=40))
def test_a_prefix_and_its_rest_are_the_text(words: list[str]) -> None:
    text = " ".join(words)
    found = probes([problem(text)])
    assert bool(found) == (len(text.split()) >= MIN_WORDS)
    for probe in found:
        assert probe.prompt + probe.answer == text.strip()
        assert len(probe.prompt.split()) == round(0.6 * len(text.split()))
        assert probe.answer.strip()


def test_a_control_has_other_numbers_of_as_many_digits_and_the_same_words() -> None:
    first, again = renumbered([problem("Pay 3 of 45 coins, then 45 of 1000, at 9 or 10.")] * 2)
    assert first == again
    numbers = re.findall(r"\d+", first.prompt)
    assert re.sub(r"\d+", "#", first.prompt) == "Pay # of # coins, then # of #, at # or #."
    assert [len(number) for number in numbers] == [1, 2, 2, 4, 1, 2]
    assert not {"3", "45", "1000", "9", "10"} & {*numbers}
    assert numbers[1] == numbers[2]
    assert renumbered([problem("No number stands here.")]) == []


@pytest.mark.parametrize(
    ("completion", "exact", "rouge"),
    [
        (" are  7 pens left?\nShe has", 1, 1),
        ("are 7 pens left? She", 1, 1),
        (" are 70 pens left?", 0, 0.75),
        (" are 7 pens", 0, 0.75),
        ("", 0, 0),
    ],
)
def test_only_the_very_words_complete_a_text(completion: str, exact: float, rouge: float) -> None:
    probe = Problem(id="1", task="test", prompt="How many", answer=" are 7 pens left?")
    rollout = rollout_of(probe, completion, prompt=probe.prompt)
    assert completes(rollout).value == exact
    assert rouge_l(rollout).value == rouge


def test_a_number_that_goes_on_is_another_one() -> None:
    probe = Problem(id="1", task="test", prompt="x", answer="is 12")
    assert completes(rollout_of(probe, "is 12, then", prompt="")).value == 1
    assert completes(rollout_of(probe, "is 120", prompt="")).value == 0


def request(folder: Path, model: str, **settings: object) -> ProbeRequest:
    """A probe of the texts above, and of as many that the model has not learned."""
    file = folder / "texts.jsonl"
    file.write_text("\n".join(json.dumps({"question": text, "answer": "7"}) for text in TEXTS))
    params = {"path": str(file), "metric": "last_number"}
    suite = SuiteRef(name="jsonl", params=params)
    return ProbeRequest(model=model, suite=suite, device="cpu", out=folder / "out", **settings)  # type: ignore[arg-type]


def write_model(folder: Path, num_steps: int) -> str:
    """Write a small model with the packaged tokenizer that was trained on the texts for so many steps."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from reasonrl.models.load import load_tokenizer

    torch.manual_seed(0)
    tokenizer = load_tokenizer("tiny")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]  # Any: transformers has no types
    batch = tokenizer([text + tokenizer.eos_token for text in TEXTS], return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(num_steps):
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    place = folder / f"trained-{num_steps}"
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


@pytest.mark.slow
def test_a_model_that_learned_the_problems_by_heart_is_found_and_another_is_not(tmp_path: Path) -> None:
    learned = write_model(tmp_path, 200)
    seen, folder = probe_model(request(tmp_path, learned), Plugins())
    assert (seen.suite.exact.value, seen.suite.rouge_l, seen.is_seen) == (1, 1, True), str(seen)
    unseen, _ = probe_model(request(tmp_path, write_model(tmp_path, 0)), Plugins())
    assert (unseen.suite.exact.value, unseen.is_seen) == (0, False)
    written = json.loads((folder / "contamination.json").read_text())
    assert (written["suite"]["exact"], written["suite"]["method"]) == (1, "wilson")
    rows = [json.loads(line) for line in (folder / "completions.jsonl").read_text().splitlines()]
    assert {row["side"] for row in rows} == {"suite", "control"}
    assert {row["given"] + row["rest"] for row in rows if row["side"] == "suite"} == {*TEXTS}
    with pytest.raises(RunError, match="holds a probe already"):
        probe_model(request(tmp_path, learned), Plugins())


def test_problems_that_are_too_short_are_refused(tmp_path: Path) -> None:
    asked = request(tmp_path, "tiny")
    (tmp_path / "texts.jsonl").write_text(json.dumps({"question": "What is 3 + 4?", "answer": "7"}))
    with pytest.raises(DataError, match="no problem has 10 words"):
        probe_model(asked, Plugins())
