"""The reward ``preference_server``: reward models that servers run, asked over HTTP while others are still sampled."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from reasonrl.errors import ConfigError
from reasonrl.plugins.types import SharedResource, keeps_open
from reasonrl.preference.aggregate import CLIP, Aggregate, Aggregation, Clip, StdCoefficient, not_unicode
from reasonrl.preference.card import HeadScale
from reasonrl.preference.clients import Client, ServerProtocol, connect
from reasonrl.preference.messages import TOKEN_VARIABLE
from reasonrl.preference.use import describe, require_worth
from reasonrl.system.access import read_token
from reasonrl.system.shared import SharedValues
from reasonrl.types import Rollout, Score

WHERE: Final = "reward 'preference_server'"

OUTAGE_TIMEOUT_S: Final = 120.0
"""Time for which a server that does not answer is waited for, where nothing else is said."""

REQUEST_S: Final = 120.0
"""Longest time of a request beyond that."""

GROUPS_AT_ONCE: Final = 32
"""Groups that are sent at once; a server scores those that wait together."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Which servers, spoken to in which way: rewards that agree in it share the clients."""

    urls: tuple[str, ...]
    protocol: ServerProtocol
    models: tuple[str, ...]
    end: str
    token_file: str | None
    outage_timeout_s: float


_connected: SharedValues[_Place, tuple[Client, ...]] = SharedValues()


@contextmanager
def _opened(
    url: str | None,
    urls: tuple[str, ...],
    protocol: ServerProtocol,
    model: str | None,
    models: tuple[str, ...],
    aggregate: Aggregate,
    std_coefficient: float | None,
    clip: float | None,
    standardize: bool,
    end: str,
    token_file: str | None,
    outage_timeout_s: float,
    force: bool,
) -> Iterator[SharedResource]:
    """Ask the servers what they are. One that does not answer, or has another model, refuses the run."""
    place = _place(url, urls, protocol, model, models, end, token_file, outage_timeout_s)
    with _connected.used(place, partial(_connect, place)) as clients:
        _require_usable(clients, force=force, uses_scales=standardize or clip is not None)
        _aggregation(clients, aggregate, std_coefficient, clip, standardize)
        yield SharedResource(
            slots=GROUPS_AT_ONCE, timeout_s=outage_timeout_s + REQUEST_S, note="; ".join(map(_described, clients))
        )


@keeps_open(_opened)
async def preference_server(
    group: Sequence[Rollout],
    *,
    url: str | None = None,
    urls: tuple[str, ...] = (),
    protocol: ServerProtocol = "reasonrl",
    model: str | None = None,
    models: tuple[str, ...] = (),
    aggregate: Aggregate = "mean",
    std_coefficient: StdCoefficient = None,
    clip: Clip = CLIP,
    standardize: bool = True,
    end: str = "",
    token_file: str | None = None,
    outage_timeout_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = OUTAGE_TIMEOUT_S,
    force: bool = False,
) -> list[Score]:
    """What a reward model says that a server runs, in standard deviations from the mean of its training scores.

    Groups are sent when they are complete. A server that does not answer is waited for; what it has not answered then
    has no score (``error``), and never 0.

    Args:
        group: what is scored.
        url: the server, such as ``http://10.0.0.2:8000``.
        urls: several, as members of an ensemble, in place of ``url``.
        protocol: ``reasonrl`` for `reasonrl rm serve`, ``vllm`` for `vllm serve`, or ``openrlhf``.
        model: the folder of the served model, or the run that trained it: its tokenizer, template and scales. Needed
            for ``vllm``; `reasonrl rm serve` tells by itself.
        models: one for each of ``urls``.
        aggregate: what the members of an ensemble become: ``mean``, ``min``, or ``mean_minus_std``.
        std_coefficient: factor of the standard deviation in ``mean_minus_std``; null is 1.
        clip: standard deviations beyond which a member's score does not count; null sets no limit.
        standardize: give frozen standard deviations; false gives the model's own scores.
        end: follows each text, where an ``openrlhf`` server's ``model`` is not given: its end-of-sequence token.
        token_file: file with the servers' token; or set REASONRL_RM_TOKEN.
        outage_timeout_s: time for which a server that does not answer is waited for.
        force: use a model that is no better than length alone on held-out prompts, or of which that is not known.
    """
    clients = _clients(_place(url, urls, protocol, model, models, end, token_file, outage_timeout_s))
    aggregation = _aggregation(clients, aggregate, std_coefficient, clip, standardize)
    scores = [not_unicode(rollout.text) for rollout in group]
    sent = [rollout for rollout, score in zip(group, scores, strict=True) if score is None]
    members = await asyncio.gather(*(client.raw_scores(sent) for client in clients)) if sent else []
    found = (_score(aggregation, raws) for raws in zip(*members, strict=True))
    return [score or next(found) for score in scores]


