"""Run directories as runs leave them, written without training: for what reads them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import results

from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.config.settings import RunConfig
from reasonrl.evaluation.files import write_result
from reasonrl.evaluation.results import SuiteResult
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.rollouts import RewardRecord, RolloutRecord, SegmentRecord
from reasonrl.system import jsonl

BASE: Final = ((0.0,), (0.0,), (0.0,), (1.0,), (1.0,), (0.0,))
TRAINED: Final = ((1.0,), (1.0,), (0.0,), (1.0,), (0.0,), (1.0,))
"""Three problems gained and one lost."""


def rollout(
    step: int = 1, group: int = 0, sample: int = 0, reward: float | None = 1.0, **changes: Any
) -> RolloutRecord:
    """A completion with one reward, or with those of ``values``. Any: fields of a record."""
    values: Mapping[str, float | None] = changes.pop("values", {"exact": reward})
    why = changes.pop("why", "answered '2', wanted '2'")
    fields: dict[str, Any] = {
        "step": step,
        "group_index": group,
        "id": f"{step}-{group}-{sample}",
        "group_id": f"p{group}",
        "sample_index": sample,
        "task": "arithmetic",
        "prompt": "What is 1 + 1?",
        "completion": f"It is 2, says sample {sample} of step {step}.",
        "completion_tokens": 5,
        "segments": (SegmentRecord(num_tokens=5, policy_version=step - 1),),
        "policy_version": step - 1,
        "logprob_sum": -2.5,
        "finish_reason": "stop",
        "seed": 7,
        "answer": "2",
        "rewards": {
            name: RewardRecord(
                value=value, outcome="timeout" if value is None else "scored", why=why, parts={"answered": 1.0}
            )
            for name, value in values.items()
        },
        "reward": reward,
        "outcome": "timeout" if reward is None else "scored",
        "penalties": {"kl": 0.01},
        "advantage": 0.5,
    }
    return RolloutRecord(**fields | changes)


def step_of_rollouts(step: int, **changes: Any) -> list[RolloutRecord]:
    """Three problems with four completions each. Any: fields of a record."""
    return [
        rollout(step, group, sample, float((group + sample) % 3 == 0), **changes)
        for group in range(3)
        for sample in range(4)
    ]


def metrics_of(step: int) -> dict[str, float]:
    """What a step of a policy's run writes, shortened."""
    return {
        "reward/mean": 0.1 + 0.1 * step,
        "reward_stderr/mean": 0.02,
        "reward/exact": 0.1 + 0.1 * step,
        "reward/exact/answered": 0.9,
        "completion/length_mean": 15.0 + step,
        "completion/truncated": 0.05,
        "completion/repetition": 0.0,
        "groups/useful": 0.75,
        "policy/entropy": 0.5 - 0.01 * step,
        "policy/kl": 0.001 * step,
        "policy/grad_norm": 0.01,
        "policy/learning_rate": 5e-4,
        "mismatch/mean": 4e-7,
        "seconds/sampling": 2.0,
        "seconds/learning": 1.0,
        "seconds/step": 3.0,
    }


def policy_config(root: Path, name: str, steps: int, **changes: Any) -> RunConfig:
    """A small run. Any: settings."""
    data = {"name": name, "model": "tiny", "task": "arithmetic", "rewards": ["exact"]}
    return RunConfig.model_validate({**data, "run": {"steps": steps, "root": str(root)}, **changes})


def policy_run(
    root: Path,
    name: str = "first",
    *,
    steps: int = 6,
    evaluations: Mapping[int, SuiteResult] | None = None,
    rollouts: Mapping[int, Sequence[RolloutRecord]] | None = None,
    control: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RunDirectory:
    """Write the directory of a run that is over.

    Args:
        root: folder of the runs.
        name: the run's.
        steps: how many it took.
        evaluations: what was measured by step; of one suite before the first step and after the last, if not given.
        rollouts: what was sampled by step; something for every step if not given.
        control: what it is a control by.
        settings: others than the usual ones.
    """
    config = policy_config(root, name, max(steps, 1), **(settings or {}))
    environment = {"reasonrl": "0.2.0", "torch": "2.13.0", "device": "cpu"}
    run = RunDirectory.create(
        config, f"name: {name}\n", environment=environment, argv=["train", "run.yaml"], control=control
    )
    if evaluations is None:
        evaluations = {0: results.result(BASE), steps: results.result(TRAINED)}
    for step, found in evaluations.items():
        write_evaluation(run, step, found)
    for step in range(1, steps + 1):
        run.append_metrics(step, metrics_of(step))
    for step, records in (rollouts or {step: step_of_rollouts(step) for step in range(1, steps + 1)}).items():
        write_rollouts(run, step, records)
    run.set_status("finished")
    return run


def write_evaluation(run: RunDirectory, step: int, found: SuiteResult, suite: str = "sums") -> Path:
    """Write a suite's results after a step; return their folder."""
    folder = run.eval_folder(step, suite)
    write_result(replace(found, name=suite), folder, model={"name": "tiny", "run": run.config.name, "step": step})
    return folder


def write_rollouts(run: RunDirectory, step: int, records: Sequence[RolloutRecord]) -> None:
    """Write a step's completions."""
    path = run.path / "rollouts" / f"step_{step:06d}.jsonl"
    path.write_bytes(jsonl.encode(record.model_dump() for record in records))


def write_many_metrics(run: RunDirectory, steps: int, names: Sequence[str]) -> None:
    """Replace the metrics by so many steps of every name, at once."""
    lines = (
        {"schema_version": 1, "step": step, "wall": "2026-01-01T00:00:00.000+00:00", "dropped_non_finite": 0}
        | {name: (index + 1) / (step + 0.123456789) for index, name in enumerate(names)}
        for step in range(1, steps + 1)
    )
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def reward_model_run(root: Path, name: str = "rm", accuracies: Sequence[float] = (0.5, 0.84)) -> RunDirectory:
    """Write the directory of a run that trained a reward model and was measured at step 0, 10 and so on."""
    data = {"name": name, "model": "tiny", "data": {"path": "pairs.jsonl"}, "run": {"root": str(root)}}
    config = RewardModelConfig.model_validate(data)
    run = RunDirectory.create(config, f"name: {name}\n", environment={"device": "cpu"}, argv=["rm", "train", "rm.yaml"])
    for index, accuracy in enumerate(accuracies):
        step = 10 * index
        run.write_evaluation(step, heldout(accuracy))
        run.append_metrics(
            step,
            {
                "heldout/accuracy": accuracy,
                "heldout_stderr/accuracy": 0.01,
                "heldout/length_only": 0.7,
                "heldout/loss": 0.6,
            },
        )
        run.append_metrics(step + 1, {"rm/loss": 0.6, "rm/accuracy": accuracy, "rm/margin": 0.4, "rm/grad_norm": 1.0})
    run.set_status("finished")
    return run


def heldout(accuracy: float) -> dict[str, Any]:
    """What a reward model's measurement writes. Any: JSON values."""

    def share(value: float) -> dict[str, float]:
        return {"value": value, "lower": value - 0.03, "upper": value + 0.03}

    return {
        "accuracy": share(accuracy),
        "length_only": share(0.7),
        "length_rule": "longer",
        "difference": share(accuracy - 0.7),
        "num_pairs": 775,
        "num_prompts": 194,
    }
