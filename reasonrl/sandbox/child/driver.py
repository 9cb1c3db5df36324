"""The tests' side of mode `split`: run trusted test text beside stand-ins for the program, and write down how it ended.

This process has the only descriptor that outcomes are written to. The program is in another one.
"""

import json
import os
import sys
import unittest
from collections.abc import Callable
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any

from reasonrl.sandbox.child.program import ANSWERS, CHANNEL
from reasonrl.sandbox.child.proxies import GoneError, Link, Module, names_bound
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


class Report:
    """Writes an outcome for each test, in order."""

    def __init__(self, link: Link) -> None:
        """Begin with the first test."""
        self.link = link
        self.num_told = 0

    def tell(self, error: BaseException | None, where: str) -> None:
        """Write how the next test ended. Of one that the program did not live through, the host knows more."""
        if isinstance(error, GoneError):
            return
        write(ANSWERS, self.line(error, where))
        self.num_told += 1

    def line(self, error: BaseException | None, where: str) -> str:
        """Return the record of a test: true, or why it is not."""
        if error is None:
            return json.dumps({"i": self.num_told, "v": True})
        record = self.link.record_of(error)
        if record and record.outcome:
            return failure(self.num_told, record.outcome, f"{record.detail}, in {where}", record.raised)
        return failure(self.num_told, "failed", f"{describe(error)}, in {where}", type(error).__name__)


def asserts(script: Script, link: Link) -> None:
    """Run statement after statement, and go on where one fails that is a test of its own."""
    namespace = {"__name__": "tests", **{name: import_module(name) for name in script["modules"]}}
    report, broken = Report(link), _raised(script["setup"], namespace)
    namespace |= names_bound(link, script["aliases"], script["entry"], script["names"])
    for source, is_test in script["statements"]:
        error = broken or _raised(source, namespace)
        if isinstance(error, GoneError):
            return
        if is_test:
            report.tell(error, source)
        elif error:
            broken = error


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
        Report(link).tell(error, "the file of tests")
    else:
        run = _run_pytest if "pytest" in sys.modules else _run_unittest
        run(tests, Report(link))


def _run_unittest(tests: ModuleType, report: Report) -> None:
    """Run test cases, and functions by the name of `test`."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(tests)
    for name, thing in vars(tests).items():
        if name.startswith("test") and callable(thing) and not isinstance(thing, type):
            suite.addTest(unittest.FunctionTestCase(thing, description=name))
    write(ANSWERS, json.dumps({"tests": suite.countTestCases()}))
    suite.run(_Outcomes(report))


ErrorInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class _Outcomes(unittest.TestResult):
    """Passes outcomes on. A test that skips itself has not passed: the program may have given it the reason."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.report.tell(None, str(test))

    def addFailure(self, test: unittest.TestCase, err: ErrorInfo) -> None:
        self.report.tell(err[1], str(test))

    def addError(self, test: unittest.TestCase, err: ErrorInfo) -> None:
        self.report.tell(err[1], str(test))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.report.tell(unittest.SkipTest(reason), str(test))

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self.report.tell(AssertionError("a success that the test did not expect"), str(test))

    def addExpectedFailure(self, test: unittest.TestCase, err: ErrorInfo) -> None:
        self.report.tell(None, str(test))

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: ErrorInfo | None) -> None:
        if err is not None:
            self.report.tell(err[1], str(subtest))


def _run_pytest(tests: ModuleType, report: Report) -> None:
    """Run the file as pytest does. It has no path, so pytest is led to it by that of a file that exists."""
    pytest = sys.modules["pytest"]

    class File(pytest.Module):  # type: ignore[name-defined, misc]  # pytest is there only where a sandbox preimports it
        def _getobj(self) -> ModuleType:
            return tests

    path = str(pytest.__file__)
    options = ("-q", "-s", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:faulthandler")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    pytest.main([*options, "--confcutdir", os.path.dirname(path), path], plugins=[_Plugin(report, File.from_parent)])


class _Plugin:
    """Gives pytest its one file, and passes outcomes on."""

    def __init__(self, report: Report, collect: Callable[..., object]) -> None:
        self.report = report
        self.collect = collect

    def pytest_collect_file(self, file_path: object, parent: object) -> object:
        return self.collect(parent, path=file_path)

    # Any: sessions, items and calls are pytest's own, which is no dependency of ours.
    def pytest_collection_finish(self, session: Any) -> None:
        write(ANSWERS, json.dumps({"tests": len(session.items)}))

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        error = call.excinfo.value if call.excinfo else None
        if error is not None or call.when == "call":
            self.report.tell(error, item.name)


FORMS: dict[str, Callable[[Script, Link], None]] = {"asserts": asserts, "file": file}
"""What to do with each form of test text."""
