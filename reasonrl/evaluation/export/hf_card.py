"""A model card of the Hugging Face hub: figures in its front matter (``model-index``), and in tables with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import yaml

from reasonrl.evaluation.estimates import Estimate
from reasonrl.evaluation.figures import RATES, figures, label, missing_figures
from reasonrl.evaluation.files import Measured, model_name
from reasonrl.evaluation.report import METHODS, counted, described_limit, described_sampling
from reasonrl.evaluation.results import SuiteResult

CARD: Final = Path("README.md")


def model_card(results: Sequence[Measured]) -> Mapping[Path, bytes]:
    """Return a card of one model, with all of its suites."""
    name = model_name(results[0].model)
    return {CARD: card_file({"model-index": model_index(name, results)}, [f"# {name}", *evaluation(results)])}


def card_file(front: Mapping[str, object], sections: Sequence[str]) -> bytes:
    """Return the file of a card: its front matter, then its sections with an empty line between them."""
    matter = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True)
    return "\n\n".join([f"---\n{matter}---", *sections, ""]).rstrip("\n").encode("utf-8", "backslashreplace") + b"\n"


def model_index(name: str, results: Sequence[Measured]) -> list[dict[str, object]]:
    """Return a model's suites as the front matter of a card holds them, under ``model-index``."""
    return [{"name": name, "results": [_indexed(measured.result) for measured in results]}]


def evaluation(results: Sequence[Measured]) -> list[str]:
    """Return the sections of a card on a model's suites: each a table with intervals."""
    sections = ["\n".join(_section(measured)) for measured in results]
    return ["## Evaluation", *sections, _explanation()]


def _indexed(result: SuiteResult) -> dict[str, object]:
    """Return a suite as ``model-index`` has it; values are in percent, as cards have them."""
    return {
        "task": {"type": "text-generation", "name": "Text Generation"},
        "dataset": {
            "name": f"{result.name} v{result.version}",
            "type": result.name,
            "split": result.role,
            "args": _protocol(result),
        },
        "metrics": [_metric(name, estimate, result) for name, estimate in figures(result).items()],
    }


def _protocol(result: SuiteResult) -> dict[str, object]:
    sampling = result.sampling
    return {
        "num_problems": result.num_problems,
        "num_problems_in_suite": result.num_problems_in_suite or result.num_problems,
        "num_samples": sampling.num_samples,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_new_tokens": sampling.max_new_tokens,
        "template": result.template,
        "suite_sha": result.suite_sha,
    }


def _metric(name: str, estimate: Estimate, result: SuiteResult) -> dict[str, object]:
    interval = {"level": estimate.level, "lower": _percent(estimate.lower), "upper": _percent(estimate.upper)}
    return {
        "type": name,
        "name": label(name, result.sampling.num_samples),
        "value": _percent(estimate.value),
        "args": {"confidence_interval": interval, "stderr": _percent(estimate.standard_error)},
        "verified": False,
    }


def _percent(share: float) -> float:
    return round(100 * share, 3)


def _section(measured: Measured) -> Iterator[str]:
    result = measured.result
    estimates = figures(result)
    main = next(iter(estimates.values()))
    engine = measured.about.get("engine", {}).get("name")
    yield f"### {result.name} v{result.version} ({result.role})\n"
    yield f"{counted(main)} x {result.sampling.num_samples}, {described_sampling(result)}{_sampled_by(engine)}."
    if limit := described_limit(result):
        yield f"**{limit[0].upper()}{limit[1:]}.**"
    yield "\n| figure | value | 95 % interval | se | se_sampling | interval by |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, estimate in estimates.items():
        yield _row(label(name, result.sampling.num_samples), estimate)
    yield f"\nScored {result.num_scored} of {len(result.rows)} completions; mean tokens {result.mean_tokens:.1f}."
    yield from (f"{missing[0].upper()}{missing[1:]}." for missing in missing_figures(result))


def _sampled_by(engine: object) -> str:
    return f", engine {engine}" if engine else ""


def _row(name: str, estimate: Estimate) -> str:
    sampling = "" if estimate.sampling_error is None else f"{estimate.sampling_error:.1%}"
    interval = f"[{estimate.lower:.1%}, {estimate.upper:.1%}]"
    by = METHODS[estimate.method]
    return f"| {name} | {estimate.value:.1%} | {interval} | {estimate.standard_error:.1%} | {sampling} | {by} |"


def _explanation() -> str:
    rates = ", ".join(RATES)
    return (
        f"Intervals are over problems. `se_sampling` is the error over new samples of the same problems. {rates} are "
        "shares of completions that went wrong; they count as wrong in all other figures."
    )
