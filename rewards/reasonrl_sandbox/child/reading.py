"""Reads test text for what its comparisons rest on, before it runs.

Two things of the program could decide a test by themselves, if the test let them:

- an argument that the program changes. A test sees the change only where it compares the argument itself to something
  that does not come from the program, as in `f(items); assert items == [1, 2, 3]`, or asserts something of it alone, as
  in `assert not items`, and nowhere compares it with a result. Elsewhere it keeps its own copy, so that
  `assert f(items) == sorted(items)` is about the items that it gave;
- a value that the program defines, as in `assert f(2) == EXPECTED`. Such a value may not be what a result of the
  program is compared with.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Places = dict[int, set[int | str]]
"""Lines of calls, and which of their arguments the program may change: positions and names."""


@dataclass
class Reading:
    """What is found in test text."""

    changed: Places = field(default_factory=dict)
    """Arguments whose changes the tests look at."""
    compared: set[str] = field(default_factory=set)
    """Names of the program that its own results are compared with."""


def read(tree: ast.Module, names: Sequence[str], module: str | None) -> Reading:
    """Read test text.

    Args:
        tree: The text.
        names: Names in it that stand for something of the program, without being imported.
        module: Name by which it imports the program.
    """
    reading = Reading()
    program = {*names, *_imported(tree, module)}
    _Scope(reading, program, module, set()).read_all(tree.body)
    return reading


def _imported(tree: ast.Module, module: str | None) -> Iterator[str]:
    """Yield the names under which text imports the program, or things of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == module and module:
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.asname or alias.name for alias in node.names if alias.name == module)


@dataclass
class _Passed:
    """An argument in a call of the program."""

    call: ast.Call
    position: int | str


