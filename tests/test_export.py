"""Results in other tools' formats, by what their readers look for."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from results import result, with_rows, written
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.errors import RunError
from reasonrl.evaluation.results import SuiteResult


def _said(*arguments: object) -> list[Path]:
    """Export, and return the files."""
    found = CliRunner().invoke(app, ["export", *map(str, arguments)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return [Path(line) for line in found.output.splitlines()]


def _result() -> SuiteResult:
    """Make two problems with two samples: one is cut, one has no answer, one ran out of time."""
    return with_rows(
        result([[1.0, 0.0], [0.0, 1.0]], num_problems_in_suite=9, stop=("\n",)),
        {"reward": 2.0, "rewards": {"format": 2.0}, "metrics": {"loose": 1.0}},
        {"finish_reason": "length", "parsed": None, "metrics": {"loose": 0.5}, "completion": 'odd "text" \u2028\ud800'},
        {"outcome": "timeout", "why": "ran longer than 60 s", "parsed": None, "metrics": {"loose": 0.0}},
        {"cluster": "text 1", "metrics": {"loose": 1.0}},
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Give a folder of results of one model on two suites."""
    written(_result(), tmp_path / "mine" / "sums", engine={"name": "vllm"})
    written(result([[1.0], [0.0]], name="words/x:y"), tmp_path / "mine" / "words")
    return tmp_path / "mine"


def _log(results: Path, out: Path) -> dict[str, Any]:
    """Any: JSON values."""
    (path,) = _said(results, "--to", "inspect", "--suite", "sums", "--out", out)
    log: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return log


def test_a_log_of_inspect_has_each_sample_as_an_epoch_of_its_problem(results: Path, tmp_path: Path) -> None:
    log = _log(results, tmp_path / "logs")
    assert (log["version"], log["status"], log["eval"]["task"], log["eval"]["model"]) == (2, "success", "sums", "mine")
    assert log["eval"]["config"] == {"epochs": 2, "epochs_reducer": ["mean"], "limit": 2}
    assert [(one["id"], one["epoch"]) for one in log["samples"]] == [("p0", 1), ("p0", 2), ("p1", 1), ("p1", 2)]
    first, cut, late, _ = log["samples"]
    assert (first["input"], first["target"], first["scores"]["exact"]["value"]) == ("What is 0?", "1", 1.0)
    assert [message["role"] for message in first["messages"]] == ["user", "assistant"]
    assert [one["output"]["choices"][0]["stop_reason"] for one in (first, cut)] == ["stop", "max_tokens"]
    assert cut["scores"]["loose"] == {"value": 0.5}
    assert late["scores"]["exact"]["explanation"] == "ran longer than 60 s"
    assert first["metadata"]["rewards"] == {"format": 2.0}
    assert log["plan"]["config"]["stop_seqs"] == ["\n"]


def test_a_log_of_inspect_has_all_figures_and_rates_as_metrics(results: Path, tmp_path: Path) -> None:
    log = _log(results, tmp_path / "logs")
    scores = {score["name"]: score for score in log["results"]["scores"]}
    summary = json.loads((results / "sums" / "results.json").read_text())
    for metric in summary["metrics"]:
        of = scores["rates"] if metric["id"] in summary["rates"] else scores[metric["id"]]
        value = of["metrics"][metric["id"] if of is scores["rates"] else "accuracy"]
        assert value["value"] == metric["value"]
    assert scores["pass@2"]["reducer"] == "pass_at_2"
    assert scores["exact"]["metrics"]["se_sampling"]["value"] == summary["metrics"][0]["se_sampling"]
    assert (log["results"]["total_samples"], log["results"]["completed_samples"]) == (4, 3)


def test_files_of_lm_evaluation_harness_stand_and_are_named_as_it_names_them(results: Path, tmp_path: Path) -> None:
    aggregate, *samples = _said(results, "--to", "lm-eval", "--out", tmp_path / "out")
    assert aggregate.parent == tmp_path / "out" / "mine"
    time = aggregate.stem.removeprefix("results_")
    assert [path.name for path in samples] == [f"samples_sums_{time}.jsonl", f"samples_words__x__y_{time}.jsonl"]
    found = json.loads(aggregate.read_text(encoding="utf-8"))
    summary = json.loads((results / "sums" / "results.json").read_text())
    assert found["results"]["sums"] == summary["results"]["sums"]
    assert found["results"]["sums"]["exact,none"] == 0.5
    assert found["results"]["sums"]["exact_stderr,none"] == summary["metrics"][0]["se"]
    assert found["n-samples"] == {"sums": {"original": 9, "effective": 2}, "words/x:y": {"original": 2, "effective": 2}}
    assert (found["n-shot"]["sums"], found["versions"]["sums"], found["model_name"]) == (0, 1, "mine")
    assert found["configs"]["sums"]["generation_kwargs"]["max_gen_toks"] == 16
    assert found["higher_is_better"]["sums"]["truncated"] is False


def test_samples_of_lm_evaluation_harness_have_its_hashes(results: Path, tmp_path: Path) -> None:
    aggregate, samples, _ = _said(results, "--to", "lm-eval", "--out", tmp_path / "out")
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").split("\n") if line]
    hashes = "".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows)
    task_hashes = json.loads(aggregate.read_text(encoding="utf-8"))["task_hashes"]
    assert task_hashes["sums"] == hashlib.sha256(hashes.encode()).hexdigest()
    assert [(row["doc_id"], row["target"], row["exact"], row["loose"]) for row in rows] == [
        (0, "1", 0.5, 0.75),
        (1, "1", 0.5, 0.5),
    ]
    assert rows[1]["resps"] == [["It is 0.", "It is 1."]]
    assert rows[1]["arguments"]["gen_args_0"]["arg_0"] == "What is 1?"
    assert rows[0]["metrics"] == ["exact", "loose"]


def test_a_model_card_has_figures_with_intervals_and_says_how_they_were_sampled(results: Path, tmp_path: Path) -> None:
    (card,) = _said(results, "--to", "hf-card", "--out", tmp_path / "card")
    _, front, body = card.read_text(encoding="utf-8").split("---\n", 2)
    (index,) = yaml.safe_load(front)["model-index"]
    assert index["name"] == "mine"
    sums, words = index["results"]
    assert (sums["task"]["type"], sums["dataset"]["type"], words["dataset"]["type"]) == (
        "text-generation",
        "sums",
        "words/x:y",
    )
    assert sums["dataset"]["args"]["num_problems_in_suite"] == 9
    main = sums["metrics"][0]
    interval = main["args"]["confidence_interval"]
    assert (main["name"], main["value"]) == ("avg@2", 50.0)
    assert interval["lower"] < 50 < interval["upper"]
    assert "2 problems x 2, temperature 1, max_new_tokens 16, template plain, engine vllm." in body
    assert "**Limited: 2 of 9 problems.**" in body
    assert "| avg@2 | 50.0% | [" in body
    assert "Scored 3 of 4 completions" in body


@pytest.mark.parametrize("to", ["inspect", "lm-eval", "hf-card"])
def test_nothing_is_written_over_unless_that_is_asked_for(results: Path, tmp_path: Path, to: str) -> None:
    files = _said(results, "--to", to, "--out", tmp_path / "out")
    files[0].write_text("mine")
    with pytest.raises(RunError, match=r"is there already\. Give --out FOLDER, or --overwrite"):
        _said(results, "--to", to, "--out", tmp_path / "out")
    assert files[0].read_text() == "mine"
    assert _said(results, "--to", to, "--out", tmp_path / "out", "--overwrite") == files
    assert files[0].read_text(encoding="utf-8") != "mine"
