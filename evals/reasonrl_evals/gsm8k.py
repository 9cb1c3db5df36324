"""GSM8K (arXiv:2110.14168): grade-school word problems with whole-number answers."""

from reasonrl import LoadHeldout, Suite
from reasonrl_evals.metrics import number_in_answer


def gsm8k(
    *,
    load: LoadHeldout,
    num_problems: int | None = None,
    revision: str | None = None,
    template: str = "boxed",
    max_new_tokens: int = 512,
    num_samples: int = 1,
    temperature: float = 0.0,
    stop: tuple[str, ...] = (),
) -> Suite:
    """Measure the 1,319 test problems of ``openai/gsm8k`` by a marked number.

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
        name="openai/gsm8k",
        config="main",
        hub_split="test",
        question="question",
        answer="answer",
        answer_pattern=r"####\s*(.+)",
        revision=revision,
    )
    return Suite(
        name="gsm8k",
        role="test",
        problems=problems[:num_problems],
        metric=number_in_answer,
        template=template,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        temperature=temperature,
        stop=stop,
    )
