"""Finds the function under test in a program."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from reasonrl_sandbox.child.program import NoEntryError, run_as

MODULE = "solution"
"""Name of the program as a module; not `__main__`, so that what it does only as a script does not run."""

# Any: functions of any signature.
Function = Callable[..., Any]


class ExitedWhileLoadingError(Exception):
    """The program called exit while it was loaded."""


def load(source: str) -> ModuleType:
    """Run a program's definitions. What they raise is not caught."""
    try:
        return run_as(MODULE, source)
    except SystemExit as error:
        raise ExitedWhileLoadingError(f"exited with {error.code!r:.100} while it was loaded") from None


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
    """Return whether the program defines this itself: an import may have the same name."""
    return getattr(thing, "__module__", None) == MODULE


def _method(holder: object, name: str, method: str) -> Function:
    """Return a method that is called on a new object each time."""
    if not isinstance(holder, type) or not callable(getattr(holder, method, None)):
        raise NoEntryError(f"defines no method {method!r} in a class {name!r}")

    def on_new_object(*args: object, **kwargs: object) -> object:
        return getattr(holder(), method)(*args, **kwargs)

    return on_new_object
