"""MATH-500: the 500 problems of MATH (arXiv:2103.03874) held out by arXiv:2305.20050."""

from reasonrl import LoadHeldout, Suite
from reasonrl_evals.metrics import answer_match


def math500(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    revision: str | None = None,
    template: str = "boxed",
    max_new_tokens: int = 1024,
    num_samples: int = 1,
    temperature: float = 0.0,
    stop: tuple[str, ...] = (),
) -> Suite:
    """Measure ``HuggingFaceH4/MATH-500`` by a number or a text that matches.

    Symbolic equivalence is not judged: an answer in another form than the reference counts as wrong, so the
    figure lies below that of graders with computer algebra. Compare it with figures of this suite only.

    Args:
        load: gives held-out problems.
        num_problems: only the first so many; None takes all.
        revision: commit of the data set, to fix it for good.
        template: prompt template.
        max_new_tokens: longest completion.
        num_samples: completions a problem.
        temperature: 0 is greedy decoding.
        stop: strings that end a completion.
    """
    problems = load(
        "hub",
        name="HuggingFaceH4/MATH-500",
        hub_split="test",
        question="problem",
        answer="answer",
        revision=revision,
    )
    return Suite(
        name="math500",
        role="test",
        problems=problems[:num_problems],
        metric=answer_match,
        template=template,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        temperature=temperature,
        stop=stop,
    )
