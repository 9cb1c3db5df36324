"""Run directories with checkpoints of the packaged model, written without training: for what begins with a run's."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reported_runs import policy_run

from reasonrl.config.kinds import KINDS, KindName
from reasonrl.evaluation.results import SuiteResult
from reasonrl.models import locate
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.manifest import write_manifest
from reasonrl.run.lineage import template_file

WriteModel = Callable[[Path], None]


def packaged_model(folder: Path) -> None:
    """Write the packaged model, without the description that belongs to it."""
    shutil.copytree(locate("tiny"), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md"))


def finetuned_run(root: Path, kind: KindName, name: str = "tuned", **settings: Any) -> RunDirectory:
    """Write the directory of a run of SFT, DPO or KTO that is over, with a checkpoint of step 3. Any: settings."""
    given = {"name": name, "model": "tiny", "data": {"path": "rows.jsonl"}, "template": "r1_zero", **settings}
    config = KINDS[kind].settings.model_validate({**given, "run": {"root": str(root)}})
    data = {"source": "/home/somebody/rows.jsonl", "summary": {"rows": 12, "prompts": 10}}
    run = RunDirectory.create(config, "", environment={}, argv=[], data=data, files=template_file(config, Plugins()))
    run.save_checkpoint(3, 3, packaged_model, keep=1)
    run.set_status("finished")
    return run


def trained_run(
    root: Path,
    name: str = "one",
    *,
    steps: tuple[int, ...] = (2, 4),
    settings: Mapping[str, Any] | None = None,
    parent: Mapping[str, str | int] | None = None,
    evaluations: Mapping[int, SuiteResult] | None = None,
    model: WriteModel = packaged_model,
) -> RunDirectory:
    """Write the directory of a run that is over, with checkpoints.

    Args:
        root: folder of the runs.
        name: the run's.
        steps: of the checkpoints.
        settings: others than the usual ones. Any: as in a run file.
        parent: what its manifest says of the model that it began with.
        evaluations: what was measured, by step.
        model: writes the model into a checkpoint.
    """
    given = {"template": "r1_zero", **(settings or {})}
    run = policy_run(root, name, steps=max(steps), evaluations=evaluations, rollouts={1: []}, settings=given)
    for step in steps:
        run.save_checkpoint(step, step, model, keep=len(steps))
    for file, content in template_file(run.config, Plugins()).items():
        (run.path / file).write_bytes(content)
    (run.path / "data.json").write_text(json.dumps({"train": {"num_problems": 8000}}))
    if parent is not None:
        write_manifest(run.path / "manifest.json", run.manifest.model_copy(update={"parent": dict(parent)}))
    return RunDirectory.open(run.path)
