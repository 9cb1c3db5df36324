"""Training of reward models: what they learn, what is stored with them, and that a stopped run goes on exactly."""

# Parts of transformers, peft and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from builders import VOCABULARY, letter_tokenizer, small_llama
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.errors import ConfigError, DataError, ModelError
from reasonrl.models.load import load_classifier, load_tokenizer
from reasonrl.models.lora import adapter_of
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.preference.card import read_card
from reasonrl.preference.data import Pair, PreferenceData, load_data
from reasonrl.preference.encoding import Encoder
from reasonrl.preference.model import RewardModel, padding_token
from reasonrl.preference.prompt_ids import read_prompt_ids
from reasonrl.preference.trainer import RewardModelTrainer
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.types import Problem, digest

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a language model of a few thousand parameters, one token a letter, padded with its end token."""
    folder = tmp_path_factory.mktemp("letters")
    model = small_llama()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(0.25)
    model.save_pretrained(folder)
    letter_tokenizer().save_pretrained(folder)
    return str(folder)


def preferences(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Pairs in which the completion with an x is better, whatever its length; some prompts have several. Any: JSON."""
    random = Random(seed)

    def text() -> str:
        return "".join(random.choices("abcdefg ", k=random.randint(1, 12)))

    def pair(prompt: str) -> dict[str, Any]:
        return {"prompt": prompt, "chosen": f"{text()}x{text()}", "rejected": text() + text()}

    return [pair(f"question {number}?") for number in range(count) for _ in range(1 + number % 3)]


def labeled(count: int, per_prompt: int = 2) -> list[dict[str, Any]]:
    """Labeled completions in which an x is right. Any: JSON."""
    sides = (("chosen", True), ("rejected", False))[:per_prompt]
    return [
        {"prompt": f"{row['prompt']} {n}", "completion": row[side], "label": right}
        for n, row in enumerate(preferences(count))
        for side, right in sides
    ]


def config(backbone: str, path: Path, *, lora: Any = None, **changes: Any) -> RewardModelConfig:
    """Settings of a small training. Any: whatever a run file may say."""
    data = {"path": str(path), "heldout_share": 0.3, "max_length": 64, **changes.pop("data", {})}
    settings: dict[str, Any] = {
        "name": "test",
        "model": {"name": backbone, "compute_dtype": "float32", "lora": lora},
        "template": "plain",
        "pairs_per_step": 8,
        "learner": {"learning_rate": 0.003, "microbatch_tokens": 400},
        "head_rate_factor": 3.0,
    }
    return RewardModelConfig.model_validate({**settings, **changes, "data": data})


