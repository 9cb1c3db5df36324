"""Packages that only some of what reasonrl does needs, installed as extras: ``pip install 'reasonrl[lora]'``."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec

from reasonrl.errors import ReasonRLError


class MissingExtraError(ReasonRLError):
    """Something that was asked for needs a package that is not installed here."""


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Import packages of an extra in the body.

    Args:
        extra: its name in pyproject.toml.
        what: what needs it, to begin a sentence: ``model.lora``.

    Raises:
        MissingExtraError: one of them cannot be imported; says what needs it and how to install it.
    """
    try:
        yield
    except ImportError as error:
        absent = error.name.split(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else ""
        cause = f"the package {absent!r}, which is not installed" if absent else f"what cannot be imported: {error}"
        raise MissingExtraError(f"{what} needs {cause}. Install it with: pip install 'reasonrl[{extra}]'") from None


def require_extra(package: str, extra: str, what: str) -> None:
    """Refuse what needs a package that is not installed here, without importing it; see :func:`needs_extra`.

    Raises:
        MissingExtraError: it is not installed.
    """
    with needs_extra(extra, what):
        if not _is_installed(package):
            raise ModuleNotFoundError(name=package)


def _is_installed(package: str) -> bool:
    """Say whether a package can be imported; a mere folder of its name, such as ``./wandb``, is none."""
    with suppress(ValueError):  # a module that somebody has made by hand
        spec = find_spec(package)
        return spec is not None and spec.origin is not None
    return True
