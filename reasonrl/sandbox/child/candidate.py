"""The program's side of mode `split`: hold the program, and do what the driver in the other process asks for.

Requests and replies are lines of JSON on a socket. Plain values travel; objects of the program's own classes stay here
and are known by number.
"""

import builtins
import json
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

from reasonrl.sandbox.child.codec import decode
from reasonrl.sandbox.child.entry import find
from reasonrl.sandbox.child.records import answer, kinds

# Any: a request is JSON that the driver wrote, a target whatever the program defines.
Request = dict[str, Any]


class Candidate:
    """A loaded program, and its objects that the driver knows of."""

    def __init__(self, module: ModuleType) -> None:
        """Hold a module."""
        self.module = module
        self.objects: list[object] = []
        self.does: dict[str, Callable[..., object]] = {
            "names": self.names,
            "look": self.look,
            "call": self.call,
            "method": lambda number, name, args, kwargs: getattr(self.objects[number], name)(*args, **kwargs),
            "set": lambda number, name, thing: setattr(self.objects[number], name, thing),
            "apply": lambda number, name, args: self.operator(name)(self.objects[number], *args),
        }

    def reply(self, line: bytes) -> str:
        """Return the record of one request."""
        request: Request = json.loads(line)
        refer = self.keep if request["objects"] else None
        return answer(request["i"], lambda: self.does[request["do"]](*self.values(request["with"])), refer)

    def keep(self, thing: object) -> int:
        """Return the number by which the driver is to know an object."""
        self.objects.append(thing)
        return len(self.objects) - 1

    def values(self, text: str) -> Any:
        """Read values, with objects by their numbers."""
        return decode(text, self.objects.__getitem__)

    def names(self) -> object:
        """Return what `from solution import *` imports."""
        return list(vars(self.module).get("__all__", [name for name in vars(self.module) if name[0] != "_"]))

    def look(self, number: int | None, name: str) -> object:
        """Say what an attribute of an object, or of the module, is: a kind, and what comes with it."""
        holder = self.module if number is None else self.objects[number]
        thing = getattr(holder, name)
        if isinstance(thing, type) and issubclass(thing, BaseException):
            return ["exception", kinds(thing)]
        if callable(thing):
            return ["function", None]
        return ["value", thing]

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        """Call a function of the module, or make an object of a class."""
        return find(self.module, name)(*args, **kwargs)

    def operator(self, name: str) -> Callable[..., object]:
        """Return what the driver means by an operator's name: `len` is a built-in function, `getitem` an operator."""
        function: Callable[..., object] = getattr(builtins, name, None) or getattr(operator, name)
        return function
