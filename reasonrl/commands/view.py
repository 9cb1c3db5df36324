"""``reasonrl view``."""

from pathlib import Path
from typing import Annotated

import typer


def view(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A run directory, or a folder that holds some.", show_default=True)
    ] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address only.")] = False,
) -> None:
    """Look at runs in a browser while they train: curves, rollouts, evaluations, rewards. Writes nothing into them."""
    from reasonrl.system.extras import needs_extra

    with needs_extra("view", "reasonrl view"):
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401

    from reasonrl.view.serve import serve

    def announce(url: str) -> None:
        typer.echo(f"{folder}: {url}   (Ctrl-C ends)")

    serve(folder, port=port, open_browser=not no_browser, announce=announce)
