"""Errors a user can cause or mend: printed as one message, never as a traceback."""

import difflib
from collections.abc import Iterable


class ReasonRLError(Exception):
    """Base of every error that names what is wrong, where, and what to do."""

    exit_code = 2
    """What the command line returns; 2 is a mistake in a configuration or in how a command was called."""


class ConfigError(ReasonRLError):
    """A run file, an override or an option that cannot mean what it says."""


class PluginError(ReasonRLError):
    """A reward, task, suite or other plugin that is missing, broken or offered twice."""


class DataError(ReasonRLError):
    """Problems that cannot be read, or none at all."""

    exit_code = 3


class UnreachableError(DataError):
    """Data that this machine cannot reach, though another one might."""


class OverlapError(DataError):
    """Held-out problems that are also training problems."""


class ModelError(ReasonRLError):
    """A model, tokenizer or prompt template that cannot be loaded or used."""


class RunError(ReasonRLError):
    """A run that had to stop, or a run directory that cannot be used as asked."""

    exit_code = 5


class EngineError(RunError):
    """An engine that could not start, sample, or take new weights."""


class SandboxError(RunError):
    """An isolation of programs that this machine cannot form, or that did not hold."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or nothing when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def and_known(name: str, known: Iterable[str]) -> str:
    """Return the nearest name and the full list of known ones, to end a 'no such name' message."""
    names = sorted(known)
    return f"{did_you_mean(name, names)} Known: {', '.join(names) or 'none'}."
