"""``reasonrl rm pairs``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from reasonrl.api.progress import progress
from reasonrl.commands.arguments import AsJson
from reasonrl.errors import ConfigError


def pairs(
    samples: Annotated[Path, typer.Argument(help="Completions, as reasonrl sample writes them.")],
    out: Annotated[Path, typer.Option(help="File for the pairs, one JSON object a line.")],
    label: Annotated[
        str | None, typer.Option(help="What says which is better: score, or the label of a reward of the samples.")
    ] = None,
    gold: Annotated[
        str | None, typer.Option(help="Reward to apply in its place: a name, ./file.py:function or module:function.")
    ] = None,
    params: Annotated[list[str] | None, typer.Option("--param", help="A parameter of that reward: name=value.")] = None,
    max_failure_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the samples on which it may fail; 0.1 if not given.")
    ] = None,
    form: Annotated[Literal["pairs", "outcome"], typer.Option(help="Pairs, or rows with a label for each.")] = "pairs",
    pairing: Annotated[
        Literal["best-worst", "all"] | None, typer.Option(help="Which samples of a prompt meet; best-worst.")
    ] = None,
    min_gap: Annotated[float | None, typer.Option(min=0, help="Smallest difference of the labels of a pair.")] = None,
    pairs_per_prompt: Annotated[
        int | None, typer.Option(min=1, help="Most pairs of a prompt with --pairing all; the others are left out.")
    ] = None,
    margin: Annotated[bool, typer.Option("--margin", help="Write the difference of the labels as margin.")] = False,
    threshold: Annotated[float | None, typer.Option(help="From this label on an outcome is 1, below it 0.")] = None,
    flip: Annotated[float, typer.Option(min=0, help="Share of labels to turn round: noise for experiments.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is drawn and what is turned round.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make preference pairs, or labeled completions, from samples of a policy."""
    from reasonrl.config.runfile import parse_params
    from reasonrl.config.settings import RewardRef
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.preference.pairs import PairSettings
    from reasonrl.run.pairs import PairsRequest, make_pairs_file

    _refuse_ignored(
        {"--param": bool(params), "--max-failure-rate": max_failure_rate is not None}, gold is None, "without --gold"
    )
    _refuse_ignored({"--label": label is not None}, gold is not None, "with --gold")
    of_pairs = {"--pairing": pairing, "--min-gap": min_gap, "--pairs-per-prompt": pairs_per_prompt}
    given = {name: value is not None for name, value in of_pairs.items()} | {"--margin": margin}
    _refuse_ignored(given, form == "outcome", "with --form outcome")
    _refuse_ignored({"--threshold": threshold is not None}, form == "pairs", "with --form pairs")
    request = PairsRequest(
        samples=samples,
        out=out,
        label=label or "score",
        gold=None if gold is None else RewardRef(name=gold, params=parse_params(params)),
        max_failure_rate=0.1 if max_failure_rate is None else max_failure_rate,
        form=form,
        pairs=PairSettings(
            pairing=pairing or "best-worst",
            min_gap=min_gap or 0.0,
            pairs_per_prompt=pairs_per_prompt,
            flip=flip,
            seed=seed,
        ),
        threshold=threshold,
        with_margin=margin,
        overwrite=overwrite,
    )
    with progress("labeling") as tell:
        made = make_pairs_file(request, Plugins(), tell)
    typer.echo(made.printed(as_json))


def _refuse_ignored(given: dict[str, bool], is_ignored: bool, when: str) -> None:
    """Refuse an option that has no effect beside the others."""
    for option, is_given in given.items():
        if is_given and is_ignored:
            raise ConfigError(f"{option} has no effect {when}: leave it out.")
