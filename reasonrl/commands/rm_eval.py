"""``reasonrl rm eval``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from reasonrl.api.progress import progress
from reasonrl.commands.arguments import AsJson
from reasonrl.errors import ConfigError


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A reward model's folder, the run that trained it, or any sequence classifier.")
    ],
    pairs: Annotated[str, typer.Option(help="Pairs: a file, a folder saved by datasets, or a data set of the hub.")],
    split: Annotated[str | None, typer.Option(help="Split of a data set; train if not given.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--column", help="A column under another name: chosen=better.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Samples with a gold metric's value (reasonrl sample), for best-of-n.")
    ] = None,
    gold: Annotated[
        str | None, typer.Option(help="Reward of the samples that is the gold metric; their total.")
    ] = None,
    aggregate: Annotated[
        Literal["mean", "min", "mean_minus_std"] | None, typer.Option(help="Of several heads; mean if not given.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Prompt template of a classifier without a card; its tokenizer's chat template.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(min=8, help="Longest text of such a classifier, in tokens.")] = None,
    perturb: Annotated[int, typer.Option(min=0, help="Completions that are changed in every way; 0 for none.")] = 100,
    skip_trained: Annotated[
        bool, typer.Option("--skip-trained", help="Leave out prompts that the model was trained on.")
    ] = False,
    allow_overlap: Annotated[str, typer.Option(help="Why prompts that it was trained on may stay.")] = "",
    card: Annotated[
        bool, typer.Option("--write-card", help="Put accuracy and temperature on the model's card.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"], typer.Option(help="Type of matrix products; auto is the faster one.")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder of the report; results/MODEL/PAIRS if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge a reward model on held-out pairs, beside what length alone achieves."""
    from reasonrl.config.reward_model import PreferenceDataSettings
    from reasonrl.config.runfile import from_options
    from reasonrl.config.settings import require_device
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.preference.evaluation.evaluate import EvaluationRequest, evaluate_reward_model
    from reasonrl.preference.evaluation.files import PAGE

    require_device(device, "--device")
    chosen_split = {} if split is None else {"split": split}
    request = EvaluationRequest(
        model=model,
        pairs=from_options(PreferenceDataSettings, path=pairs, columns=_columns(columns or []), **chosen_split),
        samples=samples,
        gold=gold,
        aggregate=aggregate,
        template=template,
        max_length=max_length,
        num_perturbed=perturb,
        skip_trained=skip_trained,
        allow_overlap=allow_overlap,
        write_card=card,
        device=device,
        dtype=dtype,
        out=out,
        overwrite=overwrite,
    )
    with progress("scoring", unit="texts") as tell:
        judgement, folder = evaluate_reward_model(request, Plugins(), tell)
    if as_json:
        typer.echo(judgement.to_json(), nl=False)
        return
    from reasonrl.preference.evaluation.table import judgement_text

    typer.echo(judgement_text(judgement))
    typer.echo(f"Report: {folder / PAGE}")


def _columns(given: list[str]) -> dict[str, str]:
    """Read ``name=column`` options."""
    pairs = [one.partition("=") for one in given]
    for (name, _, column), text in zip(pairs, given, strict=True):
        if not name or not column:
            raise ConfigError(f"--column {text}: write it as the schema's name, =, and the file's: chosen=better.")
    return {name: column for name, _, column in pairs}
