"""Proxies of the program's objects and classes on the tests' side.

A proxy is an instance of a stand-in for the object's class, with the same name, bases and special methods, so that
`isinstance`, `callable`, iteration and the like work as they would on the object itself. Attributes and calls go to the
program's process. A stand-in for a class derived from an unchanging built-in type, such as a namedtuple, is derived
from that type, and its instances are real values here.
"""

import dataclasses
import inspect
import sys
import types
from abc import ABCMeta
from collections.abc import Callable, Iterator
from typing import Any

from reasonrl_sandbox.child.codec import BUILT_IN
from reasonrl_sandbox.child.equality import equal_values, parts_of
from reasonrl_sandbox.child.handles import Asked, ClassInfo, ForgeableError, State, state_of
from reasonrl_sandbox.child.operators import Special, resumed, running
from reasonrl_sandbox.child.stdtypes import BY_KIND

# Any: in this module, proxies and plain values of any type.

_OF_FUNCTIONS = ("__wrapped__", "__annotations__", "__defaults__", "__kwdefaults__", "__self__", "__func__", "__code__")
_ASKED_NAMES = frozenset(("__dict__", "__name__", "__qualname__", "__doc__", "__signature__", *_OF_FUNCTIONS))
"""Special attributes that are the object's own; others are those of the proxy."""

_OWN_METHODS = ("send", "throw", "close")
"""Methods of generators and coroutines, which stand-ins have themselves."""

_NEVER_ASKED = ("_pytest", "pytestmark", "__test__", "__unittest")
"""Beginnings of attributes by which test runners mark tests: no object of a program is one."""


def is_proxy(thing: Any) -> bool:
    """Return whether something is a proxy of an object."""
    return issubclass(type(thing), RemoteObject)


def is_proxy_class(thing: Any) -> bool:
    """Return whether something is a stand-in for a class of the program."""
    return isinstance(thing, RemoteType) and thing is not RemoteObject


def class_state(kind: Any) -> State:
    """Return what a stand-in knows of its class."""
    state: State = type.__getattribute__(kind, "_class_state")
    return state


