"""``reasonrl rm serve``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_PORT = 5000
"""As OpenRLHF's own server."""


def serve(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A reward model's folder, or the run that trained it.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback, a token is required.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")
    ] = DEFAULT_PORT,
    token_file: Annotated[Path | None, typer.Option(help="File with the token; or set REASONRL_RM_TOKEN.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"], typer.Option(help="Type of matrix products; auto is the faster one.")
    ] = "auto",
    microbatch_tokens: Annotated[int, typer.Option(min=1, help="Most tokens in memory at once.")] = 16_384,
) -> None:
    """Score completions for other machines, until Ctrl-C. Speaks OpenRLHF's /get_reward too."""
    from reasonrl.preference.card import find_reward_model, read_card
    from reasonrl.preference.messages import TOKEN_VARIABLE
    from reasonrl.preference.use import describe
    from reasonrl.system.access import read_token, require_token_beyond_loopback

    token = read_token(token_file, TOKEN_VARIABLE)
    require_token_beyond_loopback(host, token, TOKEN_VARIABLE, risk="use the model")
    folder = find_reward_model(model)
    typer.echo(describe(read_card(folder), str(folder)))

    from reasonrl.models.hardware import find_device  # torch, once nothing else is wrong
    from reasonrl.preference import serve as server
    from reasonrl.preference.model import RewardModel

    loaded = RewardModel.load(folder, find_device(device, setting="--device"), dtype=dtype)
    address = server.Address(host=host, port=port, token=token)
    server.serve(loaded, address, max_tokens=microbatch_tokens, announce=typer.echo)
