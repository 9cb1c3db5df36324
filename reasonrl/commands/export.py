"""``reasonrl export``."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    results: Annotated[
        str, typer.Argument(help="Results, a folder of them, a run directory (its last evaluation), or RUN@STEP.")
    ],
    to: Annotated[Literal["inspect", "lm-eval", "hf-card"], typer.Option(help="Whose format.")],
    suites: Annotated[list[str] | None, typer.Option("--suite", help="Which suite; all if not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the files; exports/FORMAT if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Write results as a log of inspect, as files of lm-evaluation-harness, or as a model card of the hub."""
    from reasonrl.evaluation.export import export as exported
    from reasonrl.evaluation.files import read_measured
    from reasonrl.evaluation.find import results_by_suite

    measured = [read_measured(folder) for folder in results_by_suite(results, suites or []).values()]
    for path in exported(measured, to, out or Path("exports") / to, overwrite=overwrite):
        typer.echo(path)
