"""``reasonrl rm eval`` from the command line: real models on real files, and the report that it leaves."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import VOCABULARY, letter_tokenizer, small_llama
from judged_models import fitted_model
from transformers import LlamaConfig, LlamaForSequenceClassification
from typer.testing import CliRunner

from reasonrl import commands
from reasonrl.config.reward_model import PreferenceDataSettings
from reasonrl.errors import ConfigError, DataError, ModelError, OverlapError, RunError
from reasonrl.plugins.builtin import TEMPLATES
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.card import HeldoutEvaluation, Interval, read_card, write_card
from reasonrl.preference.evaluation.judge import Judge
from reasonrl.preference.evaluation.judged import load_judged
from reasonrl.preference.evaluation.judgement import Judgement
from reasonrl.preference.evaluation.pairs import read_data
from reasonrl.preference.evaluation.samples import read_samples
from reasonrl.preference.evaluation.table import judgement_text
from reasonrl.preference.evaluation.trained import TrainedPrompts
from reasonrl.preference.prompt_ids import write_prompt_ids
from reasonrl.preference.samples import RewardRow, SampleRow
from reasonrl.types import Problem, digest

NUM_PROMPTS = 24


def sums() -> list[dict[str, Any]]:
    """Pairs on sums: the right one is preferred, and is the longer one half of the time. Any: columns."""
    draw, rows = random.Random(0), []
    for number in range(NUM_PROMPTS):
        right, wrong = (f"The sum is {value}." for value in (number + 7, number + draw.randint(8, 30)))
        padded = f"I think of it for a while. {right}"
        chosen = padded if number % 2 else right
        rejected = wrong if number % 2 else f"I think of it for a while. {wrong}"
        tags = "odd" if number % 2 else "even"
        rows.append({"prompt": f"What is {number} + 7?", "chosen": chosen, "rejected": rejected, "tags": tags})
    return rows


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as JSONL and return the path. Any: columns."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def model_for(folder: Path, rows: Sequence[Mapping[str, Any]], *heads: Any, **card: Any) -> str:
    """Save a model each of whose heads is fitted to a function of text and side. Any: columns, fields of the card."""
    data = read_data(PreferenceDataSettings(path=write(folder.with_suffix(".jsonl"), rows)))
    sides = [
        (pair.problem, text, good) for pair in data.pairs for text, good in ((pair.chosen, 1), (pair.rejected, -1))
    ]
    values = [[head(text, good) for _, text, good in sides] for head in heads]
    fitted_model([(problem, text) for problem, text, _ in sides], values, **card).save(folder)
    return str(folder)


def by_quality(text: str, good: float) -> float:
    """What a perfect model scores."""
    return 2.0 * good


def by_length(text: str, good: float) -> float:
    """What a model that has learned length scores."""
    return len(text) / 10


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model that knows sums, one that knows length, and one with three heads."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "good": model_for(folder / "good", sums(), by_quality),
        "length": model_for(folder / "length", sums(), by_length),
        "heads": model_for(folder / "heads", sums(), by_quality, by_quality, by_length),
    }


def run(*arguments: str) -> str:
    """Run the command and return what it printed."""
    result = CliRunner().invoke(commands.app, ["rm", "eval", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def figures(folder: str | Path) -> Any:
    """The figures of a report. Any: JSON values."""
    return json.loads(Path(folder, "report.json").read_text())


def judge(model: str, path: str, num_perturbed: int = 0, **options: Any) -> Judgement:
    """Judge without writing anything. Any: options of load_judged."""
    judged = load_judged(model, torch.device("cpu"), Plugins(), **options)
    trained = TrainedPrompts(known=False, num_trained=0, left_out=False, reason="")
    measure = Judge(judged=judged, num_perturbed=num_perturbed, progress=lambda done, total: None)
    return measure.judge(read_data(PreferenceDataSettings(path=path)), trained)[0]


# A report.


@pytest.fixture(scope="module")
def report(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the command prints of the good model, and the folder of its report."""
    folder = tmp_path_factory.mktemp("report")
    pairs = write(folder / "sums.jsonl", sums())
    return run(models["good"], "--pairs", pairs, "--out", str(folder / "out"), "--perturb", "4"), folder / "out"


def test_the_command_prints_figures_verdict_and_where_the_report_is(report: tuple[str, Path]) -> None:
    told, folder = report
    assert "verdict: beats length alone" in told
    assert f"{NUM_PROMPTS} pairs of {NUM_PROMPTS} prompts" in told
    assert "trained on  not known" in told
    assert told.endswith(f"Report: {folder}/report.html\n")