class _Scope:
    """The statements of one function, or of the text itself, in their order."""

    def __init__(self, reading: Reading, program: set[str], module: str | None, results: set[str]) -> None:
        self.reading = reading
        self.program = program
        self.module = module
        self.results = set(results)
        self.passed: dict[str, list[_Passed]] = {}
        self.alone: list[tuple[str, list[_Passed]]] = []
        self.mixed: set[str] = set()

    def read_all(self, body: Sequence[ast.stmt]) -> None:
        """Read all statements of a scope."""
        self.read(body)
        for text, passed in self.alone:
            if text not in self.mixed:
                self.look_at(passed)

    def read(self, body: Sequence[ast.stmt]) -> None:
        """Read statements one after the other."""
        for statement in body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                _Scope(self.reading, self.program, self.module, self.results).read_all(statement.body)
            elif isinstance(statement, ast.ClassDef):
                self.read(statement.body)
            else:
                self.statement(statement)

    def statement(self, statement: ast.stmt) -> None:
        """Read one statement, and those within it."""
        blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
        blocks += [handler.body for handler in getattr(statement, "handlers", [])]
        for node in _own_nodes(statement):
            self.node(node)
        self.note_assertion(statement)
        for targets, value in _bindings(statement):
            self.bind(targets, value)
        if isinstance(statement, ast.Return) and statement.value is not None:
            self.look_at(self.passed.get(ast.unparse(statement.value), []))
        for block in blocks:
            self.read(block)

    def node(self, node: ast.AST) -> None:
        if isinstance(node, ast.Call) and self.is_of_program(node.func):
            named = [(word.arg or "", word.value) for word in node.keywords]
            places: list[tuple[int | str, ast.expr]] = [*enumerate(node.args), *named]
            for position, argument in places:
                if isinstance(argument, (ast.Name, ast.Attribute, ast.Subscript)):
                    self.passed.setdefault(ast.unparse(argument), []).append(_Passed(node, position))
        elif isinstance(node, ast.Compare):
            self.compare([node.left, *node.comparators])
        elif isinstance(node, ast.Call) and _name_of(node.func).startswith(
            ("assert", "isclose", "allclose", "array_eq")
        ):
            self.compare(node.args[:2])

    def note_assertion(self, statement: ast.stmt) -> None:
        """Note the arguments in an assertion: whether it is about them alone, or mixes them with results."""
        match statement:
            case ast.Assert(test=tested):
                pass
            case ast.Expr(value=ast.Call(func=function) as tested) if _name_of(function).startswith("assert"):
                pass
            case _:
                return
        parts = (each for each in ast.walk(tested) if isinstance(each, (ast.Name, ast.Attribute, ast.Subscript)))
        texts = {ast.unparse(each) for each in parts} & self.passed.keys()
        if self.is_result(tested):
            self.mixed |= texts
        else:
            self.alone += [(text, list(self.passed[text])) for text in texts]

    def bind(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        """Note which names hold results of the program from here on."""
        names = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        if self.depends(value):
            self.results |= names
        else:
            self.results -= names
            for name in names:
                self.passed.pop(name, None)

    def is_of_program(self, function: ast.expr) -> bool:
        """Return whether what is called is the program's, or a method of one of its results."""
        root: ast.expr = function
        while isinstance(root, (ast.Attribute, ast.Call, ast.Subscript)):
            root = root.func if isinstance(root, ast.Call) else root.value
        return isinstance(root, ast.Name) and root.id in self.program | self.results

    def depends(self, node: ast.expr) -> bool:
        """Return whether an expression comes from the program, or from an argument that it had."""
        for each in _without_places(node):
            if isinstance(each, ast.Name) and (each.id in self.results or each.id in self.program):
                return True
            if isinstance(each, (ast.Name, ast.Attribute, ast.Subscript)) and ast.unparse(each) in self.passed:
                return True
        return False

    def compare(self, sides: Sequence[ast.expr]) -> None:
        """Read a comparison."""
        for index, side in enumerate(sides):
            others = [other for number, other in enumerate(sides) if number != index]
            if others and not all(map(self.depends, others)):
                self.look_at(self.passed.get(_subject(side), []))
            if any(self.is_result(other) for other in others):
                self.reading.compared |= set(self.values_in(side))

    def look_at(self, places: Sequence[_Passed]) -> None:
        """Note that the tests look at an argument that they have passed."""
        for passed in places:
            for line in range(passed.call.lineno, (passed.call.end_lineno or passed.call.lineno) + 1):
                self.reading.changed.setdefault(line, set()).add(passed.position)

    def is_result(self, node: ast.expr) -> bool:
        """Return whether an expression holds something that the program has computed."""
        return any(
            (isinstance(each, ast.Call) and self.is_of_program(each.func))
            or (isinstance(each, ast.Name) and each.id in self.results)
            for each in ast.walk(node)
        )

    def values_in(self, node: ast.expr) -> Iterator[str]:
        """Yield names of the program that an expression reads, but for what it calls and passes to the program."""
        if isinstance(node, ast.Call) and self.is_of_program(node.func):
            return
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == self.module:
            yield node.attr
        elif isinstance(node, ast.Name) and node.id in self.program:
            yield node.id
        elif not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    yield from self.values_in(child)


def _without_places(node: ast.expr) -> Iterator[ast.AST]:
    """Yield the nodes of an expression, but for indices: `wanted[:count]` is what the tests want."""
    todo: list[ast.AST] = [node]
    while todo:
        each = todo.pop()
        yield each
        todo += [each.value] if isinstance(each, ast.Subscript) else ast.iter_child_nodes(each)


def _own_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes of a statement's own expressions, not of statements within it."""
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        yield node
        children = ast.iter_child_nodes(node)
        todo += [child for child in children if not isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case))]


def _bindings(statement: ast.stmt) -> Iterator[tuple[Sequence[ast.expr], ast.expr]]:
    """Yield the targets that a statement assigns to, and the values."""
    if isinstance(statement, ast.Assign):
        yield statement.targets, statement.value
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)) and statement.value is not None:
        yield [statement.target], statement.value
    elif isinstance(statement, (ast.For, ast.AsyncFor)):
        yield [statement.target], statement.iter
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        yield from (([item.optional_vars], item.context_expr) for item in statement.items if item.optional_vars)


def _subject(node: ast.expr) -> str:
    """Return the text of what an expression looks at: of `items[:2]` it is `items`."""
    while isinstance(node, ast.Subscript) and isinstance(node.slice, (ast.Slice, ast.Constant, ast.Name, ast.UnaryOp)):
        node = node.value
    return ast.unparse(node)


def _name_of(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