class RemoteType(ABCMeta):
    """Type of stand-ins: attributes and calls of a class go to the program's process."""

    def __new__(mcls, name: str, bases: tuple[type, ...], names: dict[str, Any], **options: Any) -> Any:
        """Make a stand-in; a class of the tests that is derived from one is made in the program too."""
        if not bases or "_class_state" in names:
            return super().__new__(mcls, name, bases, names)
        state = class_state(next(base for base in bases if is_proxy_class(base)))
        own = {key: thing for key, thing in names.items() if key not in ("__classcell__", "__module__")}
        made = super().__new__(mcls, name, bases, names)
        given = {key: own[key] for key in own if key not in ("__qualname__",)}
        number = state.connection.ask("subclass", name, bases, given)
        info = dataclasses.replace(state.info, name=name, named=True, bases=(state.info,))
        type.__setattr__(made, "_class_state", State(state.connection, number, info))
        state.connection.know_class(number, made)
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], names: dict[str, Any], **options: Any) -> None:
        super().__init__(name, bases, names)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an object of the class."""
        state = class_state(cls)
        made = state.connection.ask("call", cls, args, kwargs)
        if is_proxy(made):
            state_of(made).made_of = (cls, args, kwargs, list(parts_of((args, kwargs))))
        return made

    def __getattribute__(cls, name: str) -> Any:
        """Return an attribute of the class."""
        if (name.startswith("__") and name.endswith("__") and name != "__signature__") or name.startswith("_abc_"):
            return type.__getattribute__(cls, name)
        if name in ("_class_state", "register", "mro") or cls is RemoteObject:
            return type.__getattribute__(cls, name)
        if name.startswith(_NEVER_ASKED):
            raise AttributeError(name)
        return _attribute_of_class(cls, name)

    def __setattr__(cls, name: str, thing: Any) -> None:
        if name.startswith(("__", "_abc_")):
            type.__setattr__(cls, name, thing)
        else:
            class_state(cls).connection.ask("set", cls, name, thing)

    def __delattr__(cls, name: str) -> None:
        class_state(cls).connection.ask("delete", cls, name)

    def __bool__(cls) -> bool:
        return True

    def __len__(cls) -> int:
        length: int = class_state(cls).connection.ask("special", "len", (cls,))
        return length

    def __iter__(cls) -> Iterator[Any]:
        items: Iterator[Any] = class_state(cls).connection.ask("special", "iter", (cls,))
        return items

    def __getitem__(cls, key: Any) -> Any:
        return class_state(cls).connection.ask("special", "getitem", (cls, key))

    def __contains__(cls, item: Any) -> bool:
        return any(item is each or item == each for each in cls)

    def __or__(cls, other: Any) -> Any:
        return type.__or__(cls, other)


def _attribute_of_class(kind: Any, name: str) -> Any:
    state = class_state(kind)
    if name == "__signature__":
        return signature_of(state.connection, kind)
    found = state.connection.ask("get", kind, name)
    thing = RemoteMethod(state.connection, kind, name) if found[0] == "method" else found[1]
    if (
        state.info.equality == "identity"
        and "enum" in state.info.special
        and is_proxy(thing)
        and isinstance(thing, kind)
    ):
        called = state.connection.ask("get", thing, "name")[1]
        if called != name and not state.connection.allow_forgeable:
            why = f"{state.info.name}.{name} is the same member as {called!r}: a test could not tell them apart"
            raise state.connection.invalidate(ForgeableError(why))
    return thing


class RemoteObject(metaclass=RemoteType):
    """Proxy of an object of the program."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: this is what `super().__init__` of a test's class comes to where the program has none."""

    def __getattribute__(self, name: str) -> Any:
        """Return an attribute of the object."""
        if name.startswith("__") and name.endswith("__") and name not in _ASKED_NAMES:
            return object.__getattribute__(self, name)
        if name.startswith(_NEVER_ASKED):
            raise AttributeError(name)
        if name in _OWN_METHODS and name in type.__getattribute__(type(self), "__dict__"):
            return object.__getattribute__(self, name)
        return _attribute(self, name)

    def __setattr__(self, name: str, thing: Any) -> None:
        """Set an attribute of the object."""
        state_of(self).connection.ask("set", self, name, thing)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute of the object."""
        state_of(self).connection.ask("delete", self, name)

    def __repr__(self) -> str:
        """Return the object's own."""
        text: str = state_of(self).connection.ask("special", "repr", (self,))
        return text

    def __str__(self) -> str:
        """Return the object's own."""
        text: str = state_of(self).connection.ask("special", "str", (self,))
        return text

    def __dir__(self) -> list[str]:
        """Return the names of the object's attributes."""
        names: list[str] = state_of(self).connection.ask("special", "dir", (self,))
        return names

    def __copy__(self) -> Any:
        """Copy the object, in the program's process."""
        return state_of(self).connection.ask("special", "copy", (self,))

    def __deepcopy__(self, memo: Any) -> Any:
        """Copy the object with all that it holds."""
        return state_of(self).connection.ask("special", "deepcopy", (self,))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Let pickle keep which object it is: reading that copies it by pickle in the program's process."""
        _pickled.append(self)
        sys.modules["pickled"] = _PICKLED
        return _unpickled, (len(_pickled) - 1,)


_pickled: list[Any] = []
_PICKLED = types.ModuleType("pickled")


def _unpickled(number: int) -> Any:
    thing = _pickled[number]
    return state_of(thing).connection.ask("pickled", thing)


# Under this name pickle finds the function again; it looks for modules that are loaded.
_unpickled.__module__ = "pickled"
_PICKLED._unpickled = _unpickled  # type: ignore[attr-defined]  # as a module has its functions


SPECIAL = Special(is_proxy)

for _name in ("__eq__", "__ne__"):
    type.__setattr__(RemoteObject, _name, SPECIAL.methods[_name])
type.__setattr__(RemoteObject, "__hash__", object.__hash__)


