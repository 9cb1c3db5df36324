"""``reasonrl report``."""

from pathlib import Path
from typing import Annotated

import typer

from reasonrl.commands.complete import run_directories


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [RUN ...]", help="Run directories; several are overlaid.", autocompletion=run_directories
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file; report.html in the directory of a single run, else in this folder."
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw the main curves as this SVG file, in place of a report.")
    ] = None,
) -> None:
    """Write a run, several beside one another, or a pipeline, as one HTML file that opens without a network."""
    if picture is not None:
        from reasonrl.run.report.picture import write_picture

        write_picture(runs, picture)
        typer.echo(f"Picture: {picture}")
    if output is not None or picture is None:
        from reasonrl.run.pipeline.run import is_pipeline_folder, write_page
        from reasonrl.run.report.writer import FILE, write_report

        file = output or (runs[0] / FILE if len(runs) == 1 else Path(FILE))
        if len(runs) == 1 and is_pipeline_folder(runs[0]):
            write_page(runs[0], file)
        else:
            write_report(runs, file)
        typer.echo(f"Report: {file} ({file.stat().st_size / 1e6:.1f} MB)")
