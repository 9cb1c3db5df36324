"""The tests' side of mode `split`: run trusted test text beside stand-ins for the program, and write down how it ended.

This process has the only descriptor that outcomes are written to. The program is in another one.
"""

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

from reasonrl.sandbox.child.program import ANSWERS, CHANNEL
from reasonrl.sandbox.child.proxies import GoneError, Held, Link, Module, SpoiledError, names_bound
from reasonrl.sandbox.child.records import describe, failure, write

# Any: JSON that judge.py wrote.
Script = dict[str, Any]


def drive(text: str) -> None:
    """Run the tests of a script, until they end or the program does."""
    script: Script = json.loads(text)
    with open(CHANNEL, "rb", closefd=False) as replies:
        link = Link(CHANNEL, replies, script["allow_forgeable"])
        try:
            link.wait()
            FORMS[script["form"]](script, link)
        except GoneError:
            return


def tell(link: Link, number: int, error: BaseException | None, where: str) -> None:
    """Write how a test ended, whatever it caught. Of one that the program did not live through, the host knows more."""
    error = link.why_spoiled() or error
    if not link.gone:
        write(ANSWERS, _line(link, number, error, where))


def _line(link: Link, number: int, error: BaseException | None, where: str) -> str:
    """Return the record of a test: true, or why it is not."""
    if error is None:
        return json.dumps({"i": number, "v": True})
    record = link.record_of(error)
    if record and record.outcome:
        return failure(number, record.outcome, f"{record.detail}, in {where}")
    return failure(number, "failed", f"{describe(error)}, in {where}")


def asserts(script: Script, link: Link) -> None:
    """Run statement after statement, and go on where one fails that is a test of its own.

    After one that fails and is none, every test fails, and if none follows, that is a failed test too.
    """
    namespace = {"__name__": "__main__", **{name: import_module(name) for name in script["modules"]}}
    numbers, broken, is_told = count(), _raised(script["setup"], namespace), True
    namespace |= names_bound(link, script["aliases"], script["entry"], script["names"])
    for source, is_test in script["statements"]:
        error = broken or _raised(source, namespace)
        if is_test:
            tell(link, next(numbers), error, source)
        elif error:
            broken = error
        is_told = is_test or (is_told and error is None)
    if not is_told:
        tell(link, next(numbers), broken, "a statement after the last test")


def _raised(source: str, namespace: dict[str, Any]) -> BaseException | None:
    """Run test text and return what it raised."""
    try:
        exec(compile(source, "<tests>", "exec", dont_inherit=True), namespace)
    except BaseException as error:
        return error
    return None


def file(script: Script, link: Link) -> None:
    """Run a file for unittest or pytest. It is never on disk: the program could look for it there."""
    sys.modules[script["module"]] = Module(link, script["module"], script["names"])
    tests = ModuleType("tests")
    sys.modules["tests"] = tests
    error = _raised(script["source"], tests.__dict__)
    if isinstance(error, ModuleNotFoundError) and link.record_of(error) is None:
        write(ANSWERS, json.dumps({"unusable": error.name}))
    elif error is not None:
        tell(link, 0, error, "the file of tests")
    else:
        run = _run_pytest if "pytest" in sys.modules else _run_unittest
        run(tests, link)


