"""Show the problems of a task or suite, and what a task and a suite have in common."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from reasonrl.evaluation.matches import overlap_file
from reasonrl.evaluation.overlap import find_overlap, report
from reasonrl.evaluation.replies import SOLUTION
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.task_prompts import PromptMaker, prompt_maker
from reasonrl.run.task_source import find_source
from reasonrl.system.atomic import write_atomically
from reasonrl.system.summary import Summary
from reasonrl.types import Problem, Split

MAX_ANSWER: Final = 300
"""Characters of an answer that are shown."""


def show_problems(
    kind: Literal["tasks", "suites"],
    name: str,
    *,
    num_problems: int,
    split: Split,
    params: Mapping[str, Any],
    data: str | None,
    template: str | None,
    model: str | None,
    plugins: Plugins,
) -> str:
    """Return the first problems of a task or suite: the prompt as a model sees it, the answer, the columns.

    Args:
        kind: where the name is looked up.
        name: of the task or suite.
        num_problems: how many.
        split: which side of a task.
        params: its parameters. Any: their types are the function's.
        data: a file or folder with the data.
        template: another prompt template than the suite's.
        model: a model whose tokenizer makes the prompts.
        plugins: where all of them come from.

    Raises:
        ReasonRLError: it cannot be loaded.
    """
    source = find_source(name, plugins, kinds=[kind], params=params, data=data)
    problems = source.problems(split)
    prompts = prompt_maker(source, model, template)
    head = f"{len(problems):,} {split} problems, shown with template {prompts.filled.template.name!r}"
    return "\n\n".join([head, *(_shown(n, one, prompts) for n, one in enumerate(islice(problems, num_problems), 1))])


def _shown(number: int, problem: Problem, prompts: PromptMaker) -> str:
    solution = problem.meta.get(SOLUTION)
    return "\n".join(
        [
            f"--- {number}. id {problem.id}, prompt:",
            prompts.text(problem),
            f"--- answer: {_cut(problem.answer)}",
            *([f"--- {SOLUTION}: {_cut(solution)}"] if isinstance(solution, str) else []),
            f"--- meta: {', '.join(problem.meta) or 'nothing'}",
        ]
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_ANSWER else f"{text[:MAX_ANSWER]}... ({len(text):,} characters)"


def compare_sides(
    train: str,
    heldout: str,
    *,
    train_params: Mapping[str, Any],
    params: Mapping[str, Any],
    train_data: str | None,
    data: str | None,
    out: Path | None,
    plugins: Plugins | None = None,
) -> tuple[Summary, bool]:
    """Compare the training problems of a task with a suite, or with the held-out problems of a task.

    Returns:
        What was found, and whether a run would be refused for it.

    Raises:
        ReasonRLError: one of them cannot be loaded.
    """
    plugins = plugins or Plugins()
    task = find_source(train, plugins, kinds=["tasks"], params=train_params, data=train_data)
    suite = find_source(heldout, plugins, params=params, data=data)
    measured = suite.suite.problems if suite.suite is not None else suite.problems("heldout")
    found = find_overlap(task.problems("train"), measured)
    if out is not None:
        write_atomically(out, overlap_file({heldout: found}, ""))
    figures = found.as_json()
    rates = {name: f"{rate:.1%}" for name, rate in figures["rates"].items()}
    lines = [
        report(heldout, found),
        f"{rates['masked']} of the held-out problems are training problems with other numbers",
        f"{rates['similar']} of them have at least half of their words in one training problem",
        "refused: a run needs evaluation.allow_overlap" if found.is_refused else "apart",
    ]
    values = {"train": train, "heldout": heldout, "refused": found.is_refused, **figures}
    return Summary("\n".join(lines), values), found.is_refused
