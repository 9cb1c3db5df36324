"""``reasonrl eval``."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reasonrl.commands.arguments import AsJson
from reasonrl.commands.complete import checkpoints, suites


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's name or folder, a run directory or RUN@STEP; its name at --engine URL.",
            autocompletion=checkpoints,
        ),
    ],
    suite: Annotated[
        list[str],
        typer.Option(
            help="Held-out suite: a name, ./file.py:function, ./suite.yaml, or a file of several; may be repeated.",
            autocompletion=suites,
        ),
    ],
    params: Annotated[list[str] | None, typer.Option("--param", help="A parameter of the suites: name=value.")] = None,
    data: Annotated[
        str | None, typer.Option(help="File or folder with the suites' data, in place of the hub: parameter data.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What samples: local, vllm, vllm_server, or an endpoint: http://HOST:PORT/v1.")
    ] = "local",
    template: Annotated[str | None, typer.Option(help="Another prompt template than the suites'.")] = None,
    variants: Annotated[
        bool, typer.Option("--variants", help="Measure the suites' further templates beside their own.")
    ] = False,
    num_samples: Annotated[int | None, typer.Option(min=1, help="Completions of each problem.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Sampling temperature; 0 is greedy.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the most probable tokens up to this sum of probabilities.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest completion.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A string that ends a completion; may be repeated.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Column that marks problems which belong together.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first problems of each suite; results say so.")
    ] = None,
    reward: Annotated[
        list[str] | None, typer.Option(help="A training reward to apply beside the metric; may be repeated.")
    ] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Measure test suites for the record, after all choices are made.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of sampling.")] = 0,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Most completions under way; 64 on the embedded engine, 256 on others.")
    ] = None,
    metric_timeout_s: Annotated[
        float | None, typer.Option(help="Longest time that a metric may run on one completion.")
    ] = None,
    max_failure_rate: Annotated[
        float | None, typer.Option(help="Share of completions on which a metric may fail before the evaluation ends.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[Literal["auto", "float32", "bfloat16"], typer.Option(help="Type of matrix products.")] = "auto",
    vllm: Annotated[
        list[str] | None, typer.Option(help="A setting of vLLM, as in section vllm of a run file: name=value.")
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option("--k", min=1, help="A k of pass@k, pass^k, maj@k; powers of two if not given.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results: OUT/MODEL/SUITE.")] = Path("results"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where something is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model on held-out suites, with intervals; the same command goes on where it was ended."""
    from reasonrl.api.evaluating import evaluation_request, run_evaluation
    from reasonrl.config.runfile import parse_params
    from reasonrl.evaluation.files import read_summary

    given = {
        "params": parse_params(params) | ({} if data is None else {"data": data}),
        "template": template,
        "num_samples": num_samples,
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
        "stop": stop,
        "cluster": cluster,
        "limit": limit,
        "rewards": reward or (),
        "max_concurrent": max_concurrent,
        "metric_timeout_s": metric_timeout_s,
        "max_failure_rate": max_failure_rate,
        "vllm": parse_params(vllm),
        "ks": k or (),
    }
    # Any: each its own, as the function takes them
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    options |= {"engine": engine, "variants": variants, "final": final, "seed": seed, "device": device, "dtype": dtype}
    measured = run_evaluation(evaluation_request(model, suite, out=out, overwrite=overwrite, **options))
    if as_json:
        summaries = [{**read_summary(one.folder), "folder": str(one.folder)} for one in measured]
        typer.echo(json.dumps(summaries, indent=2, ensure_ascii=False))
        return
    typer.echo("\n\n".join(one.text for one in measured))
