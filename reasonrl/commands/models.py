"""``reasonrl models``."""

import typer

from reasonrl.errors import ReasonRLError

app = typer.Typer(help="Models by name, and fetching them.", no_args_is_help=True)


@app.command("list")
def list_models() -> None:
    """List the models that reasonrl knows by a short name."""
    from reasonrl.models import NAMED, locate

    for name, model in NAMED.items():
        try:
            state = locate(name)
        except ReasonRLError:
            state = f"not fetched; reasonrl models get {name}"
        typer.echo(f"{name}: {model.description}\n    {state}")


@app.command()
def get(name: str) -> None:
    """Fetch a model into the cache: download, verify, convert."""
    from reasonrl.api.progress import progress
    from reasonrl.models.fetch import fetch

    with progress("downloading", unit="bytes") as tell:
        folder = fetch(name, tell)
    typer.echo(str(folder))