def _score(aggregation: Aggregation, raws: Sequence[tuple[float, ...] | Score]) -> Score:
    """Join what the servers gave one completion; where one gave no score there is none."""
    missing = next((found for found in raws if isinstance(found, Score)), None)
    return missing or aggregation.score([raw for found in raws if not isinstance(found, Score) for raw in found])


def _place(
    url: str | None,
    urls: tuple[str, ...],
    protocol: ServerProtocol,
    model: str | None,
    models: tuple[str, ...],
    end: str,
    token_file: str | None,
    outage_timeout_s: float,
) -> _Place:
    """Return which servers a run file names.

    Raises:
        ConfigError: it names none, or something that would be ignored.
    """
    if (url is None) == (not urls):
        raise ConfigError(f"{WHERE}: give url: http://HOST:PORT, or urls: [URL, URL] for an ensemble.")
    if model is not None and models:
        raise ConfigError(f"{WHERE}: model and models are both set: keep one of them.")
    addresses, folders = urls or (url or "",), models or (() if model is None else (model,))
    _check_models(protocol, addresses, folders, end)
    for address in addresses:
        if not address.startswith(("http://", "https://")):
            raise ConfigError(f"{WHERE}: {address!r} is no address; write it like http://10.0.0.2:8000.")
    return _Place(addresses, protocol, folders, end, token_file, outage_timeout_s)


def _check_models(protocol: ServerProtocol, urls: Sequence[str], folders: Sequence[str], end: str) -> None:
    """Refuse folders that are missing, too few, or would be ignored."""
    if protocol == "reasonrl" and folders:
        raise ConfigError(
            f"{WHERE}: model is set, but `reasonrl rm serve` tells by itself what it serves; leave it out."
        )
    if protocol == "vllm" and not folders:
        raise ConfigError(f"{WHERE}: set model to the folder that vLLM serves: its tokenizer and its card are needed.")
    if folders and len(folders) != len(urls):
        raise ConfigError(f"{WHERE}: there are {len(urls)} servers, but {len(folders)} models; give one for each.")
    if end and (protocol != "openrlhf" or folders):
        raise ConfigError(f"{WHERE}: end is set, but it is for protocol openrlhf without a model; leave it out.")


def _clients(place: _Place) -> tuple[Client, ...]:
    """Return the clients of servers that were asked what they are when the run began."""
    clients = _connected.get(place)
    if clients is None:
        raise RuntimeError("no server is connected: a run, or a RewardCaller, does that before it calls this")
    return clients


def _connect(place: _Place) -> tuple[Client, ...]:
    """Ask the servers what they are."""
    file = None if place.token_file is None else Path(place.token_file)
    token = read_token(file, TOKEN_VARIABLE, setting=f"{WHERE}: token_file")
    folders = place.models or (None,) * len(place.urls)
    return tuple(
        connect(url, place.protocol, folder, end=place.end, token=token, outage_s=place.outage_timeout_s)
        for url, folder in zip(place.urls, folders, strict=True)
    )


def _require_usable(clients: Sequence[Client], *, force: bool, uses_scales: bool) -> None:
    """Refuse models that are not known to be worth anything, and scales that are not known."""
    for client in clients:
        if client.card is not None:
            require_worth(client.card, f"{WHERE}: the reward model at {client.url}", force=force)
            continue
        if uses_scales:
            raise ConfigError(
                f"{WHERE}: nothing is known of the scores of {client.url}. Give its model, or set standardize: false "
                "and clip: null."
            )
        if not force:
            raise ConfigError(
                f"{WHERE}: nothing says that the model at {client.url} is better than length alone. Give its model, "
                "or set force: true."
            )


def _aggregation(
    clients: Sequence[Client],
    aggregate: Aggregate,
    std_coefficient: float | None,
    clip: float | None,
    standardize: bool,
) -> Aggregation:
    """Return how the scores of the servers become one."""
    unknown = (HeadScale(mean=0.0, std=1.0, p999=float("inf")),)
    return Aggregation(
        scales=tuple(scale for client in clients for scale in (client.card.scales if client.card else unknown)),
        aggregate=aggregate,
        std_coefficient=std_coefficient,
        clip=clip,
        standardize=standardize,
    )


def _described(client: Client) -> str:
    return f"{client.url}: a model without a card" if client.card is None else describe(client.card, client.url)