def _attribute(thing: Any, name: str) -> Any:
    state = state_of(thing)
    connection = state.connection
    if name == "__dict__":
        return connection.ask("states", [thing])[0][1]
    if name == "__signature__":
        return signature_of(connection, thing)
    if name == "__code__":
        code = connection.ask("get", thing, "__code__")[1]
        names = ("co_flags", "co_argcount", "co_varnames", "co_name", "co_kwonlyargcount", "co_posonlyargcount")
        return types.SimpleNamespace(**{each: connection.ask("get", code, each)[1] for each in names})
    connection.note_use(thing)
    found = connection.ask("get", thing, name)
    return RemoteMethod(connection, thing, name) if found[0] == "method" else found[1]


class RemoteMethod:
    """A method of an object or of a class of the program."""

    def __init__(self, connection: Asked, holder: Any, name: str) -> None:
        self._connection = connection
        self.__self__ = holder
        self.__name__ = self.__qualname__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        if is_proxy(self.__self__):
            self._connection.note_use(self.__self__)
        return self._connection.ask("method", self.__self__, self.__name__, args, kwargs)

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same method of the same object."""
        return isinstance(other, RemoteMethod) and (self.__self__ is other.__self__ and self.__name__ == other.__name__)

    def __hash__(self) -> int:
        return hash((id(self.__self__), self.__name__))

    @property
    def __signature__(self) -> inspect.Signature:
        return signature_of(self._connection, self)

    @property
    def __doc__(self) -> Any:  # type: ignore[override]  # the program's, not this class's
        return self._connection.ask("get", self, "__doc__")[1]

    def __getattr__(self, name: str) -> Any:
        if name.startswith(_NEVER_ASKED):
            raise AttributeError(name)
        return self._connection.ask("get", self, name)[1]


def signature_of(connection: Asked, function: Any) -> inspect.Signature:
    """Return the signature of a function of the program."""
    described = connection.ask("signature", function)
    if described is None:
        raise ValueError("no signature")
    empty = inspect.Parameter.empty
    return inspect.Signature(
        [
            inspect.Parameter(
                name, inspect._ParameterKind(kind), default=default if has_default else empty,
                annotation=empty if annotation is None else annotation,
            )
            for name, kind, has_default, default, annotation in described
        ]
    )  # fmt: skip


# ---- making stand-ins

_VALUES: dict[str, Any] = {kind.__name__: kind for kind in (int, float, complex, str, bytes, tuple, frozenset)} | {
    "bool": int
}

_CONTENTS: dict[str, Any] = {"list": list, "dict": dict, "set": set, "bytearray": bytearray}

_ROUTINES: dict[str, Any] = {
    "function": types.FunctionType,
    "generator": types.GeneratorType,
    "method": types.MethodType,
    "builtin_function_or_method": types.BuiltinFunctionType,
    "coroutine": types.CoroutineType,
    "async_generator": types.AsyncGeneratorType,
    "module": types.ModuleType,
}


def make_class(connection: Asked, number: Any, about: dict[str, Any], bases: list[Any]) -> Any:
    """Return the stand-in for a class of the program."""
    infos = tuple(class_state(base).info for base in bases if is_proxy_class(base))
    info = ClassInfo(
        name=about["name"],
        value=about["value"],
        content=about["content"],
        special=frozenset([*about["special"], *(["enum"] if about["enum"] else [])]),
        equality=about["equality"],
        fields=None
        if about["fields"] is None
        else tuple((name, bool(compared)) for name, compared, _ in about["fields"]),
        bases=infos,
    )
    names: dict[str, Any] = {"_class_state": State(connection, number, info), "__doc__": about["doc"]}
    names |= {"__module__": about["module"], "__qualname__": about["qualname"]}
    own = [name for name in about["methods"] if not name.startswith("__") or name == "__init__"]
    names |= {name: _super_method(connection, number, name) for name in own}
    names |= _special_methods(info, about)
    twin = _twin(about, info)
    if twin is not None:
        names["__class__"] = property(lambda self: twin)
    if about["fields"] is not None:
        names |= _dataclass_marks(about["fields"])
    stand_ins = [base for base in bases if is_proxy_class(base)] or [RemoteObject]
    value = [] if info.value is None or any(each.value for each in infos) else [_VALUES[info.value]]
    return RemoteType(about["name"], (*stand_ins, *value), names)


def _special_methods(info: ClassInfo, about: dict[str, Any]) -> dict[str, Any]:
    """Return the special methods of a class that its instances answer to."""
    wanted = set(info.special) - {"__eq__", "__ne__", "__hash__"}
    if info.value is not None:  # the built-in type's own, but for what a class that the tests name overrides
        wanted &= set(about["overrides"]) | ({"__str__", "__repr__", "__format__"} & wanted)
    methods = {name: SPECIAL.methods[name] for name in wanted if name in SPECIAL.methods}
    if info.value is not None:
        methods = {name: _if_named(info, name, method) for name, method in methods.items()}
    if not about["hashable"]:
        methods["__hash__"] = None
    elif "__hash__" in info.special:
        methods["__hash__"] = SPECIAL.methods["__hash__"]
    if info.value is not None and info.equality == "base":
        plain = _VALUES[info.value].__eq__
        methods["__eq__"] = lambda thing, other: equal_values(thing, other, plain, is_proxy)
        methods["__ne__"] = _VALUES[info.value].__ne__
        methods["__hash__"] = _VALUES[info.value].__hash__
    if about["module"] == "builtins" and about["name"] == "generator":
        methods |= {"send": resumed("send"), "throw": resumed("throw")}
    if about["module"] == "builtins" and about["name"] == "coroutine":
        methods |= {name: running(name) for name in ("send", "throw", "close")}
    return methods


def _if_named(info: ClassInfo, name: str, method: Any) -> Any:
    """Return a special method that the program decides only where the tests name the class, else the built-in one."""
    plain = getattr(_VALUES[info.value or ""], name, None)

    def chosen(thing: Any, *args: Any, **kwargs: Any) -> Any:
        return (method if info.is_named or plain is None else plain)(thing, *args, **kwargs)

    return chosen


def _super_method(connection: Asked, number: Any, name: str) -> Callable[..., Any]:
    """Return what `super().name(...)` in a class of the tests calls: the method of this very class."""

    def method(thing: Any, *args: Any, **kwargs: Any) -> Any:
        return connection.ask("method", connection.class_of(number), name, (thing, *args), kwargs)

    method.__name__ = name
    return method


def _twin(about: dict[str, Any], info: ClassInfo) -> Any:
    """Return the class that `isinstance` also takes instances for: of the standard library, or a built-in container."""
    if info.content is not None:
        return type(about["name"], (_CONTENTS[info.content],), {})
    if about["known"] is None:
        return _ROUTINES.get(about["name"]) if about["module"] == "builtins" else None
    found: Any = sys.modules.get(about["known"][0])
    for part in about["known"][1].split("."):
        found = getattr(found, part, None)
    is_value = not isinstance(found, type) or found in BUILT_IN or found in BY_KIND or issubclass(found, BaseException)
    return None if is_value else found


def _dataclass_marks(fields: list[list[Any]]) -> dict[str, Any]:
    """Return what makes `dataclasses.asdict` and the like see a data class."""
    listed = [
        (name, Any, dataclasses.field(default=None, compare=compared, init=init)) for name, compared, init in fields
    ]
    made: Any = dataclasses.make_dataclass("_", listed)
    return {
        "__dataclass_fields__": made.__dataclass_fields__,
        "__match_args__": tuple(name for name, _, init in fields if init),
    }


def make_object(connection: Asked, number: int, kind: Any, given: Any) -> Any:
    """Return the proxy for an object of a class."""
    info = class_state(kind).info
    state = State(connection, number, info, given)
    if info.value is not None:
        if given is None or type(given[0]) is not _VALUES[info.value]:
            raise TypeError("no value of its class")
        thing = _VALUES[info.value].__new__(kind, given[0])
    else:
        thing = object.__new__(kind)
    object.__setattr__(thing, "_state", state)
    if given is None and info.equality != "identity":
        connection.undescribed.append(thing)
    return thing
