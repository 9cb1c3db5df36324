"""The tests' side of the channel to the program's process: requests, answers, and what stands for what."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from reasonrl_sandbox.child import things
from reasonrl_sandbox.child.codec import MalformedError, NotPlainError, TooLargeError, parse, tree_of, value_of
from reasonrl_sandbox.child.describe import global_name
from reasonrl_sandbox.child.handles import CandidateGoneError, ForgeableError, InvalidTestError, state_of
from reasonrl_sandbox.child.raised import ExceptionTypes, make_error
from reasonrl_sandbox.child.reading import Places
from reasonrl_sandbox.child.records import FAILURES, MAX_ANSWER, Record, write
from reasonrl_sandbox.child.references import (
    RemoteMethod,
    class_state,
    is_proxy,
    is_proxy_class,
    make_class,
    make_object,
)
from reasonrl_sandbox.child.sharing import SharedContainers
from reasonrl_sandbox.child.stdtypes import MUTABLE
from reasonrl_sandbox.child.surroundings import Surroundings, repeat
from reasonrl_sandbox.child.workfiles import WorkFiles

# Any: in this module, messages are JSON, and values of any type travel both ways.
Message = dict[str, Any]

TESTS = "<tests>"
"""What tracebacks call the text of the tests."""

MAX_CALLS_WITHIN = 60
"""Calls of the tests by the program by the tests and so on, within each other."""

MAX_COMMITS = 200
"""Requests for what new objects hold, after one in which they came; each brings objects a few levels deeper."""


class Connection:
    """The connection to the program's process."""

    def __init__(self, descriptor: int, replies: BinaryIO, allow_forgeable: bool) -> None:
        self.descriptor = descriptor
        self.replies = replies
        self.allow_forgeable = allow_forgeable
        self.lock = threading.RLock()
        self.num_asked = 0
        self.depth = 0
        self.objects: dict[int, Any] = {}
        self.classes: dict[int, Any] = {}
        self.class_numbers: dict[Any, int] = {}
        self.types = ExceptionTypes()
        self.errors: dict[int, BaseException] = {}
        self.raised: dict[int, tuple[BaseException, Record]] = {}
        self.given: list[Any] = []
        self.given_numbers: dict[int, int] = {}
        self.containers = SharedContainers(0)
        self.compared: frozenset[str] = frozenset()
        self.changed: Places = {}
        self.changing: set[int] = set()
        self.surroundings = Surroundings()
        self.files = WorkFiles(shares_all=False)
        self.undescribed: list[Any] = []
        self.used: list[Any] = []
        self.swallowed: list[BaseException] = []
        self.gone = False
        self.invalid: InvalidTestError | None = None
        self.may_ask: dict[str, Callable[..., Any]] = {
            "call": lambda number, args, kwargs: things.call(self.given[number], args, kwargs),
            "get": lambda number, name: things.use(self.given[number], name),
            "set": lambda number, name, value: things.assign(self.given[number], name, value),
            "special": lambda number, name, args: things.special(self.given[number], name, args),
            "input": things.read_input,
            "read": things.read_stdin,
            "readline": things.read_line,
        }

    def wait(self) -> None:
        """Wait until the program is loaded."""
        if self.replies.readline(MAX_ANSWER) != b'"ready"\n':
            raise self.disconnected("the program ended while it was loaded")

    def disconnected(self, why: str) -> CandidateGoneError:
        """Note that the program's process is gone, and return what to raise."""
        self.gone = True
        return CandidateGoneError(why)

    def invalidate(self, error: InvalidTestError) -> InvalidTestError:
        """Note what fails the running test, and return it to be raised."""
        self.invalid = self.invalid or error
        return error

    def take_invalid(self) -> InvalidTestError | None:
        """Return what failed the test that ran, and forget it."""
        error, self.invalid = self.invalid, None
        return error

    # ---- messages

    def take_swallowed(self) -> InvalidTestError | None:
        """Return that the program kept a failed assertion of the tests to itself, if so, and forget it."""
        swallowed, self.swallowed = self.swallowed, []
        why = "the program called a function of the tests, and kept to itself that an assertion in it failed"
        return ForgeableError(why) if swallowed and not self.allow_forgeable else None

    def ask(self, do: str, *values: Any) -> Any:
        """Have the other process do something, and return or raise the result; one thread of the tests at a time."""
        with self.lock:
            return self.asked(do, values)

    def asked(self, do: str, values: tuple[Any, ...]) -> Any:
        """Send a request, and return or raise the answer."""
        if self.depth >= MAX_CALLS_WITHIN:
            raise RecursionError("the tests and the program call each other too deep")
        if self.used and not self.depth and do not in ("states", "commit"):
            self.commit_used_objects(values)
        if do in ("call", "method"):
            self.note_uses(values)
        self.num_asked += 1
        number = self.num_asked
        self.changing = self.containers_to_change(values) if self.changed and do in ("call", "method") else set()
        self.files.give(values)
        self.send({"i": number, "do": do, "with": self.tree(values)})
        self.depth += 1
        try:
            found = self.answered(number)
        finally:
            self.depth -= 1
        if not self.depth and do != "commit":
            self.commit_new_objects()
        return found

    def commit_new_objects(self) -> None:
        """Have the program say what new objects hold, before it can know what the tests compare them with."""
        for _ in range(MAX_COMMITS):
            things, self.undescribed = self.undescribed, []
            if not things:
                return
            held = self.ask("commit", things)
            if type(held) is not list or len(held) != len(things):
                raise self.disconnected("the program answered something else than it was asked")
            for thing, each in zip(things, held, strict=True):
                state_of(thing).given, state_of(thing).used = each, False

    def note_use(self, thing: Any) -> None:
        """Note that the tests use an object, which may change what it holds."""
        state = state_of(thing)
        if not state.used and state.info.value is None and state.info.equality != "identity":
            state.used = True
            self.used.append(thing)

    def note_uses(self, values: tuple[Any, ...]) -> None:
        """Note that the tests give a function objects, by themselves or in lists."""
        *_, args, kwargs = values
        for each in (*args, *kwargs.values()):
            for thing in each if type(each) in (list, tuple) else (each,):
                if is_proxy(thing):
                    self.note_use(thing)

    def commit_used_objects(self, values: tuple[Any, ...]) -> None:
        """Have the program say what objects hold that were used, before it is asked for something else."""
        involved = {id(value) for value in values}
        self.undescribed += [thing for thing in self.used if id(thing) not in involved]
        self.used = [thing for thing in self.used if id(thing) in involved]
        self.commit_new_objects()

    def containers_to_change(self, values: tuple[Any, ...]) -> set[int]:
        """Return the containers in arguments of a call whose changes the tests look at."""
        frame: Any = sys._getframe(3)
        while frame is not None and frame.f_code.co_filename != TESTS:
            frame = frame.f_back
        *_, args, kwargs = values
        arguments = {**dict(enumerate(args)), **kwargs}
        wanted = self.changed.get(frame.f_lineno, ()) if frame else ()
        return {number for place in wanted if place in arguments for number in _containers_in(arguments[place])}

    def answered(self, number: int) -> Any:
        """Return or raise the answer to a request, after doing what the program asks for meanwhile."""
        while True:
            message = self.receive(number)
            if "ask" not in message:
                return self.result(message)
            self.serve(message)

    def send(self, message: Message) -> None:
        """Send a message with what has changed since the last."""
        if self.containers.entries:
            message["changes"] = self.tree(tuple(self.containers.changes()))
            message["forget"] = self.containers.take_forgotten()
        if files := self.files.changes():
            message["files"] = tree_of(files)
        if around := self.surroundings.changes():
            message["around"] = self.tree(around)
        try:
            write(self.descriptor, json.dumps(message))
        except OSError as error:
            raise self.disconnected(f"the program's process is gone: {error}") from None

    def mirror_seeds(self) -> None:
        """Have tests that seed random numbers seed those of the program too."""
        for name in ("random", "numpy.random"):
            module = sys.modules.get(name)
            if module is not None:
                module.seed = _mirrored(self, name, module.seed)  # type: ignore[attr-defined]  # both have it

    def receive(self, number: int) -> Message:
        """Read a message of the program, and take over what it sends along."""
        try:
            message = parse(self.replies.readline(2 * MAX_ANSWER))
            if type(message) is not dict or message.get("i") != number:
                raise MalformedError("the program answered out of turn")
            if "files" in message:
                self.files.apply(value_of(message["files"]))
            if "output" in message:
                repeat(value_of(message["output"], self))
        except (MalformedError, OSError, TypeError, ValueError) as error:
            raise self.disconnected(f"the program's process is gone: {error}") from None
        return message

    def catch_up(self, message: Message) -> None:
        """Take over what has changed, after reading the values of a message: they were written before that."""
        try:
            self.containers.apply(value_of(message.get("changes", []), self))
            self.containers.forget(_numbers(message.get("forget", [])))
        except (MalformedError, TypeError) as error:
            raise self.disconnected(f"the program broke the protocol: {error}") from None

    def result(self, message: Message) -> Any:
        """Return the value of an answer, or raise what it says."""
        if "v" in message:
            value = self.value(message["v"])
            self.catch_up(message)
            return value
        match message:
            case {"i": int(number), "outcome": str(outcome), "detail": str(detail), "raised": [*names]} if (
                outcome in FAILURES
            ):
                text = detail.encode(errors="backslashreplace").decode()
                error = self.failure(Record(number, None, outcome, text, tuple(map(str, names))), message.get("error"))
                self.catch_up(message)
                raise error
        raise self.disconnected("the program answered something else than it was asked")

    def failure(self, record: Record, tree: Any) -> BaseException:
        """Return the exception to raise here for one that was raised there, or for an answer that there is none."""
        error = self.value(tree) if record.raised and tree is not None else None
        if not isinstance(error, BaseException):
            error = self.invalidate(InvalidTestError(record.detail))
        self.raised.setdefault(id(error), (error, record))
        self.swallowed = [each for each in self.swallowed if each is not error]
        return error

    def serve(self, message: Message) -> None:
        """Do what the program asks for, and answer it."""
        try:
            operation, values = self.may_ask[message["ask"]], self.value(message["with"])
            self.catch_up(message)
            answer = {"v": self.tree(operation(*values))}
        except CandidateGoneError:
            raise
        except BaseException as error:
            if isinstance(error, AssertionError) and not self.is_of_program(error):
                self.swallowed.append(error)
            answer = {"raise": self.raised_tree(error)}
        self.send(answer)

    def raised_tree(self, error: BaseException) -> Any:
        """Return what stands for an exception of the tests, or for one of the program that passed through them."""
        try:
            return self.tree(error)
        except InvalidTestError:
            return self.tree(RuntimeError(type(error).__name__))

    def value(self, tree: Any) -> Any:
        """Return the value of a tree; one that cannot be read is an answer that there is none."""
        try:
            return value_of(tree, self)
        except MalformedError as error:
            raise self.invalidate(InvalidTestError(f"answered what is no plain data: {error}")) from None

    def tree(self, value: Any) -> Any:
        """Return the tree of what is sent to the program."""
        marked = self.containers.next_number
        try:
            return tree_of(value, self)
        except (NotPlainError, TooLargeError) as error:
            self.containers.forget_after(marked)
            raise self.invalidate(InvalidTestError(f"the test gives the program {error}")) from None

    # ---- exceptions

    def record_of(self, error: BaseException) -> Record | None:
        """Return the record of an exception that came from the program."""
        raised, record = self.raised.get(id(error), (None, None))
        return record if raised is error else None

    def is_of_program(self, error: BaseException) -> bool:
        """Return whether the program raised an exception."""
        return self.record_of(error) is not None

    # ---- links of the codec

    def refer(self, thing: Any) -> Any:
        """Return what stands for a proxy, or for a thing of the tests."""
        if type(thing) is _Reference:
            return ["r", thing.number]
        if is_proxy(thing):
            return ["r", state_of(thing).number]
        if is_proxy_class(thing):
            return ["r", class_state(thing).number]
        if type(thing) is RemoteMethod:
            holder = thing.__self__
            return ["m", (state_of(holder) if is_proxy(holder) else class_state(holder)).number, thing.__name__]
        if isinstance(thing, BaseException) and "_program_error" in thing.__dict__:
            return ["r", thing.__dict__["_program_error"][1]]
        if isinstance(thing, type) and thing in self.class_numbers:
            return ["r", self.class_numbers[thing]]
        known = things.global_of(thing)
        return ["g", *known] if known else self.give(thing)

    def give(self, thing: Any) -> Any:
        """Return what stands for a thing of the tests, described when it is first given."""
        number = self.given_numbers.get(id(thing))
        if number is not None:
            return ["t", number]
        about = things.describe_thing(thing)
        if about is None:
            return None
        number = self.given_numbers[id(thing)] = len(self.given)
        self.given.append(thing)
        return ["t", number, self.tree(about)]

    def resolve(self, tree: Any) -> Any:
        """Return what the program refers to."""
        match tree:
            case ["r", int(number), int(kind), given]:
                return self.proxy(number, kind, given)
            case ["c", int(number)]:
                return self.class_of(number)
            case ["g", str(module), str(name)]:
                return _standard_type(module, name)
            case ["t", int(number)] if 0 <= number < len(self.given):
                return self.given[number]
            case ["x", int(number), [*names], str(text), about] if names and all(type(name) is str for name in names):
                return self.error(number, names, text, about)
        raise MalformedError("a reference of no kind")

    def proxy(self, number: int, kind: int, given: Any) -> Any:
        """Return the one proxy of an object."""
        if number not in self.objects:
            stand_in = self.class_of(kind)
            if not is_proxy_class(stand_in):
                raise MalformedError("an object of no class")
            state = None if given is None else value_of(given, self)
            self.objects.setdefault(number, make_object(self, number, stand_in, state))
        return self.objects[number]

    def class_of(self, number: int) -> Any:
        """Return the stand-in for a class of the program."""
        if number not in self.classes:
            about, bases = self.ask("class", _Reference(number))
            if about["raised"]:
                self.know_class(number, self.types.named([str(name) for name in about["raised"]]))
            else:
                self.know_class(number, make_class(self, number, about, list(bases)))
        return self.classes[number]

    def know_class(self, number: int, kind: Any) -> None:
        """Keep the stand-in for a class."""
        self.classes[number] = kind
        self.class_numbers[kind] = number

    def error(self, number: int, names: list[str], text: str, about: Any) -> BaseException:
        """Return the one exception here that stands for one of the program."""
        if number not in self.errors:
            parts = value_of(about, self)
            if type(parts) is not tuple or len(parts) != 4 or type(parts[0]) is not tuple or type(parts[1]) is not dict:
                raise MalformedError("an exception without parts")
            self.errors[number] = make_error(self.types, self, number, names, text, parts)
        return self.errors[number]

    def mark(self, container: object) -> tuple[int, bool] | None:
        """Share a container that the program holds already, or that the running statement wants changed in place."""
        if id(container) in self.containers.numbers or id(container) in self.changing:
            return self.containers.mark(container)
        return None

    def adopt(self, number: int, container: object) -> object:
        """Keep a container of the program."""
        return self.containers.adopt(number, container)

    def shared(self, number: int) -> object:
        """Return a container by its number."""
        return self.containers.get(number)


def _mirrored(connection: Connection, module: str, seed: Callable[..., None]) -> Callable[..., None]:
    def mirrored(*args: Any) -> None:
        seed(*args)
        connection.ask("seed", module, args)

    return mirrored


class _Reference:
    """Stands for the class of a number, before there is a stand-in."""

    def __init__(self, number: int) -> None:
        self.number = number


def _containers_in(value: Any) -> Iterator[int]:
    """Yield the identities of containers in a value."""
    todo, seen = [value], set[int]()
    while todo:
        each = todo.pop()
        if type(each) in (*MUTABLE, tuple) and id(each) not in seen:
            seen.add(id(each))
            todo += [*each.keys(), *each.values()] if isinstance(each, dict) else each
    yield from seen


def _standard_type(module: str, name: str) -> Any:
    """Return a class of the standard library that is loaded here, by its name."""
    found: Any = sys.modules.get(module) if module.partition(".")[0] in sys.stdlib_module_names else None
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or global_name(found) != [module, name]:
        return object
    return found


def _numbers(content: Any) -> list[int]:
    if type(content) is not list or not all(type(number) is int for number in content):
        raise MalformedError("numbers expected")
    return content
