"""The probe for what a model has seen of a suite: prefixes, controls, figures, and a model that has learned one by heart."""

import json
import re
from pathlib import Path

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
    "Ann has 3 red pens and 4 blue pens. How many pens has she?",
    "A train of 12 cars has 9 seats in each car. How many seats?",
    "Bob reads 7 pages on each of 5 days and then 6 more. How many pages?",
    "There are 20 birds on a tree and 8 fly away at noon. How many stay?",
)


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


def learn_by_heart(folder: Path) -> str:
    """Train the packaged model on the texts until it says them, and save it."""
    import torch

    from reasonrl.models.load import load_model, load_tokenizer

    tokenizer, model = load_tokenizer("tiny"), load_model("tiny", torch.device("cpu"))
    batch = tokenizer([text + tokenizer.eos_token for text in TEXTS], return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(200):
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.02:
            break
    place = folder / "learned"
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


@pytest.mark.slow
def test_a_model_that_learned_the_problems_by_heart_is_found_and_another_is_not(tmp_path: Path) -> None:
    seen, folder = probe_model(request(tmp_path, learn_by_heart(tmp_path)), Plugins())
    assert (seen.suite.exact.value, seen.suite.rouge_l) == (1, 1)
    assert seen.control.exact.value < 1
    unseen, _ = probe_model(request(tmp_path, "tiny"), Plugins())
    assert (unseen.suite.exact.value, unseen.is_seen) == (0, False)
    written = json.loads((folder / "contamination.json").read_text())
    assert (written["suite"]["exact"], written["suite"]["method"]) == (1, "wilson")
    rows = [json.loads(line) for line in (folder / "completions.jsonl").read_text().splitlines()]
    assert {row["side"] for row in rows} == {"suite", "control"}
    assert {row["given"] + row["rest"] for row in rows if row["side"] == "suite"} == {*TEXTS}
    with pytest.raises(RunError, match="holds a probe already"):
        probe_model(request(tmp_path, str(tmp_path / "learned")), Plugins())


def test_problems_that_are_too_short_are_refused(tmp_path: Path) -> None:
    asked = request(tmp_path, "tiny")
    (tmp_path / "texts.jsonl").write_text(json.dumps({"question": "What is 3 + 4?", "answer": "7"}))
    with pytest.raises(DataError, match="no problem has 10 words"):
        probe_model(asked, Plugins())
