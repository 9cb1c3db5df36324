"""Exceptions of the program on the tests' side: of the same built-in type, or of one that stands for its own."""

import builtins
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from reasonrl_sandbox.child.handles import Asked


class ProgramError(Exception):
    """Stands for an exception of the program that is neither built in nor known by name."""


# Any: attributes of any type.
def _asked_for(error: Any, name: str) -> Any:
    """Return an attribute that the program's class computes."""
    if name.startswith("__"):
        raise AttributeError(name)
    known = BaseException.__getattribute__(error, "__dict__").get("_program_error")
    if known is None:
        raise AttributeError(name)
    connection, number = known
    found = connection.ask("get_of_error", number, name)
    return found


def _text(error: BaseException) -> str:
    """Return what `str` of the exception was in the program."""
    text: str = error.__dict__.get("_program_text", "")
    return text


class ExceptionTypes:
    """The types that stand for the program's exceptions."""

    def __init__(self) -> None:
        self.own: dict[str, type[BaseException]] = {}

    def named(self, names: Sequence[str]) -> type[BaseException]:
        """Return the type of these names: from its own up to the first built-in one."""
        *own, last = names
        kind = builtin_exception(last)
        if kind is None:
            return ProgramError
        for name in reversed(own):
            if standard := _standard_error(name, kind):
                kind = standard
                continue
            members = {"__getattr__": _asked_for, "__str__": _text, "__module__": name.rpartition(".")[0] or "solution"}
            kind = self.own.setdefault(name, type(name.rpartition(".")[2], (kind,), members))
        return kind

    def imported(self, name: str, kind: type[BaseException]) -> type[BaseException]:
        """Return the type that a test imports from the program under a name.

        A name for AssertionError, or for Exception itself, stands for a type that nothing raises: the test would take
        its own failure for it.
        """
        return type(name, (Exception,), {}) if issubclass(AssertionError, kind) else kind


def builtin_exception(name: str | None) -> type[BaseException] | None:
    """Return a built-in exception that a program may raise in its tests.

    StopIteration is none: it would end a test's `all(map(...))` early, as if every item had been true.
    """
    kind = getattr(builtins, name or "", None)
    if not isinstance(kind, type) or not issubclass(kind, (Exception, SystemExit, KeyboardInterrupt)):
        return None
    return None if issubclass(kind, (StopIteration, StopAsyncIteration)) else kind


def _standard_error(name: str, base: type[BaseException]) -> type[BaseException] | None:
    """Return an exception of the standard library by its name, but for those that test runners use."""
    module, _, short = name.rpartition(".")
    if module.partition(".")[0] not in _WITH_ERRORS:
        return None
    kind = getattr(sys.modules.get(module), short, None)
    return kind if isinstance(kind, type) and issubclass(kind, base) else None


_WITH_ERRORS = sys.stdlib_module_names - {"unittest", "doctest", "bdb", "pdb"}


def make_error(
    types: ExceptionTypes, connection: Asked, number: int, names: Sequence[str], text: str, about: tuple[Any, ...]
) -> BaseException:
    """Return an exception with the type, the arguments, the attributes and the cause of one of the program."""
    args, attributes, cause, suppresses = about
    kind = types.named(names)
    error = _of_type(kind, args, text)
    with suppress(AttributeError, TypeError):
        error.__dict__.update(attributes)
    error.__dict__["_program_error"] = (connection, number)
    error.__dict__["_program_text"] = text
    if isinstance(cause, BaseException):
        error.__cause__ = cause
    error.__suppress_context__ = bool(suppresses)
    return error


def _of_type(kind: type[BaseException], args: tuple[Any, ...], text: str) -> BaseException:
    """Return an exception of a type, or of its nearest base that takes such arguments."""
    for each in kind.__mro__[:-1]:
        makers: tuple[Any, Any] = (each, partial(each.__new__, each))
        for make in makers:
            with suppress(TypeError, ValueError):
                return make(*args)  # type: ignore[no-any-return]  # exceptions, all of them
    return ProgramError(text)