def _run_unittest(tests: ModuleType, link: Link) -> None:
    """Run test cases, and functions by the name of `test`."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(tests)
    for name, thing in vars(tests).items():
        if name.startswith("test") and callable(thing) and getattr(thing, "__module__", "") == tests.__name__:
            suite.addTest(unittest.FunctionTestCase(thing, description=name))
    suite.addTests(map(unittest.FunctionTestCase, _of_plain_classes(tests)))
    outcomes = _Outcomes(link, list(_each(suite)))
    write(ANSWERS, json.dumps({"tests": suite.countTestCases()}))
    try:
        suite.run(outcomes)
    except (GoneError, SpoiledError) as error:  # Of a class's own set-up or teardown; a test's own end in it.
        outcomes.finish(error)
    else:
        outcomes.finish(AssertionError("it did not run"))


def _each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Give the tests of a suite in the order in which they run."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _each(test)
        else:
            yield test


ErrorInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class _Outcomes(unittest.TestResult):
    """Tells one outcome of each test: its first failure, whether its own, of a subtest, or of a teardown after it.

    A test is told when the next one begins: a failed `tearDownClass` is one of the class's last test. A test that skips
    itself has not passed: the program may have given it the reason.
    """

    def __init__(self, link: Link, tests: Sequence[unittest.TestCase]) -> None:
        super().__init__()
        self.link = link
        self.waiting = {id(test): (number, test) for number, test in enumerate(tests)}
        self.test: unittest.TestCase | None = None
        self.error: BaseException | None = None
        self.unprepared: dict[str, BaseException] = {}

    def startTest(self, test: unittest.TestCase) -> None:
        self._tell()
        self.test, self.error = test, _why_idle(test)

    def finish(self, unrun: BaseException) -> None:
        """Tell the last test, and those that did not run: what prepares them failed, or else for `unrun`."""
        self._tell()
        for number, test in self.waiting.values():
            names = (f"setUpClass ({strclass(type(test))})", f"setUpModule ({type(test).__module__})")
            error = next((self.unprepared[name] for name in names if name in self.unprepared), unrun)
            tell(self.link, number, error, str(test))

    def _tell(self) -> None:
        """Tell the test that has ended, if there is one."""
        number, test = self.waiting.pop(id(self.test), (0, None))
        if test is not None:
            tell(self.link, number, self.error, str(test))

    def _fail(self, test: unittest.TestCase, error: BaseException) -> None:
        """Keep the first failure of the test, or of what prepares tests that then do not run."""
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
        """Take it for a success, which it is."""

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: ErrorInfo | None) -> None:
        if err is not None:
            self._fail(test, _raised_in(err))


# Any: a test knows its function under names of its own.
def _why_idle(test: Any) -> BaseException | None:
    """Return why a test would run nothing when it is called: a coroutine that nobody awaits, or a generator."""
    if isinstance(test, unittest.IsolatedAsyncioTestCase):
        return None
    function = getattr(test, "_testFunc", None) or getattr(test, test._testMethodName, None)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return AssertionError("the test is a coroutine or a generator, which unittest calls and does not run")
    return None


def _of_plain_classes(tests: ModuleType) -> Iterator[Callable[[], None]]:
    """Give the tests of classes that are named as pytest has it and are no `TestCase`."""
    for name, kind in vars(tests).items():
        if name.startswith("Test") and isinstance(kind, type) and not issubclass(kind, (unittest.TestCase, Held)):
            yield from (_on_new(kind, method) for method in vars(kind) if method.startswith("test"))


def _on_new(kind: type, method: str) -> Callable[[], None]:
    """Return a test that calls a method of a new object."""

    def test() -> None:
        if getattr(kind(), method)() is not None:
            raise AssertionError("the test returns something: a coroutine or a generator has not run")

    return test


def _raised_in(err: ErrorInfo) -> BaseException:
    return err[1] or AssertionError("no exception")


def _run_pytest(tests: ModuleType, link: Link) -> None:
    """Run the file as pytest does. It has no path, so pytest is led to it by that of a file that exists."""
    pytest = sys.modules["pytest"]

    class File(pytest.Module):  # type: ignore[name-defined, misc]  # pytest is there only where a sandbox preimports it
        def _getobj(self) -> ModuleType:
            return tests

    path = str(pytest.__file__)
    options = ("-q", "-s", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:faulthandler")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    pytest.main([*options, "--confcutdir", os.path.dirname(path), path], plugins=[_Plugin(link, File.from_parent)])


class _Plugin:
    """Gives pytest its one file, and tells one outcome of each test: its first failure, from set-up to teardown."""

    def __init__(self, link: Link, collect: Callable[..., object]) -> None:
        self.link = link
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
            tell(self.link, next(self.numbers), self.error, item.name)
            self.error = None


FORMS: dict[str, Callable[[Script, Link], None]] = {"asserts": asserts, "file": file}
"""What to do with each form of test text."""
