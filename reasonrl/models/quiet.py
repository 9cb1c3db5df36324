"""Bars of transformers while it reads or writes a model: a run has a view of its own. Those of downloads stay."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging


@contextmanager
def without_bars() -> Iterator[None]:
    """Have transformers show no bars in the body."""
    previous = logging.set_tqdm_hook(_silent)
    try:
        yield
    finally:
        logging.set_tqdm_hook(previous)


def _silent(bar: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return a bar that is not shown. Any: whatever a bar takes."""
    return bar(*args, **{**kwargs, "disable": True})