def written(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A file of rows. Any: JSON."""
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def loaded(settings: RewardModelConfig) -> PreferenceData:
    return load_data(settings.data, settings.objective.kind)


def trainer(settings: RewardModelConfig, **arguments: Any) -> RewardModelTrainer:
    """Any: the checkpoint and the factor of the learning rate."""
    return RewardModelTrainer.build(settings, loaded(settings), installed_plugins(), **arguments)


def problem(prompt: str) -> Problem:
    return Problem(id=digest(prompt), task="test", prompt=prompt, answer="")


# Where the score is read.


def pooled(model: Any, rows: Sequence[Sequence[int]], padding: int) -> list[float]:
    """The scores that transformers gives a batch padded at the right. Any: a classifier."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits[:, 0].tolist()


def test_the_score_is_read_at_the_end_token_where_transformers_reads_another_one(letters: str) -> None:
    torch.manual_seed(0)
    model, tokenizer = load_classifier(letters, CPU, num_labels=1), load_tokenizer(letters)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == model.config.pad_token_id == 0
    encoder = Encoder(
        tokenizer=tokenizer,
        renderer=Renderer(tokenizer, find_template("plain", installed_plugins())),
        max_length=64,
        too_long="drop",
    )
    texts = [(problem("what is it"), "it is a cat"), (problem("who"), "me")]
    encoded = [encoder.ids(*text) for text in texts]
    rows = [[*ids[0], *ids[1]] for ids in encoded if ids]
    plain = [last_score(model, row) for row in rows]
    ours = reward_model(model, encoder).scores(texts)
    assert [scores[0] for scores in ours if scores] == pytest.approx(plain, abs=1e-6)
    # transformers looks for the last token that is not padding, and takes the end token for padding
    assert pooled(model, rows, padding=0) != pytest.approx(plain, abs=1e-2)
    without_end = [[*row[:-1]] for row in rows]
    before_end = [float(pooled(model, [row], padding=0)[0]) for row in without_end]
    assert pooled(model, rows, padding=0) == pytest.approx(before_end, abs=1e-6)
    # with another padding token it reads the same one
    model.config.pad_token_id = 5
    assert pooled(model, rows, padding=5) == pytest.approx(plain, abs=1e-6)


@torch.no_grad()
def last_score(model: Any, row: Sequence[int]) -> float:
    """What the head reads at the last position of a plain forward pass. Any: a classifier."""
    return float(model.score(model.base_model(input_ids=torch.tensor([row])).last_hidden_state[0, -1]))


def reward_model(model: Any, encoder: Encoder) -> RewardModel:
    """A model without a card: it only scores. Any: a classifier."""
    fields: dict[str, Any] = {"card": None}  # Any: it is not looked at
    return RewardModel(tokenizer=encoder.tokenizer, encoder=encoder, model=model, dtype=torch.float32, **fields)


def test_scores_depend_neither_on_neighbors_nor_on_the_budget(letters: str) -> None:
    tokenizer = load_tokenizer(letters)
    encoder = Encoder(
        tokenizer=tokenizer,
        renderer=Renderer(tokenizer, find_template("plain", installed_plugins())),
        max_length=64,
        too_long="drop",
    )
    model = reward_model(load_classifier(letters, CPU, num_labels=2), encoder)
    asked = [problem("a" * length) for length in (1, 5, 30)]
    items = [(one, "b" * length) for length in (0, 1, 7, 20) for one in asked]
    alone = [model.scores([item])[0] for item in items]
    for budget in (1, 60, 100_000):
        together = model.scores(items, max_tokens=budget)
        assert [one is None for one in together] == [one is None for one in alone]
        for one, other in zip(together, alone, strict=True):
            assert one == other is None or one == pytest.approx(other, abs=1e-5)
    assert sum(one is None for one in alone) == 1  # 30 + 20 letters in a template of 18, and the end


def test_the_end_token_stands_once_whatever_the_data_has_there(letters: str) -> None:
    tokenizer = load_tokenizer(letters)
    encoder = Encoder(
        tokenizer=tokenizer,
        renderer=Renderer(tokenizer, find_template("bare", installed_plugins())),
        max_length=64,
        too_long="drop",
    )
    assert encoder.joined((7,), "ab") == encoder.joined((7,), "ab<end>")
    assert encoder.joined((7,), "") == ((7,), (0,))


def test_a_prompt_that_is_cut_loses_its_first_tokens(letters: str) -> None:
    tokenizer = load_tokenizer(letters)
    renderer = Renderer(tokenizer, find_template("bare", installed_plugins()))
    encoder = Encoder(tokenizer=tokenizer, renderer=renderer, max_length=8, too_long="cut_prompt")
    prompt, after = encoder.ids(problem("abcdefg"), "xyz") or ((), ())
    assert "".join(VOCABULARY[token] for token in prompt) == "defg"
    assert len(after) == 4
    assert encoder.ids(problem("abc"), "xxxxxxx") is None  # nothing of the prompt would be left


def test_a_head_of_another_size_is_refused(letters: str, tmp_path: Path) -> None:
    load_classifier(letters, CPU, num_labels=2).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is a classifier with 2 labels, where 1 is needed"):
        load_classifier(str(tmp_path), CPU, num_labels=1)
    assert load_classifier(str(tmp_path), CPU, num_labels=2).get_parameter("score.weight").shape[0] == 2


def test_a_new_head_is_no_news_and_any_other_missing_weight_an_error(
    letters: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("transformers")  # it passes nothing on to the root, where caplog listens
    logger.addHandler(caplog.handler)
    try:
        AutoModelForSequenceClassification.from_pretrained(letters)
        assert "LOAD REPORT" in caplog.text
        caplog.clear()
        model = load_classifier(letters, CPU, num_labels=1)
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.text == ""
    weights = {name: weight for name, weight in model.state_dict().items() if "layers.1.mlp" not in name}
    model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(ModelError, match="lacks 3 of the weights of a LlamaForSequence"):
        load_classifier(str(tmp_path), CPU, num_labels=1)


# What is learned.


def test_a_preference_is_learned_and_stored_with_all_that_its_use_needs(letters: str, tmp_path: Path) -> None:
    settings = config(letters, written(tmp_path, preferences(80)), run={"epochs": 4})
    one = trainer(settings)
    assert one.facts["data"].endswith("held out")
    before, metrics = one.evaluate()
    assert before is not None
    assert metrics["heldout/accuracy"] == before.accuracy.value < 0.75
    seen = [one.step(step) for step in range(1, one.num_steps + 1)]
    assert seen[-1]["rm/loss"] < 0.5 * seen[0]["rm/loss"]
    names = {"loss", "accuracy", "margin", "score_mean", "score_std", "grad_norm", "learning_rate", "tokens", "update"}
    assert seen[0].keys() == {*(f"rm/{name}" for name in names), "seconds/step", "tokens_per_second/learning"}
    after, metrics = one.evaluate()
    assert after is not None
    assert after.accuracy.lower > after.length_only.upper
    assert after.beats_length_only
    assert metrics["heldout/loss"] < 0.5
    one.publish(tmp_path / "model", after)
    card = read_card(tmp_path / "model")
    assert (card.kind, card.num_heads, card.template.name, card.evaluation) == ("bradley_terry", 1, "plain", after)
    assert card.data["digest"] == loaded(settings).digest
    assert card.data["steps"] == one.num_steps
    assert {"reasonrl", "torch", "transformers"} <= card.versions.keys()
    assert card.temperature is not None
    assert card.temperature > 0
    ids = read_prompt_ids(tmp_path / "model")
    assert ids is not None
    assert set(ids) == {pair.problem.id for pair in loaded(settings).train}
    assert not ids & {pair.problem.id for pair in loaded(settings).heldout}
    model, data = RewardModel.load(tmp_path / "model", CPU), loaded(settings)
    learned = {(pair.problem.prompt, pair.chosen): pair.problem for pair in data.train if isinstance(pair, Pair)}
    scores = [found[0] for found in model.scores([(asked, text) for (_, text), asked in learned.items()]) if found]
    (scale,) = card.scales
    assert [scale.mean, scale.std] == pytest.approx([np.mean(scores), np.std(scores)], rel=1e-4)
    assert scale.p999 == pytest.approx(np.quantile(scores, 0.999), rel=1e-4)


@pytest.mark.slow
def test_labels_are_learned_and_measured_on_pairs_of_a_prompt(letters: str, tmp_path: Path) -> None:
    path = written(tmp_path, labeled(80))
    one = trainer(config(letters, path, objective="outcome", pairs_per_step=16, run={"epochs": 4}))
    for step in range(1, one.num_steps + 1):
        one.step(step)
    evaluation, metrics = one.evaluate()
    assert evaluation is not None
    assert evaluation.accuracy.value == metrics["heldout/accuracy"] > 0.9
    assert metrics["heldout/label_accuracy"] > 0.85
    one.publish(tmp_path / "model", evaluation)
    assert read_card(tmp_path / "model").kind == "outcome"


def test_labels_of_one_completion_a_prompt_have_no_evaluation_on_pairs(letters: str, tmp_path: Path) -> None:
    rows = [{**row, "label": 1.0} for row in labeled(40, per_prompt=1)]
    one = trainer(config(letters, written(tmp_path, rows), objective="outcome"))
    evaluation, metrics = one.evaluate()
    assert evaluation is None
    assert metrics.keys() == {"heldout/loss", "heldout/label_accuracy"}
    assert any("cannot be measured" in warning for warning in one.warnings)
    one.publish(tmp_path / "model", None)
    assert read_card(tmp_path / "model").temperature is None


def test_heads_learn_from_samples_of_their_own(letters: str, tmp_path: Path) -> None:
    path = written(tmp_path, preferences(60))
    one = trainer(config(letters, path, ensemble={"num_heads": 3}, run={"steps": 8}))
    seen = [one.step(step) for step in range(1, 9)]
    assert seen[0]["rm/head_std"] > 0
    evaluation, _ = one.evaluate()
    one.publish(tmp_path / "model", evaluation)
    card = read_card(tmp_path / "model")
    assert len({scale.mean for scale in card.scales}) == card.num_heads == 3
    (scores,) = RewardModel.load(tmp_path / "model", CPU).scores([(problem("a"), "b")])
    assert scores is not None
    assert len(set(scores)) == 3


# A stopped run goes on exactly.


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ensemble": {"num_heads": 2}, "learner": {"learning_rate": 0.01, "schedule": "cosine", "weight_decay": 0.1}},
        {"lora": {"rank": 2}},
    ],
    ids=["all weights", "heads", "adapter"],
)
def test_a_checkpoint_goes_on_bit_for_bit(letters: str, tmp_path: Path, changes: dict[str, Any]) -> None:
    settings = config(letters, written(tmp_path, preferences(40)), run={"steps": 12}, **changes)
    straight = trainer(settings)
    for step in range(1, 7):
        straight.step(step)
    (tmp_path / "checkpoint").mkdir()
    straight.save_state(tmp_path / "checkpoint")
    resumed = trainer(settings, checkpoint=tmp_path / "checkpoint")
    for step in range(7, 13):
        timed = ("seconds/step", "tokens_per_second/learning")
        one, other = ({k: v for k, v in t.step(step).items() if k not in timed} for t in (straight, resumed))
        assert one == other
    for name, one_trainer in (("a", straight), ("b", resumed)):
        one_trainer.publish(tmp_path / name, one_trainer.evaluate()[0])
    files = [load_file(tmp_path / name / "model.safetensors") for name in ("a", "b")]
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(weight, files[1][name]) for name, weight in files[0].items())
    assert read_card(tmp_path / "a") == read_card(tmp_path / "b")


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["all weights", "adapter"])
def test_gradient_checkpointing_changes_memory_only(letters: str, tmp_path: Path, lora: object) -> None:
    path, measured = written(tmp_path, preferences(20)), list[dict[str, float]]()
    for saving in (False, True):
        settings = config(letters, path, lora=lora)
        model = settings.model.model_copy(update={"gradient_checkpointing": saving})
        one = trainer(settings.model_copy(update={"model": model}))
        measured.append(one.step(1) | one.step(2))
    for name in ("rm/loss", "rm/grad_norm", "rm/margin"):
        assert measured[0][name] == pytest.approx(measured[1][name], rel=1e-4)


