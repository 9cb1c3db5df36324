"""Which checkpoint a user means by a model's name."""

from pathlib import Path

from reasonrl.errors import RunError
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.steps import by_step


def checkpoint_of(model: str) -> str:
    """Return the checkpoint that a run directory or RUN@STEP stands for; anything else stays as it is.

    Raises:
        RunError: the run has no such checkpoint, or trains something that writes no completions.
    """
    name, at, wanted = model.rpartition("@")
    folder = Path(name if at else model)
    if not (folder / "manifest.json").is_file() and not _stands_among_runs(folder):
        return model
    directory = RunDirectory.open(folder)
    if directory.kind.name == "reward_model":
        raise RunError(
            f"{folder} trains a reward model, which writes no completions. Judge it with: reasonrl rm eval {folder} "
            "--pairs FILE"
        )
    return str(directory.checkpoint_at(wanted if at else "")[1])


def _stands_among_runs(folder: Path) -> bool:
    """Say whether a missing folder is where runs are, so that no model of the hub can be meant."""
    return not folder.exists() and any(folder.parent.glob("[!.]*/manifest.json")) and folder.parent != Path()


def run_of(place: str) -> tuple[Path, int | None] | None:
    """Return the run that a model's folder belongs to, with the step of a checkpoint; None for any other model.

    Args:
        place: where the model is, such as ``RUN/checkpoints/step_000040``, or ``RUN/model`` without a step.
    """
    folder = Path(place).expanduser()
    for run in (folder.parent.parent, folder.parent):
        if folder.is_dir() and (run / "manifest.json").is_file():
            steps = {path.resolve(): step for step, path in by_step(folder.parent)}
            return run, steps.get(folder.resolve())
    return None
