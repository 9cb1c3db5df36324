"""``reasonrl contamination``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from reasonrl.commands.arguments import AsJson


def contamination(
    model: Annotated[
        str, typer.Argument(help="A model's name or folder, a run directory or RUN@STEP; its name at --engine URL.")
    ],
    suite: Annotated[str, typer.Option(help="The suite that it may have seen.")],
    params: Annotated[list[str] | None, typer.Option("--param", help="A parameter of the suite: name=value.")] = None,
    data: Annotated[str | None, typer.Option(help="File or folder with the suite's data, in place of the hub.")] = None,
    control: Annotated[
        str | None,
        typer.Option(help="A suite that it cannot have seen; the same problems with other numbers if not given."),
    ] = None,
    share: Annotated[float, typer.Option(help="Share of a problem's words that the model is given.")] = 0.6,
    num_problems: Annotated[int | None, typer.Option(min=1, help="Only the first problems.")] = None,
    engine: Annotated[
        str, typer.Option(help="What samples: local, vllm, vllm_server, or an endpoint: http://HOST:PORT/v1.")
    ] = "local",
    max_concurrent: Annotated[int | None, typer.Option(min=1, help="Most completions under way.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path, typer.Option(help="Files go to OUT/MODEL/contamination/SUITE.")] = Path("results"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a probe that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Probe whether a model has seen a suite: give it the beginning of each problem and compare what follows."""
    from reasonrl.api.evaluation_progress import evaluation_progress
    from reasonrl.config.runfile import parse_params
    from reasonrl.config.settings import SuiteRef, require_device
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.contamination import ProbeRequest, probe_model

    require_device(device, "--device")
    if not 0 < share < 1:
        raise typer.BadParameter("is a share of the words: more than 0 and less than 1", param_hint="--share")
    given = parse_params(params) | ({} if data is None else {"data": data})
    request = ProbeRequest(
        model=model,
        suite=SuiteRef(name=suite, params=given),
        control=None if control is None else SuiteRef(name=control),
        engine=engine,
        device=device,
        share=share,
        num_problems=num_problems,
        max_concurrent=max_concurrent,
        out=out,
        overwrite=overwrite,
    )
    with evaluation_progress() as tell:
        found, folder = probe_model(request, Plugins(), tell=tell)
    typer.echo(json.dumps(found.as_json(), indent=2) if as_json else f"{found}\nTexts and figures: {folder}")