def test_a_step_out_of_turn_is_our_mistake(letters: str, tmp_path: Path) -> None:
    one = trainer(config(letters, written(tmp_path, preferences(40))))
    with pytest.raises(AssertionError, match="step 2 after step 0"):
        one.step(2)


def test_an_adapter_is_merged_when_the_model_is_published(letters: str, tmp_path: Path) -> None:
    settings = config(letters, written(tmp_path, preferences(40)), lora={"rank": 4}, run={"steps": 10})
    one = trainer(settings)
    frozen = {name: weight.clone() for name, weight in one.model.state_dict().items() if "base_layer" in name}
    head = one.model.get_parameter("score.weight").detach().clone()
    losses = [one.step(step)["rm/loss"] for step in range(1, 11)]
    assert losses[-1] < losses[0]
    assert (one.model.get_parameter("score.weight") - head).abs().max() > 1e-3
    assert frozen
    assert all(torch.equal(one.model.state_dict()[name], weight) for name, weight in frozen.items())
    evaluation, _ = one.evaluate()
    one.publish(tmp_path / "model", evaluation)
    model_ = RewardModel.load(tmp_path / "model", CPU)
    assert adapter_of(model_.model) is None
    texts = [(problem("question 1?"), text) for text in ("axb", "abc", "")]
    as_trained = reward_model(one.model, model_.encoder).scores(texts)
    base = reward_model(load_classifier(letters, CPU, num_labels=1), model_.encoder).scores(texts)
    for scores, other, untrained in zip(model_.scores(texts), as_trained, base, strict=True):
        assert scores == pytest.approx(other, abs=1e-5)
        assert scores != pytest.approx(untrained, abs=1e-3)


