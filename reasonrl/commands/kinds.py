"""``reasonrl KIND list`` and ``reasonrl KIND show NAME``, for every kind of plugin."""

from typing import Final

import typer

from reasonrl.plugins.hookspecs import GIVEN

KINDS: Final = tuple(GIVEN)


def kind_app(kind: str) -> typer.Typer:
    """Return the commands that list and show one kind of plugin."""
    app = typer.Typer(help=f"The installed {kind}.", no_args_is_help=True)

    @app.command("list", help=f"List the {kind}, their owners, and plugins that failed.")
    def list_entries() -> None:
        from reasonrl.commands.plugins import list_plugins

        typer.echo(list_plugins(kind))

    @app.command("show", help="Print one of them with its parameters and documentation.")
    def show_entry(name: str) -> None:
        from reasonrl.commands.plugins import show_plugin, show_reward

        typer.echo(show_reward(name) if kind == "rewards" else show_plugin(kind, name))

    return app