def test_a_good_model_has_good_figures(report: tuple[str, Path]) -> None:
    found = figures(report[1])
    assert found["accuracy"]["accuracy"]["value"] > 0.95
    assert found["length"]["baseline"]["value"] == pytest.approx(0.5, abs=0.2)
    assert found["beats_length_only"]
    assert set(found["accuracy"]["by_tag"]) == {"even", "odd"}
    assert (found["score_std"], found["score_std_from"]) == (2.0, "training")
    assert [one["name"] for one in found["perturbations"]][-2:] == ["empty", "gibberish"]


def test_accuracy_follows_from_the_scores_in_the_file(report: tuple[str, Path]) -> None:
    lines = [json.loads(line) for line in (report[1] / "pairs.jsonl").read_text().splitlines()]
    assert [line["chosen"] for line in lines] == [row["chosen"] for row in sums()]
    right = sum(line["score_chosen"] > line["score_rejected"] for line in lines)
    assert right / len(lines) == figures(report[1])["accuracy"]["accuracy"]["value"]


def test_what_else_is_scored_with_a_text_changes_nothing(report: tuple[str, Path]) -> None:
    position = figures(report[1])["position"]
    assert (position["num_pairs"], position["num_changed"]) == (NUM_PROMPTS, 0)
    assert position["max_change"] < 1e-3


def test_a_model_that_knows_length_alone_is_marked(models: dict[str, str], in_folder: Path) -> None:
    found = judge(models["length"], write(in_folder / "sums.jsonl", sums()))
    assert "does NOT beat length alone" in found.verdict
    assert found.length.spearman is not None
    assert found.length.spearman > 0.8
    assert found.length.chosen_longer is not None
    assert found.length.rejected_longer is not None
    assert found.length.chosen_longer.value > 0.9 > 0.1 > found.length.rejected_longer.value
    assert found.perturbations == ()


def test_several_heads_are_judged_together_and_alone(models: dict[str, str], in_folder: Path) -> None:
    pairs = write(in_folder / "sums.jsonl", sums())
    found = judge(models["heads"], pairs)
    assert found.heads is not None
    assert [one.value > 0.9 for one in found.heads.accuracy] == [True, True, False]
    assert found.heads.accuracy_unanimous is not None
    assert found.heads.accuracy_unanimous.value > 0.9
    least = judge(models["heads"], pairs, aggregate="min")
    assert (found.model.aggregate, least.model.aggregate) == ("mean", "min")
    assert found.accuracy.quantiles != least.accuracy.quantiles


def test_the_card_and_the_json_are_written_where_that_is_asked_for(models: dict[str, str], in_folder: Path) -> None:
    folder, pairs = Path(models["length"]), write(in_folder / "sums.jsonl", sums())
    before = read_card(folder)
    told = run(str(folder), "--pairs", pairs, "--out", "out", "--perturb", "0", "--json", "--write-card")
    card, found = read_card(folder), figures("out")
    write_card(folder, before)
    assert told == Path("out/report.json").read_text()
    assert card.evaluation is not None
    assert not card.evaluation.beats_length_only
    assert card.evaluation.accuracy.value == found["accuracy"]["accuracy"]["value"]
    assert card.evaluation.length_only.lower == found["length"]["baseline"]["lower"]
    assert (card.evaluation.num_pairs, card.evaluation.num_prompts) == (NUM_PROMPTS, NUM_PROMPTS)
    assert card.temperature == found["calibration"]["temperature"]
    assert card.model_copy(update={"evaluation": None, "temperature": None}) == before


def test_the_card_stays_as_it_is_otherwise(report: tuple[str, Path], models: dict[str, str]) -> None:
    assert read_card(Path(models["good"])).evaluation is None


def test_the_rule_of_length_is_the_training_pairs_where_the_card_has_it(
    models: dict[str, str], in_folder: Path
) -> None:
    folder = Path(models["length"])
    before, share = read_card(folder), Interval(value=0.5, lower=0.4, upper=0.6)
    evaluation = HeldoutEvaluation(
        accuracy=share, length_only=share, length_rule="shorter", difference=share, num_pairs=9, num_prompts=9
    )
    write_card(folder, before.model_copy(update={"evaluation": evaluation}))
    found = judge(str(folder), write(in_folder / "sums.jsonl", sums()))
    write_card(folder, before)
    assert (found.length.rule, found.length.rule_from) == ("shorter", "training")


