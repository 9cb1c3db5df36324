"""``reasonrl report``: what it says is what the run directory holds, and nothing in it can run or call home."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest
import results
from pages import Page
from reported_runs import (
    BASE,
    TRAINED,
    policy_run,
    reward_model_run,
    rollout,
    step_of_rollouts,
    write_evaluation,
    write_many_metrics,
    write_rollouts,
)
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.errors import RunError
from reasonrl.evaluation.compare import compare
from reasonrl.evaluation.files import read_result, read_summary
from reasonrl.run.events import CheckpointSaved, RunEnded
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.history import History
from reasonrl.run.report.page import report_page
from reasonrl.run.report.picture import COLORS, picture_of, write_picture
from reasonrl.run.report.rollouts import choose, disputes
from reasonrl.run.report.thin import kept
from reasonrl.run.report.writer import ReportWriter, write_report
from reasonrl.web import asset

HOSTILE: Final = (
    '</pre></script><script>window.hit = 1</script><img src=x onerror="window.hit = 2"> '
    "<a href='javascript:window.hit = 3'>here</a> \x1b[31mred\x1b[0m \u202egnp.exe\u202c {{ 7 * 7 }} &lt;b&gt; \x00 end"
)
"""What a model might say to whoever looks at it."""


def page_of(*runs: RunDirectory) -> Page:
    """The report of runs, taken apart."""
    return Page(report_page([History.open(run.path) for run in runs]))


# Figures.


def test_the_headline_has_the_figures_of_results_json(tmp_path: Path) -> None:
    run = policy_run(tmp_path, steps=40)
    page = page_of(run)
    folders = [run.path / "evals" / f"step_0000{step}" / "sums" for step in ("00", "40")]
    base, trained = (read_summary(folder)["metrics"][0] for folder in folders)
    difference = compare(*map(read_result, folders)).figures[0].difference
    assert page.figures("heldout")[:3] == [base["value"], trained["value"], difference.difference]
    for figure in (base, trained):
        assert f"[{figure['ci']['lower']:.1%}, {figure['ci']['upper']:.1%}]" in page.text("heldout")
    assert "33.3% → 66.7%" in page.text("heldout")
    assert "Difference +33.3 points" in page.text("heldout")
    assert "Problems won 3, tied 2, lost 1." in page.text("heldout")


def test_every_figure_of_the_results_is_in_the_table(tmp_path: Path) -> None:
    several = results.result([(1.0, 0.0), (1.0, 1.0), (0.0, 0.0)])
    run = policy_run(tmp_path, evaluations={0: several, 6: several})
    page = page_of(run)
    metrics = read_summary(run.path / "evals" / "step_000006" / "sums")["metrics"]
    assert len(metrics) > 5
    for figure in metrics:
        assert figure["value"] in page.figures("heldout")
        assert figure["label"] in page.text("heldout")


def test_a_figure_that_was_named_beforehand_is_the_headline(tmp_path: Path) -> None:
    several = results.result([(1.0, 0.0), (1.0, 1.0), (0.0, 0.0)])
    run = policy_run(tmp_path, evaluations={0: several, 6: several})
    named = json.dumps({"schema_version": 1, "primary": [{"suite": "sums", "metric": "pass@2"}]})
    (run.path / "preregistration.json").write_text(named)
    sha = hashlib.sha256(named.encode()).hexdigest()
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps(manifest | {"settings": {"preregistration.sha": sha}}))
    text = page_of(run).text("heldout")
    assert "sums pass@2" in text
    assert "named beforehand" in text
    assert "Exploratory" not in text


def test_problems_gained_and_lost_are_shown_with_both_answers(tmp_path: Path) -> None:
    text = page_of(policy_run(tmp_path)).text("problems")
    assert "Gained: 3" in text
    assert "Lost: 1" in text
    assert all(f"problem p{number}: 0 → 1" in text for number in (0, 1, 5))
    assert "problem p4: 1 → 0" in text
    assert text.index("It is 0.") < text.index("It is 1.")


def test_the_curves_are_the_metrics(tmp_path: Path) -> None:
    run = policy_run(tmp_path)
    charts = {chart["title"]: chart for chart in page_of(run).data["charts"]}
    metrics = History.open(run.path).metrics
    reward = charts["Reward"]["lines"][0]
    assert reward["x"] == list(metrics["reward/mean"].steps)
    assert reward["y"] == pytest.approx(metrics["reward/mean"].values, rel=1e-5)
    assert reward["high"][0] == pytest.approx(metrics["reward/mean"].values[0] + 1.96 * 0.02, rel=1e-5)
    assert [line["label"] for line in charts["Reward by part"]["lines"]] == ["exact", "exact/answered"]
    drawn = {line["label"] for chart in charts.values() for line in chart["lines"]}
    assert {"sampling", "learning", "sums"} <= drawn
    assert len(charts["Seconds by phase"]["lines"]) == 2
    assert charts["Held-out: sums"]["lines"][0]["x"] == [0, 6]


def test_every_metric_is_drawn_and_in_the_table(tmp_path: Path) -> None:
    run = policy_run(tmp_path)
    run.append_metrics(3, {"made/by_a_plugin": 5.0})
    page = page_of(run)
    metrics = History.open(run.path).metrics
    errors = [name for name in metrics if "_stderr/" in name]
    assert sum(len(chart["lines"]) for chart in page.data["charts"]) == len(metrics) - len(errors) + 1  # the suite
    assert all(name in page.text("metrics") for name in metrics)


def test_alarms_and_checkpoints_are_marked_at_their_steps(tmp_path: Path) -> None:
    run = policy_run(tmp_path)
    run.append_event("alarm", "entropy_collapse: below 0.01 since step 3", 4)
    run.append_event("resumed", "attempt 2", 4)
    run.save_checkpoint(5, 5, lambda folder: (folder / "model.bin").touch(), keep=2)
    page = page_of(run)
    assert [(mark["step"], mark["kind"]) for mark in page.data["marks"]] == [(4, "alarm"), (5, "checkpoint")]
    assert "entropy_collapse: below 0.01 since step 3" in page.text("events")
    assert "attempt 2" in page.text("events")
    assert "1 alarm" in page.text()


# Several runs.


def test_several_runs_are_overlaid_and_their_settings_compared(tmp_path: Path) -> None:
    one = policy_run(tmp_path, "one")
    other = policy_run(
        tmp_path,
        "other",
        settings={"seed": 3, "learner": {"learning_rate": 1e-4}},
        evaluations={0: results.result(BASE)},
    )
    page = page_of(one, other)
    reward = next(chart for chart in page.data["charts"] if chart["title"] == "Reward")
    assert [(line["label"], line["run"], line["color"]) for line in reward["lines"]] == [("one", 0, 0), ("other", 1, 1)]
    assert "learner.learning_rate" in page.text("differences")
    assert "seed 0 3" in page.text("differences")
    assert "model.name" not in page.text("differences")
    assert "not measured since" in page.text("heldout")


def test_runs_are_compared_problem_by_problem(tmp_path: Path) -> None:
    one = policy_run(tmp_path, "one")
    other = policy_run(tmp_path, "other", evaluations={6: results.result(BASE)})
    expected = compare(results.result(TRAINED), results.result(BASE)).figures[0].difference
    page = page_of(one, other)
    assert expected.difference in page.figures("heldout")
    assert "Last evaluations of the runs against each other" in page.text("heldout")


def test_runs_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    one = policy_run(tmp_path, "one")
    other = policy_run(tmp_path, "other", evaluations={6: results.result(TRAINED, suite_sha="others")})
    assert "one and other are not compared" in page_of(one, other).text("heldout")


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    one, other = policy_run(tmp_path / "a"), policy_run(tmp_path / "b")
    page = page_of(one, other)
    assert f"first ({one.path})" in page.text()
    assert f"first ({other.path})" in page.text()


# Runs of every kind and in every state.


def without_evaluation(root: Path) -> RunDirectory:
    return policy_run(root, evaluations={})


def without_rollouts(root: Path) -> RunDirectory:
    return policy_run(root, rollouts={0: []})


def before_the_first_step(root: Path) -> RunDirectory:
    return policy_run(root, steps=0, evaluations={}, rollouts={1: []})


def interrupted(root: Path) -> RunDirectory:
    run = policy_run(root)
    run.set_status("interrupted")
    return run


def failed(root: Path) -> RunDirectory:
    run = policy_run(root)
    run.set_status("failed", "the alarm not_finite stopped it")
    return run


def a_control(root: Path) -> RunDirectory:
    return policy_run(root, control="random")


def damaged_rollouts(root: Path) -> RunDirectory:
    run = policy_run(root)
    (run.path / "rollouts" / "step_000001.jsonl").write_text('{"schema_version": 1}\n')
    return run


def measured_with_other_problems(root: Path) -> RunDirectory:
    return policy_run(root, evaluations={0: results.result(BASE), 6: results.result(TRAINED, suite_sha="others")})


def unmeasured_reward_model(root: Path) -> RunDirectory:
    run = reward_model_run(root, accuracies=())
    run.write_evaluation(0, None)
    return run


@pytest.mark.parametrize(
    ("made", "section", "told"),
    [
        (without_evaluation, "heldout", "The run measures no held-out suite"),
        (without_evaluation, "problems", "No held-out suite was measured."),
        (without_rollouts, "rollouts", "0 completions"),
        (before_the_first_step, "heldout", "Nothing was measured yet"),
        (before_the_first_step, "curves", "No step has been taken yet."),
        (interrupted, "", "interrupted trains a policy: 6 of 6 steps"),
        (failed, "", "the alarm not_finite stopped it"),
        (a_control, "", "a random reward took the place of the run file's rewards"),
        (damaged_rollouts, "about", "Completions are not shown"),
        (measured_with_other_problems, "heldout", "No paired difference"),
        (reward_model_run, "heldout", "50.0% → 84.0%"),
        (reward_model_run, "heldout", "Better than preferring the longer completion by +14.0 points [+11.0, +17.0]"),
        (reward_model_run, "rollouts", "samples none"),
        (unmeasured_reward_model, "heldout", "no two held-out completions of one prompt can be compared"),
    ],
)
def test_a_run_in_any_state_has_a_report(
    tmp_path: Path, made: Callable[[Path], RunDirectory], section: str, told: str
) -> None:
    assert told in page_of(made(tmp_path)).text(section)


def test_the_curves_of_a_reward_model_are_drawn(tmp_path: Path) -> None:
    charts = {chart["title"]: chart for chart in page_of(reward_model_run(tmp_path)).data["charts"]}
    assert {"Accuracy", "Loss", "Margin", "Gradient norm"} <= charts.keys()
    lines = {line["label"]: line for line in charts["Accuracy"]["lines"]}
    assert lines.keys() == {"rm/accuracy", "heldout/accuracy", "heldout/length_only"}
    assert lines["heldout/accuracy"]["high"] == pytest.approx([0.5 + 0.0196, 0.84 + 0.0196])


def test_the_environment_and_the_settings_are_in_it(tmp_path: Path) -> None:
    text = page_of(policy_run(tmp_path)).text("settings")
    assert all(part in text for part in ("torch 2.13.0", "device cpu", "seed 0", "train run.yaml", "prompts_per_step"))


# Completions.


def test_the_best_the_worst_and_the_most_disputed_of_first_middle_and_last_step_are_shown(tmp_path: Path) -> None:
    text = page_of(policy_run(tmp_path)).text("rollouts")
    assert [int(step) for step in re.findall(r"Step (\d+) 12 completions", text)] == [1, 4, 6]
    assert all(text.count(kind) == 3 for kind in ("Best reward", "Worst reward", "Most disputed reward"))
    assert "answered '2', wanted '2'" in text
    assert "It is 2, says sample 0 of step 1." in text


def test_the_best_and_the_worst_are_of_different_problems() -> None:
    records = [rollout(1, group, sample, reward) for group, sample, reward in ((0, 0, 3.0), (0, 1, 2.0), (1, 0, 1.0))]
    found = choose(1, records)
    assert [one.record.id for one in found.best] == ["1-0-0", "1-1-0"]
    assert [one.record.id for one in found.worst] == ["1-1-0", "1-0-1"]


def test_nothing_is_the_worst_where_all_rewards_are_equal(tmp_path: Path) -> None:
    equal = [rollout(1, group) for group in range(3)]
    assert choose(1, equal).worst == ()
    assert "the same reward" in page_of(policy_run(tmp_path, rollouts={1: equal})).text("rollouts")


def test_rewards_that_disagree_make_a_completion_disputed() -> None:
    records = [
        rollout(1, 0, 0, 1.0, values={"exact": 1.0, "judge": 10.0}),
        rollout(1, 0, 1, 0.0, values={"exact": 0.0, "judge": 9.0}),
        rollout(1, 1, 0, 0.0, values={"exact": 0.0, "judge": 0.0}),
    ]
    found = disputes(records)
    assert found == {"1-0-0": 0.0, "1-0-1": pytest.approx(0.9), "1-1-0": 0.0}
    assert [one.record.id for one in choose(1, records).disputed] == ["1-0-1"]


def test_with_one_reward_the_one_unlike_its_siblings_is_disputed() -> None:
    records = [rollout(1, 0, sample, reward) for sample, reward in enumerate((1.0, 0.0, 0.0, 0.0))]
    assert max(disputes(records), key=disputes(records).__getitem__) == "1-0-0"


def test_what_was_learned_from_a_completion_is_said(tmp_path: Path) -> None:
    records = [
        rollout(1, 0, advantage=(0.5, None, 0.25)),
        rollout(1, 1, reward=0.0, advantage=None, unused="no_signal"),
        rollout(1, 2, reward=0.5, finish_reason="length"),
    ]
    text = page_of(policy_run(tmp_path, rollouts={1: records})).text("rollouts")
    told = (
        "an advantage for each token",
        "no advantage",
        "not learned from: no_signal",
        "truncated",
        "penalty kl 0.01",
    )
    assert all(part in text for part in told)


def test_completions_without_a_score_are_counted_not_ranked() -> None:
    found = choose(1, [rollout(1, 0, 0, None), rollout(1, 1, 0, 0.5)])
    assert found.outcomes == {"timeout": 1, "scored": 1}
    assert [one.record.id for one in (*found.best, *found.worst, *found.disputed)] == ["1-1-0"]


# What is in the file can do nothing.


def hostile_run(root: Path) -> RunDirectory:
    """A run in which everything that somebody else wrote is hostile."""
    rows = [{"prompt": HOSTILE, "completion": HOSTILE, "parsed": HOSTILE, "answer": HOSTILE}] * 6
    evaluations = {step: results.with_rows(results.result(values), *rows) for step, values in ((0, BASE), (6, TRAINED))}
    told = step_of_rollouts(1, prompt=HOSTILE, completion=HOSTILE * 50, answer=HOSTILE, why=HOSTILE)
    run = policy_run(
        root, evaluations=evaluations, rollouts={1: told}, settings={"description": HOSTILE.replace("\x00", "")}
    )
    run.append_event("alarm", f"no_scores: {HOSTILE}", 2)
    run.append_metrics(2, {"reward/<script>alert(1)</script>": 1.0})
    return run


def test_hostile_text_is_text(tmp_path: Path) -> None:
    page = page_of(hostile_run(tmp_path))
    assert len(page.tags("script")) == 2
    assert not page.tags("img")
    assert all(link["href"].startswith("#") for link in page.tags("a"))
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "<script>window.hit = 1</script>" in page.text("rollouts")
    assert "{{ 7 * 7 }}" in page.text("problems")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", page.source)
    assert r"\x1b[31mred" in page.text("rollouts")
    assert r"\u202egnp.exe" in page.text("rollouts")


def test_long_texts_are_cut_and_the_file_says_so(tmp_path: Path) -> None:
    run = policy_run(tmp_path, rollouts={1: step_of_rollouts(1, completion="x" * 5_000_000)})
    page = page_of(run)
    assert len(page.source) < 1_000_000
    assert "5,000,000 characters in all" in page.text("rollouts")


def test_the_policy_allows_the_page_s_own_script_and_style_alone(tmp_path: Path) -> None:
    page = page_of(policy_run(tmp_path))
    (policy,) = [meta["content"] for meta in page.tags("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for name, content in (("script-src", page.raw["script"][1]), ("style-src", page.raw["style"][0])):
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def test_nothing_is_fetched_from_anywhere(tmp_path: Path) -> None:
    page = page_of(policy_run(tmp_path))
    named = {name for _, attributes in page.elements for name in attributes}
    assert not named & {"src", "srcset", "action", "style"}
    assert not page.tags("link")
    assert all("url(" not in style and "@import" not in style for style in page.raw["style"])


# Size.


def test_curves_are_thinned_to_what_can_be_seen() -> None:
    values = [float(number % 7) for number in range(5000)]
    values[1234], values[4321] = 99.0, -99.0
    places = kept(values, 400)
    assert len(places) <= 400
    assert {0, 1234, 4321, 4999} <= set(places)
    assert places == sorted(set(places))
    assert kept(values[:400], 400) == list(range(400))


def test_the_report_of_300_steps_is_below_5_megabytes(tmp_path: Path) -> None:
    text = "Some reasoning. " * 2_000
    rows = [{"completion": text, "prompt": text}] * 400
    measured = {
        step: results.with_rows(results.result([(float(number % 2 == step % 2),) for number in range(400)]), *rows)
        for step in (0, 299)
    }
    sampled = {step: step_of_rollouts(step, completion=text, prompt=text) for step in (1, 150, 300)}
    run = policy_run(tmp_path, steps=1, evaluations=measured, rollouts=sampled)
    write_many_metrics(run, 300, [f"scoring/reward_{number}/run_p50_s" for number in range(90)] + ["reward/mean"])
    write_report([run.path], run.path / "report.html")
    assert (run.path / "report.html").stat().st_size < 5_000_000


def test_a_report_that_leaves_something_out_says_so(tmp_path: Path) -> None:
    run = policy_run(tmp_path, evaluations={})
    write_many_metrics(run, 1000, ["reward/mean"])
    page = page_of(run)
    assert "thinned to 400 points" in page.text("about")
    assert len(page.data["charts"][0]["lines"][0]["x"]) <= 400


# The picture.


def test_the_picture_has_the_main_curves(tmp_path: Path) -> None:
    file = tmp_path / "pictures" / "first.svg"
    write_picture([policy_run(tmp_path).path], file)
    root = ET.fromstring(file.read_text())
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Held-out: sums", "Reward", "Completion length", "Entropy"} <= set(texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 4


@pytest.mark.parametrize("made", [before_the_first_step, without_evaluation, reward_model_run, hostile_run])
def test_a_run_in_any_state_has_a_picture(tmp_path: Path, made: Callable[[Path], RunDirectory]) -> None:
    assert ET.fromstring(picture_of([History.open(made(tmp_path).path)])).tag.endswith("svg")


def channels(color: str) -> tuple[float, ...]:
    """Linear red, green and blue of ``#rrggbb``."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def luminance(color: str) -> float:
    red, green, blue = channels(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


BLINDNESS: Final[dict[str, Sequence[Sequence[float]]]] = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""What is left of linear colors (Machado and others 2009)."""


def seen(color: str, blindness: str) -> tuple[float, float, float]:
    """The color in CIE Lab, as somebody sees it."""
    light = channels(color)
    red, green, blue = (
        min(max(sum(a * b for a, b in zip(row, light, strict=True)), 0), 1) for row in BLINDNESS[blindness]
    )
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    fx, fy, fz = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def themes() -> list[dict[str, str]]:
    """The colors of ``base.css`` by name: light, dark by the system, dark by choice."""
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", asset("base.css"))
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks]


def test_colors_have_contrast_in_light_and_dark() -> None:
    light, *dark = themes()
    assert dark[0] == dark[1]
    for colors in (light, dark[0]):
        for ground in (colors["page"], colors["panel"]):
            assert all(
                contrast(colors[name], ground) >= 4.5 for name in ("text", "quiet", "accent", "good", "bad", "warn")
            )
        assert all(contrast(colors[f"series-{number}"], colors["page"]) >= 3 for number in range(1, 7))


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_curves_can_be_told_apart_with_any_color_blindness(blindness: str) -> None:
    for colors in themes():
        series = [seen(colors[f"series-{number}"], blindness) for number in range(1, 7)]
        distances = [
            sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
            for index, one in enumerate(series)
            for other in series[:index]
        ]
        assert min(distances) > 25


def test_the_picture_has_the_colors_of_the_page() -> None:
    assert [themes()[0][f"series-{number}"] for number in range(1, 7)] == list(COLORS)


# Where it is written.


def test_a_run_that_ends_leaves_a_report(tmp_path: Path) -> None:
    run = policy_run(tmp_path)
    said: list[str] = []
    observe = ReportWriter(run, said.append)
    observe(CheckpointSaved(step=6, path=tmp_path))
    observe(RunEnded(status="rolled_back"))
    assert not (run.path / "report.html").exists()
    observe(RunEnded(status="interrupted"))
    assert "Gained: 3" in (run.path / "report.html").read_text()
    assert said == [f"Report: {run.path / 'report.html'}"]


def test_a_report_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    run = policy_run(tmp_path)
    (run.path / "report.html").mkdir()
    said: list[str] = []
    ReportWriter(run, said.append)(RunEnded(status="finished"))
    (message,) = said
    assert message.startswith("no report: ")
    assert message.endswith(f"Make it with: reasonrl report {run.path}")


def test_the_command_writes_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = (str(policy_run(Path("runs"), name).path) for name in ("one", "other"))
    for arguments, file in (
        ([one], f"{one}/report.html"),
        ([one, other], "report.html"),
        ([one, "-o", "a/b.html"], "a/b.html"),
        ([one, "--picture", "a.svg"], "a.svg"),
    ):
        told = CliRunner().invoke(app, ["report", *arguments])
        assert told.exit_code == 0, told.output
        assert file in told.output
        assert Path(file).stat().st_size > 1000


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    run = policy_run(tmp_path)
    with pytest.raises(RunError, match="Did you mean 'first'"):
        write_report([tmp_path / "frist"], tmp_path / "report.html")
    with pytest.raises(RunError, match="then write the report again"):
        write_report([run.path], tmp_path)


def test_a_report_can_be_made_while_a_run_trains(tmp_path: Path) -> None:
    run = policy_run(tmp_path, evaluations={0: results.result(BASE)})
    run.set_status("running")
    before = sorted(path for path in run.path.rglob("*"))
    assert "running trains a policy: 6 of 6 steps" in page_of(run).text()
    assert sorted(path for path in run.path.rglob("*")) == before
    write_evaluation(run, 6, results.result(TRAINED))
    write_rollouts(run, 6, step_of_rollouts(6))
    assert "33.3% → 66.7%" in page_of(run).text("heldout")
