"""The tests' side of mode `split`: runs trusted test text against proxies of the program, and records the outcomes.

Outcomes are written to a descriptor that only this process has. The program runs in another process.
"""

import ast
import inspect
import json
import os
import sys
import unittest
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import count
from types import ModuleType, TracebackType
from typing import Any
from unittest.util import strclass

from reasonrl_sandbox.child.connection import TESTS, Connection
from reasonrl_sandbox.child.handles import CandidateGoneError, ForgeableError, InvalidTestError
from reasonrl_sandbox.child.program import ANSWERS, CHANNEL
from reasonrl_sandbox.child.proxies import ModuleProxy, bind_names
from reasonrl_sandbox.child.reading import read
from reasonrl_sandbox.child.records import describe, failure, write
from reasonrl_sandbox.child.references import RemoteObject

# Any: JSON that judge.py wrote.
Script = dict[str, Any]


def run_tests(text: str) -> None:
    """Run the tests of a script, until they end or the program does."""
    script: Script = json.loads(text)
    with open(CHANNEL, "rb", closefd=False) as replies:
        connection = Connection(CHANNEL, replies, script["allow_forgeable"])
        try:
            connection.wait()
            connection.mirror_seeds()
            FORMS[script["form"]](script, connection)
        except CandidateGoneError:
            return


def write_outcome(connection: Connection, number: int, error: BaseException | None, where: str) -> None:
    """Write how a test ended, whatever it caught.

    If the program's process has ended, nothing is written: the host knows why it ended and reports that.
    """
    swallowed = connection.take_swallowed()
    error = connection.take_invalid() or error or swallowed
    if not connection.gone:
        write(ANSWERS, _line(connection, number, error, where))


def _line(connection: Connection, number: int, error: BaseException | None, where: str) -> str:
    """Return the record of a test: true, or why it failed."""
    if error is None:
        return json.dumps({"i": number, "v": True})
    record = connection.record_of(error)
    if record and record.outcome:
        return failure(number, record.outcome, f"{record.detail}, in {where}")
    if isinstance(error, ForgeableError):
        return failure(number, "unscorable", str(error))
    return failure(number, "failed", f"{describe(error)}, in {where}")


def run_asserts(script: Script, connection: Connection) -> None:
    """Run statement after statement; a test that fails does not stop the ones after it.

    After another statement fails, every later test fails; if none follows, that counts as one more failed test.
    """
    namespace = {"__name__": "__main__", **{name: import_module(name) for name in script["modules"]}}
    numbers, broken, is_reported = count(), _raised(script["setup"], namespace), True
    trees = _parsed([source for source, _ in script["statements"]])
    _read(connection, [node for tree in trees for node in tree.body], [*script["aliases"], *script["names"]], None)
    broken = _bound(connection, script, namespace) or broken
    for (source, is_test), tree in zip(script["statements"], trees, strict=True):
        error = broken or _raised(tree, namespace)
        if is_test:
            write_outcome(connection, next(numbers), error, source)
        elif error:
            broken = error
        is_reported = is_test or (is_reported and error is None)
    if not is_reported:
        write_outcome(connection, next(numbers), broken, "a statement after the last test")


def _parsed(sources: Sequence[str]) -> list[ast.Module]:
    """Parse statements, whose lines are counted on from one to the next."""
    trees, first = [], 0
    for source in sources:
        trees.append(ast.increment_lineno(ast.parse(source), first))
        first += source.count("\n") + 1
    return trees


def _read(connection: Connection, body: list[ast.stmt], names: Sequence[str], module: str | None) -> None:
    """Tell the connection what the tests' comparisons rest on."""
    reading = read(ast.Module(body, []), names, module)
    connection.changed, connection.compared = reading.changed, frozenset(reading.compared)


def _bound(connection: Connection, script: Script, namespace: dict[str, Any]) -> BaseException | None:
    """Add the program's names to the namespace of test text; return what that raised."""
    try:
        namespace |= bind_names(connection, script["aliases"], script["entry"], script["names"])
    except BaseException as error:
        return error
    return None


def _raised(code: str | ast.Module, namespace: dict[str, Any]) -> BaseException | None:
    """Run test text; return what it raised."""
    try:
        exec(compile(code, TESTS, "exec", dont_inherit=True), namespace)
    except BaseException as error:
        return error
    return None


def run_file(script: Script, connection: Connection) -> None:
    """Run a file for unittest or pytest. It is never written to disk, where the program could read it."""
    sys.modules[script["module"]] = ModuleProxy(connection, script["module"], script["names"])
    tests = ModuleType("tests")
    sys.modules["tests"] = tests
    _read(connection, ast.parse(script["source"]).body, script["names"], script["module"])
    error = _raised(script["source"], tests.__dict__)
    if isinstance(error, ModuleNotFoundError) and connection.record_of(error) is None:
        write(ANSWERS, json.dumps({"unusable": error.name}))
    elif error is not None:
        write_outcome(connection, 0, error, "the file of tests")
    else:
        run = _run_pytest if "pytest" in sys.modules else _run_unittest
        run(tests, connection)