def test_the_type_of_products_is_chosen_and_said(models: dict[str, str], in_folder: Path) -> None:
    pairs = write(in_folder / "sums.jsonl", sums()[:6])
    assert judge(models["good"], pairs, dtype="bfloat16").model.dtype == "bfloat16"
    assert judge(models["good"], pairs, dtype="float32").position.max_change < 1e-3


def test_labeled_completions_are_compared_within_their_prompt(models: dict[str, str], in_folder: Path) -> None:
    rows = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in sums()[:6]
        for side in ("chosen", "rejected")
    ]
    labels = write(in_folder / "labels.jsonl", rows)
    found = judge(models["good"], labels)
    assert (found.data.form, found.data.num_pairs, found.outcome) == ("labels", 6, None)


def test_an_outcome_model_is_judged_on_single_completions_too(in_folder: Path) -> None:
    rows = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in sums()[:6]
        for side in ("chosen", "rejected")
    ]
    model = model_for(in_folder / "outcome", sums()[:6], by_quality, kind="outcome")
    found = judge(model, write(in_folder / "labels.jsonl", rows))
    assert found.outcome is not None
    assert (found.outcome.num_completions, found.outcome.majority) == (12, 0.5)
    assert found.outcome.accuracy.value > 0.9
    assert "single completions" in judgement_text(found)


def test_texts_that_are_too_long_are_counted(models: dict[str, str], in_folder: Path) -> None:
    rows = [*sums()[:5], {"prompt": "What?", "chosen": "so " * 400, "rejected": "no"}]
    found = judge(models["good"], write(in_folder / "long.jsonl", rows))
    assert (found.data.num_pairs, found.data.too_long) == (5, 1)
    with pytest.raises(DataError, match="every pair has a text above 256 tokens"):
        judge(models["good"], write(in_folder / "all.jsonl", rows[5:]))


# Samples of a policy.


def sample_rows() -> list[dict[str, Any]]:
    """A right and a wrong completion of each sum, as ``reasonrl sample`` writes them. Any: JSON values."""
    return [
        SampleRow(
            problem_id=f"sum-{number}",
            prompt=row["prompt"],
            completion=row[side],
            score=0.5,
            outcome="scored",
            rewards={"exact": RewardRow(value=float(side == "chosen"), outcome="scored")},
        ).model_dump(mode="json")
        for number, row in enumerate(sums())
        for side in ("rejected", "chosen")
    ]


def test_best_of_n_is_measured_on_samples_with_a_gold_metric(models: dict[str, str], in_folder: Path) -> None:
    pairs = write(in_folder / "sums.jsonl", sums())
    lost = {**sample_rows()[0], "rewards": {"exact": {"value": None, "outcome": "error"}}}
    samples = write(in_folder / "samples.jsonl", [*sample_rows(), lost])
    told = run(models["good"], "--pairs", pairs, "--samples", samples, "--gold", "exact", "--perturb", "0")
    curve = figures("results/" + models["good"].strip("/").replace("/", "--") + "/sums")["best_of_n"]
    assert (curve["metric"], curve["num_problems"], curve["left_out"]) == ("exact", NUM_PROMPTS, 1)
    first, second = curve["curve"]
    assert (first["n"], first["picked"]["value"], second["n"]) == (1, 0.5, 2)
    assert second["picked"]["value"] > 0.95
    assert second["best"]["value"] == 1.0
    assert (curve["out_of_range"], curve["num_trained"]) == (0.0, None)
    assert "best of n by exact" in told


def test_samples_without_the_gold_metric_are_refused(models: dict[str, str], in_folder: Path) -> None:
    samples = write(in_folder / "samples.jsonl", sample_rows())
    with pytest.raises(DataError, match=r"has no reward 'exakt' \(--gold\)\. Did you mean 'exact'\?"):
        read_samples(Path(samples), "exakt")
    unscored = write(in_folder / "unscored.jsonl", [{**row, "score": None} for row in sample_rows()])
    with pytest.raises(DataError, match="no sample has a value of 'score'"):
        read_samples(Path(unscored), None)
    with pytest.raises(DataError, match="holds no sample"):
        read_samples(Path(write(in_folder / "none.jsonl", [])), None)


