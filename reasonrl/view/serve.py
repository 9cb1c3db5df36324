"""Run the app on loopback until Ctrl-C."""

import asyncio
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import uvicorn

from reasonrl.errors import ConfigError
from reasonrl.plugins.lookup import Plugins
from reasonrl.system.stopping import server_stop
from reasonrl.view.app import ViewApp, build_app
from reasonrl.view.runs import RunFolder

HOST: Final = "127.0.0.1"
END_S: Final = 2
"""Longest time for requests under way when the server is stopped."""


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(folder: Path, *, port: int, open_browser: bool, announce: Callable[[str], None]) -> None:
    """Serve the runs in a folder to browsers of this machine, until Ctrl-C or SIGTERM.

    Args:
        folder: a run directory, or a folder of some.
        port: 0 takes any that is free.
        open_browser: whether to show the page, where this machine has a screen.
        announce: told the address once the server listens.

    Raises:
        RunError: there is no such folder.
        ConfigError: the server cannot listen on the port.
    """
    app = build_app(ViewApp(RunFolder(folder), Plugins()))
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=END_S
    )
    with closing(_listen(port)) as listening:
        url = f"http://{HOST}:{listening.getsockname()[1]}/"
        announce(url)
        if open_browser and _has_screen():
            webbrowser.open(url)
        asyncio.run(_run(_Server(settings), listening))


async def _run(server: uvicorn.Server, listening: socket.socket) -> None:
    def stop() -> None:
        server.should_exit = True

    asked = server_stop(stop, f"requests under way, {END_S} s at most", "those are lost")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked, number)
    await server.serve(sockets=[listening])


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {HOST} port {port}: {error.strerror}. Give another --port; 0 takes any that is free."
        ) from None
    return listening


def _has_screen() -> bool:
    """Say whether a browser can be shown: one in the terminal would take it away from this program."""
    return sys.platform == "darwin" or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))
