"""The program's side of mode `split`: holds the program, and does what the driver in the other process asks for.

Requests and replies are lines of JSON on a socket. Plain values are sent; objects of the program's own classes stay
here, and numbers stand for them.
"""

import builtins
import json
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

from reasonrl_sandbox.child.codec import decode
from reasonrl_sandbox.child.entry import find
from reasonrl_sandbox.child.records import answer, kinds

# Any: a request is JSON that the driver wrote, a target whatever the program defines.
DriverRequest = dict[str, Any]


class Candidate:
    """A loaded program, and those of its objects that the driver refers to by number."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.objects: list[object] = []
        self.operations: dict[str, Callable[..., object]] = {
            "names": self.names,
            "get": self.get,
            "call": self.call,
            "method": lambda number, name, args, kwargs: getattr(self.objects[number], name)(*args, **kwargs),
            "set": lambda number, name, thing: setattr(self.objects[number], name, thing),
            "apply": lambda number, name, args: self.operator(name)(self.objects[number], *args),
        }

    def reply(self, line: bytes) -> str:
        """Return the record of one request."""
        request: DriverRequest = json.loads(line)
        refer = self.keep if request["objects"] else None
        return answer(request["i"], lambda: self.operations[request["do"]](*self.values(request["with"])), refer)

    def keep(self, thing: object) -> int:
        """Keep an object, and return the number by which the driver refers to it."""
        self.objects.append(thing)
        return len(self.objects) - 1

    def values(self, text: str) -> Any:
        """Read values; numbers of objects become the objects."""
        return decode(text, self.objects.__getitem__)

    def names(self) -> object:
        """Return what `from solution import *` imports."""
        return list(vars(self.module).get("__all__", [name for name in vars(self.module) if name[0] != "_"]))

    def get(self, number: int | None, name: str) -> object:
        """Return the kind of an attribute of an object or of the module, and its value or its exception types."""
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
        """Return a function by name, built-in ones first: `len` is built in, `getitem` is in `operator`."""
        function: Callable[..., object] = getattr(builtins, name, None) or getattr(operator, name)
        return function