def _run_unittest(tests: ModuleType, connection: Connection) -> None:
    """Run test cases, and functions whose names begin with `test`."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(tests)
    for name, thing in vars(tests).items():
        if name.startswith("test") and callable(thing) and getattr(thing, "__module__", "") == tests.__name__:
            suite.addTest(unittest.FunctionTestCase(thing, description=name))
    suite.addTests(map(unittest.FunctionTestCase, _of_plain_classes(tests)))
    outcomes = _OutcomeWriter(connection, list(_each(suite)))
    write(ANSWERS, json.dumps({"tests": suite.countTestCases()}))
    try:
        suite.run(outcomes)
    except (CandidateGoneError, InvalidTestError) as error:
        outcomes.finish(error)  # of a class's set-up or teardown; unittest catches those of a test itself
    else:
        outcomes.finish(AssertionError("it did not run"))


def _each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Yield the tests of a suite in the order in which they run."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _each(test)
        else:
            yield test


ErrorInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class _OutcomeWriter(unittest.TestResult):
    """Writes one outcome for each test: its first failure, whether its own, of a subtest, or of a teardown after it.

    A test is written when the next one begins: a failed `tearDownClass` counts for the class's last test. A test that
    skips itself has not passed: the program may have given it the reason.
    """

    def __init__(self, connection: Connection, tests: Sequence[unittest.TestCase]) -> None:
        super().__init__()
        self.connection = connection
        self.waiting = {id(test): (number, test) for number, test in enumerate(tests)}
        self.test: unittest.TestCase | None = None
        self.error: BaseException | None = None
        self.unprepared: dict[str, BaseException] = {}

    def startTest(self, test: unittest.TestCase) -> None:
        self._write_last()
        self.test, self.error = test, _why_never_runs(test)

    def finish(self, unrun: BaseException) -> None:
        """Write the last test, and those that did not run: a failed set-up is the reason, or else `unrun`."""
        self._write_last()
        for number, test in self.waiting.values():
            names = (f"setUpClass ({strclass(type(test))})", f"setUpModule ({type(test).__module__})")
            error = next((self.unprepared[name] for name in names if name in self.unprepared), unrun)
            write_outcome(self.connection, number, error, str(test))

    def _write_last(self) -> None:
        """Write the test that has ended, if there is one."""
        number, test = self.waiting.pop(id(self.test), (0, None))
        if test is not None:
            write_outcome(self.connection, number, self.error, str(test))

    def _fail(self, test: unittest.TestCase, error: BaseException) -> None:
        """Keep the first failure of the test, or of a set-up whose tests then do not run."""
        if test.id().startswith(("setUpClass (", "setUpModule (")):
            self.unprepared.setdefault(test.id(), error)
        elif self.error is None:
            self.error = error

    def addFailure(self, test: unittest.TestCase, err: ErrorInfo) -> None:
        self._fail(test, _raised_in(err))

    def addError(self, test: unittest.TestCase, err: ErrorInfo) -> None:
        self._fail(test, _raised_in(err))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._fail(test, unittest.SkipTest(reason))

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._fail(test, AssertionError("a success that the test did not expect"))

    def addExpectedFailure(self, test: unittest.TestCase, err: ErrorInfo) -> None:
        """Count it as passed."""

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: ErrorInfo | None) -> None:
        if err is not None:
            self._fail(test, _raised_in(err))


# Any: the attribute with the function differs between kinds of tests.
def _why_never_runs(test: Any) -> BaseException | None:
    """Return why a call of the test would run nothing: unittest neither awaits coroutines nor iterates generators."""
    if isinstance(test, unittest.IsolatedAsyncioTestCase):
        return None
    function = getattr(test, "_testFunc", None) or getattr(test, test._testMethodName, None)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return AssertionError("the test is a coroutine or a generator, which unittest calls and does not run")
    return None


def _of_plain_classes(tests: ModuleType) -> Iterator[Callable[[], None]]:
    """Yield the tests of classes that pytest would collect by their names and that are no `TestCase`."""
    for name, kind in vars(tests).items():
        is_collected = name.startswith("Test") and isinstance(kind, type)
        if is_collected and not issubclass(kind, (unittest.TestCase, RemoteObject)):
            yield from (_on_new(kind, method) for method in vars(kind) if method.startswith("test"))


def _on_new(kind: type, method: str) -> Callable[[], None]:
    """Return a test that calls a method on a new object."""

    def test() -> None:
        if getattr(kind(), method)() is not None:
            raise AssertionError("the test returns something: a coroutine or a generator has not run")

    return test


def _raised_in(err: ErrorInfo) -> BaseException:
    return err[1] or AssertionError("no exception")


def _run_pytest(tests: ModuleType, connection: Connection) -> None:
    """Run the file with pytest, which collects only existing paths: that of pytest itself stands for it."""
    pytest = sys.modules["pytest"]

    class File(pytest.Module):  # type: ignore[name-defined, misc]  # pytest is there only where a sandbox preimports it
        def _getobj(self) -> ModuleType:
            return tests

    path = str(pytest.__file__)
    options = ("-q", "-s", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:faulthandler")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugin = _Plugin(connection, File.from_parent)
    pytest.main([*options, "--confcutdir", os.path.dirname(path), path], plugins=[plugin])


class _Plugin:
    """Gives pytest its one file, and writes one outcome for each test: its first failure, from set-up to teardown."""

    def __init__(self, connection: Connection, collect: Callable[..., object]) -> None:
        self.connection = connection
        self.collect = collect
        self.numbers = count()
        self.error: BaseException | None = None

    def pytest_collect_file(self, file_path: object, parent: object) -> object:
        return self.collect(parent, path=file_path)

    # Any: sessions, items and calls are pytest's own, which is no dependency of ours.
    def pytest_collection_finish(self, session: Any) -> None:
        write(ANSWERS, json.dumps({"tests": len(session.items)}))

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        if self.error is None and call.excinfo is not None:
            self.error = call.excinfo.value
        if call.when == "teardown":
            write_outcome(self.connection, next(self.numbers), self.error, item.name)
            self.error = None


FORMS: dict[str, Callable[[Script, Connection], None]] = {"asserts": run_asserts, "file": run_file}
"""The function that runs each form of test text."""
