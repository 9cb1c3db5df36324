"""The program's side of mode `split`: holds the program, and does what the driver in the other process asks for.

Requests and replies are lines of JSON on a socket. Plain values are sent; other objects of the program stay here, and
numbers stand for them. While it answers a request, the program may have the driver call functions of the tests.
"""

import builtins
import copy
import importlib
import json
import operator
import os
import pickle
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

from reasonrl_sandbox.child.codec import MalformedError, tree_of, value_of
from reasonrl_sandbox.child.describe import (
    describe_class,
    describe_signature,
    global_name,
    has_state,
    is_own_method,
    state,
)
from reasonrl_sandbox.child.entry import MODULE, find
from reasonrl_sandbox.child.program import CHANNEL
from reasonrl_sandbox.child.records import MAX_ANSWER, ended, failure, kinds, write
from reasonrl_sandbox.child.sharing import SharedContainers
from reasonrl_sandbox.child.stubs import TestInput, make_stub, number_of
from reasonrl_sandbox.child.surroundings import ReplacedSurroundings
from reasonrl_sandbox.child.workfiles import WorkFiles

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

# Any: a request is JSON that the driver wrote, a target whatever the program defines.
Message = dict[str, Any]

_MAX_ITEMS_AT_ONCE = 256
_MAX_ITEMS_S = 0.002
"""An iterator is asked for further items within one request until it has given so many, or taken so long."""

_MAX_STATES = 3
"""How deep the states of objects within states are sent along."""

_MAX_ERROR = 100_000
"""Length of the longest description of an exception; of a longer one, the beginning of its message is sent."""

_SLICE_S = 0.005
"""For how long coroutines run before the driver looks after its own."""


