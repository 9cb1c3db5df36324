"""``reasonrl eval``."""

from pathlib import Path
from typing import Annotated

import typer

from reasonrl.commands.progress import progress


def evaluate(
    model: Annotated[str, typer.Argument(help="A model's name or folder, a run directory, or RUN@STEP.")],
    suite: Annotated[str, typer.Option(help="Held-out suite: a name, ./file.py:function or module:function.")],
    params: Annotated[list[str] | None, typer.Option("--param", help="A parameter of the suite: name=value.")] = None,
    template: Annotated[str | None, typer.Option(help="Another prompt template than the suite's.")] = None,
    num_samples: Annotated[int | None, typer.Option(min=1, help="Completions of each problem.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Sampling temperature; 0 is greedy.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest completion.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Column that marks problems which belong together.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of sampling.")] = 0,
    batch_problems: Annotated[int, typer.Option(min=1, help="Problems sampled at once.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the results; results/MODEL/SUITE if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
) -> None:
    """Measure a model on a held-out suite, with an interval."""
    from reasonrl.config.runfile import from_options, parse_params
    from reasonrl.config.settings import SuiteRef, require_device
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.evaluate import evaluate_model

    require_device(device, "--device")
    ref = from_options(
        SuiteRef,
        name=suite,
        params=parse_params(params),
        template=template,
        num_samples=num_samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        cluster=cluster,
    )
    with progress("measuring") as tell:
        told = evaluate_model(
            *(model, ref, Plugins()),
            seed=seed,
            batch_problems=batch_problems,
            device=device,
            out=out,
            overwrite=overwrite,
            tell=tell,
        )
    typer.echo(told)