def test_samples_say_how_many_of_their_prompts_were_trained_on(in_folder: Path) -> None:
    pairs = read_data(PreferenceDataSettings(path=write(in_folder / "sums.jsonl", sums()))).pairs
    samples = read_samples(Path(write(in_folder / "samples.jsonl", sample_rows())), "exact")
    assert samples.num_trained(frozenset(pair.problem.id for pair in pairs[:3])) == 3
    assert samples.num_trained(frozenset()) == 0
    assert samples.num_trained(None) is None


# Hostile texts.

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</pre></details><h1>gone</h1>",
    "{{ 7 * 191 }}{% raw %}",
    "\x1b[31mred\x1b[0m\x07 [bold]loud[/bold]",
    "\u202egnp.exe $\\frac{1}{0}$",
    "<!-- ]]> <svg onload=alert(1)>",
]


class Elements(HTMLParser):
    """Collects the elements of a page and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]


def test_texts_of_the_data_do_nothing_in_the_page(models: dict[str, str], in_folder: Path) -> None:
    # Wrong, so that every text is shown among the mistakes.
    rows = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in sums()[: len(HOSTILE)]]
    rows = [
        {**row, "chosen": f"{row['chosen']} {text}", "tags": [text]} for row, text in zip(rows, HOSTILE, strict=True)
    ]
    run(models["good"], "--pairs", write(in_folder / "hostile.jsonl", rows), "--out", "out", "--perturb", "2")
    page = Path("out/report.html").read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(page)
    assert elements.names.isdisjoint({"script", "img", "iframe", "object", "embed", "link", "form", "h3"})
    assert not {name for name in elements.attributes if name.startswith("on")}
    assert page.count("<h1>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 191 }}" in page
    assert "1337" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert len(Path("out/pairs.jsonl").read_text().splitlines()) == len(HOSTILE)


def test_tags_cannot_steer_the_terminal(models: dict[str, str], in_folder: Path) -> None:
    rows = [{**row, "tags": ["\x1b[31mred \x07", "[bold]loud[/bold]"]} for row in sums()[:4]]
    told = judgement_text(judge(models["good"], write(in_folder / "tags.jsonl", rows)))
    assert "\\x1b[31mred \\x07" in told
    assert "[bold]loud[/bold]" in told
    assert "\x1b" not in told


def test_the_page_needs_nothing_but_itself(report: tuple[str, Path]) -> None:
    page = (report[1] / "report.html").read_text()
    elements = Elements()
    elements.feed(page)
    assert page.count("<svg") == 5
    assert all(source.startswith("#") for source in elements.sources)
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(http" not in page


# What is refused.


def test_a_report_is_never_overwritten_by_accident(report: tuple[str, Path], models: dict[str, str]) -> None:
    folder = report[1]
    again = ["--pairs", str(folder.parent / "sums.jsonl"), "--out", str(folder)]
    with pytest.raises(RunError, match=r"out has a report already\. Give --out FOLDER, or --overwrite"):
        run(models["good"], *again)


@pytest.mark.slow
def test_a_report_is_replaced_where_that_is_asked_for(models: dict[str, str], in_folder: Path) -> None:
    again = ["--pairs", write(in_folder / "sums.jsonl", sums()), "--out", "out", "--perturb", "0"]
    run(models["good"], *again)
    run(models["length"], *again, "--overwrite")
    assert figures("out")["model"]["name"] == models["length"]


def test_prompts_that_were_trained_on_are_refused(models: dict[str, str], in_folder: Path) -> None:
    folder, pairs = Path(models["good"]), write(in_folder / "sums.jsonl", sums())
    data = read_data(PreferenceDataSettings(path=pairs))
    write_prompt_ids(folder, [pair.problem.id for pair in data.pairs[:10]])
    try:
        with pytest.raises(OverlapError, match="trained on 10 of its 24 prompts"):
            run(str(folder), "--pairs", pairs, "--out", "out")
        told = run(str(folder), "--pairs", pairs, "--out", "out", "--perturb", "0", "--skip-trained")
        assert "14 pairs of 14 prompts" in told
        assert "10 prompts of the file were trained on, and are left out" in told
        with pytest.raises(ConfigError, match=r"--write-card.*--skip-trained"):
            run(str(folder), "--pairs", pairs, "--out", "new", "--write-card", "--allow-overlap", "why not")
    finally:
        (folder / "prompts.txt").unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gold", "exact"], "--gold exact: names a value of the samples"),
        (["--aggregate", "min"], "--aggregate min: .* has one head"),
        (["--template", "chat"], "--template chat: .*reward_model.json says how"),
        (["--max-length", "64"], "--max-length 64: "),
        (["--skip-trained", "--allow-overlap", "so"], "both given"),
        (["--column", "chosen"], "--column chosen: write it as"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    models: dict[str, str], in_folder: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(models["good"], "--pairs", write(in_folder / "sums.jsonl", sums()), *arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no row"),
        ("not JSON\n", "wrong.jsonl:1: is not JSON"),
        ('{"prompt": "A?", "chosen": "a"}\n', "wrong.jsonl:1: no column 'rejected'"),
        ('{"prompt": "A?", "chosen": "a", "rejected": "a"}\n', "no two different completions"),
        ('{"prompt": "A?", "chosen": "a \\ud83d", "rejected": "b"}\n', r"holds U\+D83D, half of a character"),
    ],
)
def test_files_that_hold_no_pairs_are_named(
    models: dict[str, str], in_folder: Path, content: str, message: str
) -> None:
    Path("wrong.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        run(models["good"], "--pairs", "wrong.jsonl")


def test_conversations_need_a_template_that_renders_them(models: dict[str, str], in_folder: Path) -> None:
    talk = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    pairs = write(in_folder / "talk.jsonl", [{"prompt": talk, "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError, match="template 'plain' renders the last message alone"):
        run(models["good"], "--pairs", pairs)


def test_a_language_model_is_no_reward_model(in_folder: Path) -> None:
    pairs = write(in_folder / "sums.jsonl", sums())
    with pytest.raises(ModelError, match=r"'tiny' is no reward model: .* names LlamaForCausalLM"):
        run("tiny", "--pairs", pairs)
    with pytest.raises(ModelError, match="there is no folder"):
        run("./missing", "--pairs", pairs)


def test_a_mistake_leaves_no_folder(models: dict[str, str], in_folder: Path) -> None:
    with pytest.raises(DataError):
        run(models["good"], "--pairs", "missing.jsonl", "--out", "out")
    assert not Path("out").exists()


# Classifiers without a card.


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """A sequence classifier of somebody else, whose padding token is its end-of-sequence token."""
    torch.manual_seed(0)
    config = LlamaConfig(**{**small_llama().config.to_dict(), "num_labels": 1, "vocab_size": len(VOCABULARY)})
    model, tokenizer = LlamaForSequenceClassification(config), letter_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'][0] + ': ' + m['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'a: ' }}{% endif %}"
    )
    model.save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


@pytest.mark.parametrize("template", [None, "plain", "boxed"])
def test_a_classifier_scores_what_transformers_scores(classifier: Path, template: str | None) -> None:
    """Their own forward pass over the text that was assumed, one text at a time."""
    judged = load_judged(str(classifier), torch.device("cpu"), Plugins(), template=template)
    boxed = TEMPLATES["boxed"].text.replace("{{ prompt }}", "1 + 1?").replace("{}", "{{}}")
    texts = {
        None: "u: 1 + 1?<end>a: it is {}<end>",
        "plain": "Question: 1 + 1?\nAnswer:it is {}<end>",
        "boxed": f"u: {boxed}<end>a: it is {{}}<end>",
    }
    problem = Problem(id=digest("p"), task="t", prompt="1 + 1?", answer="")
    model = LlamaForSequenceClassification.from_pretrained(classifier).eval()
    scores = judged.head_scores([(problem, f"it is {number}") for number in range(4)])
    for number, score in enumerate(scores):
        encoded: Any = judged.model.tokenizer(texts[template].format(number), add_special_tokens=False)
        with torch.no_grad():
            logit = model(input_ids=torch.tensor([encoded["input_ids"]])).logits[0, 0]
        assert score is not None
        assert score[0] == pytest.approx(float(logit), abs=1e-4)


def test_what_was_assumed_of_a_classifier_is_said(classifier: Path, in_folder: Path) -> None:
    pairs = write(in_folder / "sums.jsonl", sums()[:8])
    told = run(str(classifier), "--pairs", pairs, "--out", "out", "--perturb", "2")
    assert "assumed     text: the tokenizer's chat template over the whole conversation" in told
    assert "last token that is not the padding token" in told
    assert figures("out")["score_std_from"] == "these pairs"
    for arguments, message in [
        (["--aggregate", "min"], "--aggregate min"),
        (["--write-card"], "has no reward_model.json"),
    ]:
        with pytest.raises(ConfigError, match=message):
            run(str(classifier), "--pairs", pairs, "--out", "new", *arguments)