class Candidate:
    """A loaded program, and those of its objects that the driver refers to by number."""

    def __init__(self, module: ModuleType, requests: BinaryIO) -> None:
        self.module = module
        self.requests = requests
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.stubs: dict[int, Any] = {}
        self.containers = SharedContainers(1)
        self.num_states = 0
        self.copies = False
        self.running: list[int] = []
        self.lock = threading.RLock()
        self.files = WorkFiles(shares_all=True)
        self.streams: ReplacedSurroundings | None = None
        self.failing: dict[int, Callable[[], Any]] = {}
        self.loop: AbstractEventLoop | None = None
        self.operations: dict[str, Callable[..., Any]] = {
            "names": self.names,
            "global": lambda name: getattr(self.module, name),
            "set_global": lambda name, thing: setattr(self.module, name, thing),
            "delete_global": lambda name: delattr(self.module, name),
            "find": lambda name: find(self.module, name),
            "get": self.get,
            "set": setattr,
            "delete": delattr,
            "call": lambda function, args, kwargs: function(*args, **kwargs),
            "method": lambda thing, name, args, kwargs: getattr(thing, name)(*args, **kwargs),
            "special": lambda name, args: _function(name)(*args),
            "next": self.next,
            "class": lambda kind: (describe_class(kind), kind.__bases__),
            "signature": describe_signature,
            "states": lambda things: [state(thing) for thing in things],
            "commit": lambda things: list(map(self.committed, things)),
            "task": self.task,
            "step": self.step,
            "cancel": lambda task: task.cancel(),
            "subclass": self.subclass,
            "get_of_error": lambda number, name: getattr(self.objects[number], name),
            "pickled": lambda thing: pickle.loads(pickle.dumps(thing)),
            "seed": lambda module, args: sys.modules[module].seed(*args),
        }

    # ---- messages

    def serve(self) -> None:
        """Answer requests until the driver closes the channel, or has been ended while it waited."""
        with suppress(BrokenPipeError, ConnectionResetError):
            for line in self.requests:
                self.reply(json.loads(line))

    def reply(self, request: Message) -> None:
        """Do what one request asks for, and write the answer."""
        self.running.append(request["i"])
        try:
            answer = self.answer(request)
        finally:
            self.running.pop()
        text = json.dumps({"i": request["i"], **answer, **self.news()})
        if len(text) > MAX_ANSWER:
            text = failure(request["i"], "output_limit", f"answered a value of {len(text)} bytes")
        if not self.running and self.streams is not None:
            self.streams.restore()
            self.streams = None
        write(CHANNEL, text)

    def answer(self, request: Message) -> Message:
        """Return the answer to a request. Everything that a program can raise is caught here."""
        marked, self.copies = self.containers.next_number, False
        try:
            operation, values = self.operations[request["do"]], value_of(request["with"], self)
            self.learn(request)
            self.copies = request["do"] in ("states", "commit")
            return {"v": tree_of(operation(*values), self)}
        except BaseException as error:
            self.containers.forget_after(marked)
            outcome, detail, raised = ended(error)
            known = tree_of(error, self) if raised else None
            return {"outcome": outcome, "detail": detail, "raised": raised, "error": known}

    def learn(self, message: Message) -> None:
        """Take over what the driver sends with a message."""
        self.containers.apply(value_of(message.get("changes", []), self))
        self.containers.forget(message.get("forget", []))
        if "files" in message:
            self.files.apply(value_of(message["files"]))
        if "around" in message:
            self.surround(value_of(message["around"], self))

    def surround(self, changes: Message) -> None:
        """Put in place what the tests have changed around the program."""
        for name, value in changes.get("environment", {}).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        sys.argv = changes.get("argv", sys.argv)
        wanted, patched = changes.get("streams", []), changes.get("patched", {})
        if (wanted or patched) and self.streams is None:
            self.streams = ReplacedSurroundings(wanted, patched, TestInput(self), partial(self.ask, "input"))

    def news(self) -> Message:
        """Return what goes with every message to the driver."""
        news: Message = {}
        if self.containers.entries:
            news = {"changes": tree_of(self.containers.changes(), self), "forget": self.containers.take_forgotten()}
        if self.streams is not None:
            news["output"] = tree_of(self.streams.take(), self)
        if files := self.files.changes():
            news["files"] = tree_of(files)
        return news

    def ask(self, do: str, *values: Any) -> Any:
        """Have the driver do something with a thing of the tests; raises what that raises."""
        with self.lock:
            if not self.running:
                raise RuntimeError("the tests wait for nothing, so that nothing of theirs can be called")
            message = {"i": self.running[-1], "ask": do, "with": tree_of(values, self), **self.news()}
            write(CHANNEL, json.dumps(message))
            for line in self.requests:
                reply = json.loads(line)
                if "do" not in reply:
                    value = value_of(reply["raise"] if "raise" in reply else reply["v"], self)
                    self.learn(reply)
                    return _raised(value) if "raise" in reply else value
                self.reply(reply)
        raise SystemExit  # the driver has ended

    # ---- links of the codec

    def refer(self, thing: Any) -> Any:
        """Return what stands for an object: a number, and what the driver needs to know at once."""
        stub = number_of(thing)
        if stub is not None:
            return ["t", stub]
        if isinstance(thing, type):
            known = global_name(thing)
            return ["g", *known] if known else ["c", self.number(thing)]
        if isinstance(thing, BaseException):
            return self.raised(thing)
        return ["r", self.number(thing), self.number(type(thing)), self.state(thing)]

    def number(self, thing: object) -> int:
        """Return the number of an object, which is kept from now on."""
        number = self.numbers.setdefault(id(thing), len(self.objects))
        if number == len(self.objects):
            self.objects.append(thing)
        return number

    def state(self, thing: object) -> Any:
        """Return the state of an object as it is now, where the driver may want to compare it."""
        if self.num_states >= _MAX_STATES or not has_state(cast(Any, type(thing))):
            return None
        self.num_states += 1
        try:
            return tree_of(state(thing), self)
        except Exception:  # it is too large, or not plain: the driver cannot compare it
            return None
        finally:
            self.num_states -= 1

    def committed(self, thing: object) -> object:
        """Return the state of an object, or NotImplemented where it cannot be described."""
        try:
            text = json.dumps(tree_of(state(thing), self))
        except Exception:
            return NotImplemented
        return state(thing) if len(text) < MAX_ANSWER // 16 else NotImplemented

    def raised(self, error: BaseException) -> Any:
        """Return what stands for an exception."""
        attributes = {name: thing for name, thing in vars(error).items() if not name.startswith("__")}
        if self.num_states >= _MAX_STATES:
            attributes = {}
        self.num_states += 1
        try:
            cause = error.__cause__ if self.num_states < _MAX_STATES else None
            about = tree_of((error.args, attributes, cause, error.__suppress_context__), self)
        except Exception:  # not plain in a way that cannot be told, as values nested too deep
            about = None
        finally:
            self.num_states -= 1
        text = _text_of(error)
        if about is None or len(json.dumps(about)) > _MAX_ERROR:
            about = tree_of(((text,), {}, None, False))
        return ["x", self.number(error), kinds(type(error)), text, about]

    def resolve(self, tree: Any) -> Any:
        """Return what the driver refers to."""
        match tree:
            case ["r", int(number)]:
                return self.objects[number]
            case ["m", int(number), str(name)]:
                return getattr(self.objects[number], name)
            case ["g", str(module), str(name)]:
                return operator.attrgetter(name)(importlib.import_module(module))
            case ["t", int(number), tree]:
                about = value_of(tree, self)
                own = self.own_error(about) if about["kind"] == "exception" and "args" not in about else None
                self.stubs[number] = own or make_stub(self, number, about)
                return self.stubs[number]
            case ["t", int(number)]:
                return self.stubs[number]
        raise MalformedError("a reference of no kind")

    def own_error(self, about: Message) -> object:
        """Return the program's exception class of a name that the driver knows by what was raised."""
        module, _, name = about["names"][0].rpartition(".")
        return getattr(self.module, name, None) if module == MODULE else None

    def mark(self, container: object) -> tuple[int, bool] | None:
        """Share every container that the driver gets, but for those in the states of objects."""
        return None if self.copies or self.num_states else self.containers.mark(container)

    def adopt(self, number: int, container: object) -> object:
        """Keep a container of the tests."""
        return self.containers.adopt(number, container)

    def shared(self, number: int) -> object:
        """Return a container by its number."""
        return self.containers.get(number)

    # ---- operations

    def names(self) -> object:
        """Return what `from solution import *` imports."""
        return list(vars(self.module).get("__all__", [name for name in vars(self.module) if name[0] != "_"]))

    def get(self, thing: object, name: str) -> object:
        """Return an attribute, or that it is a method, which the driver calls by name."""
        found = getattr(thing, name)
        return ["method"] if is_own_method(found, thing, name) else ["value", found]

    def subclass(self, name: str, bases: tuple[type, ...], names: dict[str, Any]) -> object:
        """Make a class that the tests derive from one of the program, and return its number."""
        return self.number(types.new_class(name, bases, {}, lambda space: space.update(names, __module__=MODULE)))

    def next(self, iterator: Any, many: bool, name: str, args: tuple[Any, ...]) -> object:
        """Return the next items, and whether there may be more; what the iterator raises comes after its items."""
        number = self.number(iterator)
        step = partial(next, iterator) if name == "next" else partial(getattr(iterator, name), *args)
        items: list[object] = []
        began_s = time.monotonic()
        while not items or (many and len(items) < _MAX_ITEMS_AT_ONCE and time.monotonic() - began_s < _MAX_ITEMS_S):
            try:
                items.append(self.failing.pop(number, step)())
            except StopIteration as end:
                return [tuple(items), False, end.value]
            except BaseException as error:
                if not items:
                    raise
                self.failing[number] = _raising(error)
                break
        return [tuple(items), True, None]

    def task(self, awaitable: Any) -> object:
        """Begin to run a coroutine, and return its task."""

        import asyncio  # few tests need it, and the fork server would hold it for all

        async def run() -> Any:
            return await awaitable

        if self.loop is None or self.loop.is_running():  # it is when a coroutine of the tests is awaited meanwhile
            self.loop = asyncio.new_event_loop()
        with _no_running_loop():
            asyncio.set_event_loop(self.loop)
            return self.loop.create_task(run())

    def step(self, task: Any) -> object:
        """Run coroutines for a short while, and return whether the task is done, and its result."""
        import asyncio

        with _no_running_loop():
            task.get_loop().run_until_complete(asyncio.wait({task}, timeout=_SLICE_S))
        if task.cancelled():
            return ["cancelled", None]
        if task.done():
            error = task.exception()
            return ["ended", None] if isinstance(error, StopAsyncIteration) else ["done", task.result()]
        return ["runs", None]


@contextmanager
def _no_running_loop() -> Iterator[None]:
    """Allow another event loop to run within one that waits for the driver."""
    import asyncio

    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(running)


def _raised(error: BaseException) -> NoReturn:
    raise error


def _raising(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


def _text_of(error: BaseException) -> str:
    """Return the message of an exception, shortened, whatever its `__str__` does."""
    try:
        return str.__str__(str(error))[:10_000]
    except BaseException as second:
        return f"(its message raised {type(second).__name__})"


def _function(name: str) -> Callable[..., Any]:
    """Return a function by name: of `copy`, built in, or of `operator`."""
    if name in ("copy", "deepcopy"):
        return getattr(copy, name)  # type: ignore[no-any-return]
    function: Callable[..., Any] | None = getattr(builtins, name, None)
    return function or getattr(operator, name)
