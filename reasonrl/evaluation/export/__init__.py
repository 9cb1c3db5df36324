"""Results in the formats of other tools: logs of inspect, files of lm-evaluation-harness, model cards of the hub."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from reasonrl.errors import RunError
from reasonrl.evaluation.export.hf_card import model_card
from reasonrl.evaluation.export.inspect_log import inspect_logs
from reasonrl.evaluation.export.lm_eval import lm_eval_files
from reasonrl.evaluation.files import Measured
from reasonrl.system.atomic import write_together
from reasonrl.system.disk import disk_errors

Format: TypeAlias = Literal["inspect", "lm-eval", "hf-card"]

FORMATS: Final[Mapping[Format, Callable[[Sequence[Measured]], Mapping[Path, bytes]]]] = {
    "inspect": inspect_logs,
    "lm-eval": lm_eval_files,
    "hf-card": model_card,
}
"""What makes the files of one model's results: their content, by their path below the folder of the export."""


def export(results: Sequence[Measured], to: Format, out: Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write one model's results in another tool's format, and return the files.

    Args:
        results: one or more suites.
        to: whose format.
        out: folder of the files; made if it is missing.
        overwrite: replace files that are there.

    Raises:
        RunError: a file is there, or cannot be written.
    """
    files = {out / path: content for path, content in FORMATS[to](results).items()}
    if not overwrite and (there := [str(path) for path in files if path.exists()]):
        raise RunError(f"{', '.join(there)}: is there already. Give --out FOLDER, or --overwrite to replace it.")
    with disk_errors(out, "then export again."):
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_together(files)
    return tuple(files)
