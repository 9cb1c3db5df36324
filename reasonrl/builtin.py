"""The core's own plugin: advantage estimators and losses, registered like anybody's."""

from collections.abc import Callable, Mapping
from typing import Any

from reasonrl.hookspecs import hookimpl


@hookimpl
def reasonrl_advantages() -> Mapping[str, Callable[..., Any]]:
    """Offer the estimators of :mod:`reasonrl.algorithms.advantages`. Any: tensors, without importing torch."""
    from reasonrl.algorithms.advantages import ADVANTAGES

    return dict(ADVANTAGES)


@hookimpl
def reasonrl_losses() -> Mapping[str, Callable[..., Any]]:
    """Offer the losses of :mod:`reasonrl.algorithms.losses`."""
    from reasonrl.algorithms.losses import LOSSES

    return dict(LOSSES)
