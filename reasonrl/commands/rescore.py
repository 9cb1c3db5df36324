"""``reasonrl rescore``."""

from pathlib import Path
from typing import Annotated

import typer

from reasonrl.api.progress import progress
from reasonrl.commands.arguments import AsJson


def rescore(
    results: Annotated[str, typer.Argument(help="Results, a run directory (its last evaluation), or RUN@STEP.")],
    metric: Annotated[str, typer.Option(help="A metric: a name, ./file.py:function or module:function.")],
    params: Annotated[list[str] | None, typer.Option("--param", help="A parameter of the metric: name=value.")] = None,
    suite: Annotated[str | None, typer.Option(help="Which suite, where there are several.")] = None,
    ks: Annotated[list[int] | None, typer.Option("--k", min=1, help="k of pass@k and its like; powers of 2.")] = None,
    show: Annotated[int, typer.Option(min=0, help="Most changed completions to print.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the new result; RESULTS/rescored/METRIC if not given.")
    ] = None,
    metric_timeout_s: Annotated[
        float | None, typer.Option(help="Longest time that the metric may run on one completion.")
    ] = None,
    max_failure_rate: Annotated[
        float | None, typer.Option(help="Share of completions on which the metric may fail before this ends.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a rescored result that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Apply another metric to saved completions, without sampling, beside the figures that were measured."""
    from reasonrl.config.runfile import from_options, parse_params
    from reasonrl.config.settings import PluginRef, ScoringSettings
    from reasonrl.evaluation.find import find_results
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.rescore import rescore as rescored
    from reasonrl.run.rescore import summarize_rescored

    folder = find_results(results, suite)
    ref = from_options(PluginRef, name=metric, params=parse_params(params))
    limits = {"metric_timeout_s": metric_timeout_s, "max_failure_rate": max_failure_rate}
    settings = from_options(ScoringSettings, **{name: value for name, value in limits.items() if value is not None})
    with progress("measuring", unit="completions") as tell:
        found = rescored(
            *(folder, ref, Plugins()), out=out, overwrite=overwrite, ks=ks or [], settings=settings, tell=tell
        )
    typer.echo(summarize_rescored(found, f"{folder}, its own metric", f"metric {metric}", show).printed(as_json))
