"""``reasonrl compare``."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    a: Annotated[str, typer.Argument(help="Results, a run directory, or RUN@STEP.")],
    b: Annotated[str | None, typer.Argument(help="The same; left out, a run's last evaluation with its first.")] = None,
    suite: Annotated[str | None, typer.Option(help="Which suite, where a run has several.")] = None,
    allow_prompt_mismatch: Annotated[
        bool, typer.Option("--allow-prompt-mismatch", help="Compare although the prompts differ.")
    ] = False,
) -> None:
    """Compare two evaluations, paired by problem."""
    from reasonrl.evaluation.compare import compare as paired
    from reasonrl.evaluation.compare import find_results, first_and_last, render_comparison
    from reasonrl.evaluation.files import read_result

    folders = (find_results(a, suite), find_results(b, suite)) if b else first_and_last(Path(a), suite)
    first, second = (read_result(folder) for folder in folders)
    comparison = paired(first, second, allow_prompt_mismatch=allow_prompt_mismatch)
    typer.echo(render_comparison(comparison, *((a, b) if b else (str(folder.parent) for folder in folders))))
