"""Every metric has one declaration, with unit and meaning."""

import importlib.util
import re
from pathlib import Path

import pytest

from reasonrl.run.files import RunDirectory
from reasonrl.run.metric_names import METRICS, describe
from reasonrl.run.start import start_run


@pytest.mark.parametrize(
    ("written", "declared"),
    [
        ("reward/mean", "reward/mean"),
        ("reward/numeric_answer", "reward/{reward}"),
        ("reward/math/exact", "reward/{reward}/{part}"),
        ("outcome/judge/timeout", "outcome/{reward}/{outcome}"),
        ("scoring/./file.py:short/run_p95_s", "scoring/{reward}/run_p95_s"),
        ("seconds/weight_sync", "seconds/weight_sync"),
        ("heldout/gsm8k", "heldout/{suite}"),
        ("heldout/gsm8k/reward_mean", "heldout/{suite}/reward_mean"),
    ],
)
def test_a_name_that_a_run_writes_is_found_in_its_family(written: str, declared: str) -> None:
    found = describe(written)
    assert found is not None
    assert found.name == declared


def test_names_are_declared_once_and_what_nobody_declared_is_not_found() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert describe("reword/mean") is None


SCHEME = re.compile(r"[a-z][a-z0-9_]*(/([a-z][a-z0-9_]*|\{[a-z]+\}))+")
PAGE = Path(__file__).parents[1] / "docs" / "metric-names.md"
TRAINERS = {"loss", "grad_norm", "learning_rate", "step", "train/global_step", "beta"}
TRAINERS |= {"eval_loss", "eval_accuracy", "eval_margin"}
"""Names that transformers' ``Trainer`` makes, and a setting."""


def test_all_names_are_written_alike() -> None:
    assert [metric.name for metric in METRICS if not SCHEME.fullmatch(metric.name)] == []


def table() -> list[tuple[str, str, str]]:
    """Return the rows of the page for those who know other names."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return [(here, trl, verl) for here, trl, verl in rows]


def test_the_page_names_metrics_that_there_are() -> None:
    declared = {metric.name for metric in METRICS} | {"step"}
    named = [name for here, _, _ in table() for name in re.findall(r"`([^`]+)`", here)]
    assert len(named) > 35
    assert set(named) <= declared
    assert len(set(named)) == len(named)


def test_the_names_of_trl_are_those_that_it_logs() -> None:
    spec = importlib.util.find_spec("trl")
    if spec is None or spec.origin is None:
        pytest.skip("TRL is not installed")
    trainers = Path(spec.origin).parent / "trainer"
    logged = "".join((trainers / f"{name}_trainer.py").read_text() for name in ("grpo", "reward", "sft", "dpo", "kto"))
    for _, trl, _ in table():
        for name in re.findall(r"`([a-z_/]+)`", trl):
            last = name.removeprefix("rewards/")
            assert name in TRAINERS or f'"{name}"' in logged or f"{last}" in logged, name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["policy", "reward_model"])
def test_what_real_runs_write_is_declared_and_written_alike(in_folder: Path, kind: str) -> None:
    if kind == "policy":
        start_run(policy_file(in_folder), (), [], argv=["test"])
    else:
        start_run(reward_model_file(in_folder), (), [], argv=["test"], kind="reward_model")
    lines = RunDirectory.open(in_folder / "runs" / "a").read_metrics()
    fields = {"schema_version", "step", "wall", "dropped_non_finite"}
    names = {name for line in lines for name in line} - fields
    assert len(names) > (30 if kind == "policy" else 12)
    assert [name for name in sorted(names) if describe(name) is None or not SCHEME.fullmatch(name)] == []


def policy_file(folder: Path) -> Path:
    """Write a small run with all that is measured: a suite, a critic's values, a divergence, several rewards."""
    path = folder / "run.yaml"
    path.write_text(
        "name: a\nmodel: tiny\ntask: arithmetic\ntemplate: plain\n"
        "rewards: [numeric_answer, {name: exact_answer, weight: 0.1}]\n"
        "algorithm: {preset: ppo, kl_measured: true}\nlearner: {minibatch_sequences: 8}\n"
        "rollout: {prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 12}\n"
        "evaluation: {suites: [{name: arithmetic, params: {num_problems: 8}}]}\nrun: {steps: 2}\n"
    )
    return path


def reward_model_file(folder: Path) -> Path:
    """Write the training of a small reward model with two heads, and its pairs."""
    row = '{{"prompt": "{0} + 1?", "chosen": "It is {0} and one more.", "rejected": "No."}}\n'
    (folder / "pairs.jsonl").write_text("".join(row.format(number) for number in range(60)))
    path = folder / "run.yaml"
    path.write_text(
        "name: a\nmodel: tiny\ntemplate: plain\ndata: {path: pairs.jsonl}\nensemble: {num_heads: 2}\n"
        "pairs_per_step: 8\nrun: {steps: 2}\n"
    )
    return path