def test_an_adapter_in_a_checkpoint_can_be_trained_on_in_another_run(letters: str, tmp_path: Path) -> None:
    path = written(tmp_path, preferences(40))
    first = trainer(config(letters, path, lora={"rank": 2}, run={"steps": 4}))
    for step in range(1, 5):
        first.step(step)
    (tmp_path / "checkpoint").mkdir()
    first.save_state(tmp_path / "checkpoint")
    fork = trainer(config(str(tmp_path / "checkpoint"), path, lora={"rank": 2}))
    assert fork.evaluate()[1] == first.evaluate()[1]


# What is stored serves transformers too.


def test_the_saved_model_pads_with_another_token_than_the_end_token_where_there_is_one(tmp_path: Path) -> None:
    base = tmp_path / "base"
    small_llama(vocab_size=len(VOCABULARY) + 2).save_pretrained(base)
    tokenizer = letter_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<other>"]})
    tokenizer.save_pretrained(base)
    one = trainer(config(str(base), written(tmp_path, preferences(40)), run={"steps": 2}))
    one.publish(tmp_path / "model", None)
    ours = RewardModel.load(tmp_path / "model", CPU)
    assert ours.tokenizer.pad_token == "<other>"
    theirs: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")  # Any: one of many classes
    texts = [(problem("what is it"), "it is a cat"), (problem("who"), "me")]
    rows = [[token for part in ours.encoder.ids(*text) or () for token in part] for text in texts]
    batch = ours.tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    with torch.no_grad():
        scores = theirs(**batch).logits[:, 0].tolist()
    assert scores == pytest.approx([found[0] for found in ours.scores(texts) if found], abs=1e-5)


