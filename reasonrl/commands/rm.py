"""``reasonrl rm``: train, judge and serve reward models, and make their data."""

import typer

app = typer.Typer(help="Reward models: train, evaluate and serve them, and make their data.", no_args_is_help=True)
