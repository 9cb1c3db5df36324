"""``reasonrl export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast

import typer

from reasonrl.commands.complete import checkpoints
from reasonrl.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from reasonrl.evaluation.export import Format

FORMATS: Final = ("inspect", "lm-eval", "hf-card")
"""Formats of results; anything else is a folder for the model."""


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN[@STEP]",
            help="A run, one of its checkpoints, or, for a format of results, a folder of results.",
            autocompletion=checkpoints,
        ),
    ],
    to: Annotated[
        str, typer.Option(metavar="FOLDER|FORMAT", help="A folder for the model, or inspect, lm-eval or hf-card.")
    ],
    dtype: Annotated[
        Literal["bfloat16", "float32"] | None,
        typer.Option(help="Type of the model's weights; bfloat16 if not given."),
    ] = None,
    results: Annotated[
        list[str] | None, typer.Option(help="Further results of the model for its card, such as those of eval.")
    ] = None,
    suites: Annotated[
        list[str] | None, typer.Option("--suite", help="Which suite's results to export; all if not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of exported results; exports/FORMAT if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what was exported there.")] = False,
) -> None:
    """Write a run's model as a folder for other tools, or its results in the formats of other tools.

    The model's folder has merged weights, the tokenizer, and a model card with the results that were measured.
    """
    if to in FORMATS:
        _refuse(to, {"--dtype": dtype, "--results": results})
        return _export_results(source, cast("Format", to), suites or [], out, overwrite)
    _refuse(f"{to}, a folder for the model", {"--suite": suites, "--out": out})
    _refuse_misspelled(to)

    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.export.model import ExportRequest, export_model

    request = ExportRequest(
        model=source, to=Path(to), dtype=dtype or "bfloat16", results=results or (), overwrite=overwrite
    )
    typer.echo(export_model(request, Plugins()))


def _export_results(source: str, to: "Format", suites: list[str], out: Path | None, overwrite: bool) -> None:
    from reasonrl.evaluation.export import export as exported
    from reasonrl.evaluation.files import read_measured
    from reasonrl.evaluation.find import results_by_suite

    measured = [read_measured(folder) for folder in results_by_suite(source, suites).values()]
    for path in exported(measured, to, out or Path("exports") / to, overwrite=overwrite):
        typer.echo(path)


def _refuse(to: str, given: dict[str, object]) -> None:
    """Refuse an option that would be ignored."""
    for option, value in given.items():
        if value:
            raise ConfigError(f"{option} would be ignored by --to {to}: leave it out.")


def _refuse_misspelled(to: str) -> None:
    """Refuse a folder that is a slip for a format."""
    if hint := did_you_mean(to, FORMATS):
        raise ConfigError(f"--to {to}: no such format.{hint} For a folder of that name: --to ./{to}")