def test_without_another_special_token_transformers_refuses_a_batch_rather_than_score_another_token(
    letters: str, tmp_path: Path
) -> None:
    assert padding_token(load_tokenizer(letters)) is None
    one = trainer(config(letters, written(tmp_path, preferences(40)), run={"steps": 2}))
    one.publish(tmp_path / "model", None)
    ours = RewardModel.load(tmp_path / "model", CPU)
    theirs: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")  # Any: one of many classes
    ids = ours.encoder.ids(problem("who"), "me")
    assert ids is not None
    row = torch.tensor([[*ids[0], *ids[1]]])
    with torch.no_grad():
        assert (theirs(input_ids=row).logits[0, 0].item(),) == pytest.approx(ours.scores([(problem("who"), "me")])[0])
        with pytest.raises(ValueError, match="Cannot handle batch sizes > 1"):
            theirs(input_ids=torch.cat([row, row]))


# What does not fit together is refused.


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"data": {"max_length": 300}}, ConfigError, r"data.max_length is 300, but .* takes 256 tokens"),
        ({"data": {"max_length": 8}}, DataError, r"all \d+ examples of the train prompts have more than 8 tokens"),
        ({"objective": "outcome"}, DataError, "Use objective.kind: bradley_terry"),
        ({"template": "chat"}, ModelError, "has no chat template"),
        ({"learner": {"warmup_steps": 90}}, ConfigError, r"learner.warmup_steps is 90, but the run has only \d+ steps"),
    ],
)
def test_what_does_not_fit_is_refused(
    letters: str, tmp_path: Path, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        trainer(config(letters, written(tmp_path, preferences(40)), **changes))


def test_texts_that_are_too_long_are_counted_and_left_out(letters: str, tmp_path: Path) -> None:
    rows = [*preferences(40), *({"prompt": f"long {n}", "chosen": "x" * 60, "rejected": "y"} for n in range(9))]
    settings = config(letters, written(tmp_path, rows))
    one, data = trainer(settings), loaded(settings)
    long = [sum(pair.problem.prompt.startswith("long") for pair in side) for side in (data.train, data.heldout)]
    (warning,) = [warning for warning in one.warnings if "max_length" in warning]
    assert warning == (
        f"{long[0]} train and {long[1]} held-out examples have more than 64 tokens (data.max_length) and are left out"
    )
    assert len(one.train_lengths) == 2 * (len(data.train) - long[0])
    cut = trainer(config(letters, written(tmp_path, rows), data={"too_long": "cut_prompt"}))
    assert not [warning for warning in cut.warnings if "max_length" in warning]
    assert max(cut.train_lengths) <= 64


def test_turns_that_a_template_would_leave_out_are_refused(letters: str, tmp_path: Path) -> None:
    talk = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    rows = [*preferences(40), {"prompt": talk, "chosen": "x", "rejected": "y"}, *preferences(9)]
    with pytest.raises(DataError, match="template 'plain' renders the last message alone"):
        trainer(config(letters, written(tmp_path, rows)))
