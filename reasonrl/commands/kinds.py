"""``reasonrl KIND list`` and ``reasonrl KIND show NAME``, for every kind of plugin."""

from typing import Final, get_args

import typer

from reasonrl.plugins.loading import Kind

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


def packages_app(program: typer.Typer) -> typer.Typer:
    """Return the commands about all kinds of plugins at once, the commands of packages included."""
    app = typer.Typer(help="The installed packages with plugins.", no_args_is_help=True)

    @app.command("list", help="List the packages that offer plugins, and all that is wrong with any of them.")
    def list_all() -> None:
        from reasonrl.commands.installed import command_warnings
        from reasonrl.commands.plugins import list_packages

        typer.echo("\n".join([list_packages(), *(f"warning: {each.cause}" for each in command_warnings(program))]))

    @app.callback()
    def _group() -> None:
        """Keep ``list`` a command of a group, though it is the only one."""

    return app


def kind_app(kind: Kind) -> typer.Typer:
    """Return the commands that list and show one kind of plugin."""
    app = typer.Typer(help=f"The installed {kind}.", no_args_is_help=True)

    @app.command("list", help=f"List the {kind}, their owners, and plugins that failed.")
    def list_entries() -> None:
        from reasonrl.commands.plugins import list_plugins

        typer.echo(list_plugins(kind))

    @app.command("show", help="Print one of them with its parameters and documentation.")
    def show_entry(name: str) -> None:
        from reasonrl.commands.plugins import show

        typer.echo(show(kind, name))

    return app
