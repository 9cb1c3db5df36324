"""The function under test, found in a program."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from reasonrl.sandbox.child.program import NoEntryError, run_as

MODULE = "solution"
"""What the program is called as a module. It is not `__main__`: what it would do as a script is not asked for."""

# Any: functions of any signature.
Function = Callable[..., Any]


class LeftError(Exception):
    """The program asked to exit while it was loaded."""


def load(source: str) -> ModuleType:
    """Run a program's definitions; what they raise goes through."""
    try:
        return run_as(MODULE, source)
    except SystemExit as error:
        raise LeftError(f"exited with {error.code!r:.100} while it was loaded") from None


def find(module: ModuleType, entry: str) -> Function:
    """Return a function by name: of the module, of the class before a dot, or of a class `Solution`.

    Raises:
        NoEntryError: There is none, or it cannot be called.
    """
    names = vars(module)
    holder, _, method = entry.rpartition(".")
    if not holder and hasattr(names.get("Solution"), entry) and not _is_own(names.get(entry)):
        holder, method = "Solution", entry
    if holder:
        return _method(names.get(holder), holder, method)
    if not callable(names.get(entry)):
        raise NoEntryError(f"defines no function {entry!r}")
    return names[entry]  # type: ignore[no-any-return]  # callable, as the line before has asked


def _is_own(thing: object) -> bool:
    """Say whether the program defines this itself: what it imports may have the name of what is asked for."""
    return getattr(thing, "__module__", None) == MODULE


def _method(holder: object, name: str, method: str) -> Function:
    """Return a method that is called on a new object each time."""
    if not isinstance(holder, type) or not callable(getattr(holder, method, None)):
        raise NoEntryError(f"defines no method {method!r} in a class {name!r}")

    def on_new_object(*args: object, **kwargs: object) -> object:
        return getattr(holder(), method)(*args, **kwargs)

    return on_new_object
