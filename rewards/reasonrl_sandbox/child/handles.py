"""What a proxy on the tests' side knows of the object that it stands for."""

from dataclasses import dataclass, field
from typing import Any, Protocol


class CandidateGoneError(BaseException):
    """The program's process ended, or broke the protocol. A test that catches it does not pass by that."""


class InvalidTestError(BaseException):
    """Fails a test even if the test catches or expects it: it was not raised by the program."""


class ForgeableError(InvalidTestError):
    """The test would take the program's word for its own result: it cannot be scored."""


class Asked(Protocol):
    """The connection to the program's process. Any: plain values, and objects that proxies stand for."""

    allow_forgeable: bool
    undescribed: list[Any]

    def note_use(self, thing: Any) -> None:
        """Note that the tests use an object, which may change what it holds."""
        ...

    def ask(self, do: str, *values: Any) -> Any:
        """Have the program's process do something, and return or raise the result."""
        ...

    def invalidate(self, error: InvalidTestError) -> InvalidTestError:
        """Note what fails the running test, and return it to be raised."""
        ...

    def class_of(self, number: int) -> Any:
        """Return the stand-in for a class of the program."""
        ...

    def know_class(self, number: int, kind: Any) -> None:
        """Keep the stand-in for a class that the tests derived from one of the program's."""
        ...

    def is_of_program(self, error: BaseException) -> bool:
        """Return whether the program raised an exception."""
        ...


@dataclass(eq=False)
class ClassInfo:
    """What the program says of one of its classes."""

    name: str
    value: str | None = None
    """The built-in type with unchanging instances that it is derived from."""
    content: str | None = None
    """The built-in container that it is derived from."""
    special: frozenset[str] = frozenset()
    """Special methods of its instances."""
    equality: str = "identity"
    """What decides whether instances are equal: `identity`, `fields` of a data class, a built-in `base`, `own`."""
    fields: tuple[tuple[str, bool], ...] | None = None
    """Fields of a data class, and whether they are compared."""
    named: bool = False
    """Whether the tests ask for it by its name, so that they mean to test it."""
    bases: tuple["ClassInfo", ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether the tests name it or a class that it is derived from."""
        return self.named or any(base.is_named for base in self.bases)


@dataclass(eq=False)
class State:
    """What a proxy knows; kept apart from its attributes, which are those of the object that it stands for."""

    connection: Asked
    number: int
    info: ClassInfo
    given: Any = None
    """Content and attributes that the object had when it was first returned."""
    used: bool = False
    """Whether the tests have used it since it said what it holds, which may have changed by that."""
    made_of: tuple[type, tuple[Any, ...], dict[str, Any], list[Any]] | None = None
    """The class and the arguments by which the tests made it, and the numbers and texts in those."""
    is_dependent: bool = False
    """Whether it is known to depend on those arguments."""
    items: list[Any] = field(default_factory=list)
    """Items of an iterator that were fetched in advance."""
    num_fetched: int = 0
    running: Any = None
    """The coroutine here that runs the program's."""


def state_of(thing: Any) -> State:
    """Return what a proxy knows. Any: a proxy of any class."""
    state: State = object.__getattribute__(thing, "_state")
    return state
