"""``reasonrl rm``: train, judge and serve reward models, and make their data."""

import typer

from reasonrl.commands import rm_eval, rm_pairs, rm_serve, rm_train

app = typer.Typer(help="Reward models: train, evaluate and serve them, and make their data.", no_args_is_help=True)
app.command()(rm_train.train)
app.command("eval")(rm_eval.evaluate)
app.command()(rm_pairs.pairs)
app.command()(rm_serve.serve)
