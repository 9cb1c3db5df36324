"""What tests find under the names of the program: its module, its functions, classes and values."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

from reasonrl_sandbox.child.connection import Connection
from reasonrl_sandbox.child.handles import ForgeableError
from reasonrl_sandbox.child.references import class_state, is_proxy, is_proxy_class

# Any: what a program defines under a name.


class ModuleProxy(ModuleType):
    """Proxy of the program as a module."""

    def __init__(self, connection: Connection, name: str, names: Sequence[str]) -> None:
        """Take the name that the tests import, and the names that `import *` is to look for."""
        super().__init__(name)
        self.__dict__.update(_connection=connection, _names=names, _replaced={})

    def __getattr__(self, name: str) -> Any:
        """Return a name of the program."""
        connection: Connection = self.__dict__["_connection"]
        if name == "__all__":
            return _defined_among(connection, self.__dict__["_names"])
        if name.startswith("__") and name not in ("__version__", "__author__"):
            raise AttributeError(name)
        return named(connection, name, connection.ask("global", name))

    def __setattr__(self, name: str, thing: Any) -> None:
        """Set a name of the program, as a test does that replaces a function of it."""
        if name.startswith("__"):
            super().__setattr__(name, thing)
        else:
            with suppress(AttributeError):
                self.__dict__["_replaced"].setdefault(name, self.__dict__["_connection"].ask("global", name))
            self.__dict__["_connection"].ask("set_global", name, thing)

    def __delattr__(self, name: str) -> None:
        """Undo that a name was set; delete it where it was not there before."""
        if name in self.__dict__["_replaced"]:
            self.__dict__["_connection"].ask("set_global", name, self.__dict__["_replaced"].pop(name))
        else:
            self.__dict__["_connection"].ask("delete_global", name)


def _defined_among(connection: Connection, names: Sequence[str]) -> list[str]:
    """Return those of some names that the program defines."""
    known = connection.ask("names")
    return [name for name in names if name in known]


def named(connection: Connection, name: str, found: Any) -> Any:
    """Return what tests get for a name of the program: they mean to test a class that they ask for.

    Raises:
        ForgeableError: It is a plain value that the tests would compare the program's own results with.
    """
    if is_proxy_class(found):
        class_state(found).info.named = name[:1].isupper()
    elif isinstance(found, type) and issubclass(found, BaseException):
        return connection.types.imported(name, found)
    elif not is_proxy(found) and not callable(found) and name in connection.compared and not connection.allow_forgeable:
        raise connection.invalidate(comparing_with(name))
    return found


def comparing_with(name: str) -> ForgeableError:
    """Return the error for tests that compare results to a value that the program defines."""
    why = (
        f"the tests compare results with {name!r}, a value that the program itself defines: give the value in the tests"
    )
    return ForgeableError(f"{why}, or set allow_forgeable")


def forbidden(connection: Connection, name: str) -> Callable[..., Any]:
    """Return what replaces a helper that only the program defines: a function that fails the test."""

    def function(*args: Any, **kwargs: Any) -> Any:
        why = (
            f"the tests call {name!r}, which only the program defines: it could return what makes them pass. "
            "Give the tests their own in `setup`, or set allow_forgeable"
        )
        raise connection.invalidate(ForgeableError(why))

    return function


def bind_names(connection: Connection, aliases: Sequence[str], entry: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the namespace of test text: the function under its aliases, and the other names that it uses."""
    found = named(connection, entry, connection.ask("find", entry))
    bound: dict[str, Any] = dict.fromkeys(aliases, found)
    known = set(connection.ask("names"))
    for name in names:
        if name in known and (name[:1].isupper() or connection.allow_forgeable):
            bound[name] = named(connection, name, connection.ask("global", name))
        elif not name[:1].isupper():
            bound[name] = forbidden(connection, name)
    return bound
