"""Measure a model on held-out suites from Python, as ``reasonrl eval`` does."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict, Unpack, overload

from reasonrl.api.evaluation import Evaluation
from reasonrl.api.process import generators_kept
from reasonrl.api.runs import Run
from reasonrl.config.runfile import from_options
from reasonrl.config.settings import RewardRef, ScoringSettings, VLLMSettings, require_device
from reasonrl.config.suite_file import suite_refs
from reasonrl.errors import ConfigError, and_known
from reasonrl.plugins.lookup import Plugins

if TYPE_CHECKING:
    from reasonrl.run.evaluate import MeasuredSuite
    from reasonrl.run.evaluation_request import EvaluationRequest
    from reasonrl.run.evaluation_source import DtypeName

ModelLike: TypeAlias = str | PathLike[str] | Run
"""A model's name or folder, a run (its latest checkpoint), ``RUN@STEP``, or the name at an endpoint."""
Suites: TypeAlias = list[str] | tuple[str, ...]
"""Several suites; a text alone is one."""


class EvaluationOptions(TypedDict, total=False):
    """What may be said of an evaluation; what is left out is the suite's own, or the usual."""

    params: Mapping[str, Any]
    """Parameters of the suites; ``data`` is a file or folder in place of the hub. Any: the suites' own."""
    engine: str
    """What samples: local, vllm, vllm_server, or an endpoint: ``http://HOST:PORT/v1``."""
    template: str
    """Another prompt template than the suites'."""
    variants: bool
    """Measure the suites' further templates too."""
    num_samples: int
    """Completions of each problem."""
    temperature: float
    """0 is greedy."""
    top_p: float
    """Draw from the most probable tokens up to this sum of probabilities."""
    max_new_tokens: int
    """Longest completion."""
    stop: Sequence[str]
    """Strings that end a completion."""
    cluster: str
    """Column that marks problems which belong together."""
    limit: int
    """Only the first problems of each suite; results say so."""
    rewards: Sequence[str]
    """Training rewards to apply beside the metric."""
    final: bool
    """Measure test suites for the record."""
    seed: int
    """Decides the sampling."""
    max_concurrent: int
    """Most completions under way."""
    metric_timeout_s: float
    """Longest time that a metric may run on one completion."""
    max_failure_rate: float
    """Share of completions on which a metric may fail before the evaluation ends."""
    device: str
    """auto, cpu, cuda or ``cuda:N``."""
    dtype: "DtypeName"
    """Type of matrix products."""
    vllm: Mapping[str, Any]
    """Settings of vLLM, as in a run file. Any: as there."""
    ks: Sequence[int]
    """The k of pass@k and its like; powers of two if none are given."""
    out: str | PathLike[str]
    """Folder of the results, ``OUT/MODEL/SUITE``; ``results``."""
    overwrite: bool
    """Begin anew where something is there."""


OF_SUITES: Final = ("template", "num_samples", "temperature", "top_p", "max_new_tokens", "stop", "cluster")
OF_SCORING: Final = ("metric_timeout_s", "max_failure_rate")
AS_THEY_ARE: Final = ("engine", "variants", "limit", "final", "seed", "max_concurrent", "device", "dtype", "overwrite")
"""Options by what takes them; each of the others is read in its own way."""


@overload
def evaluate(
    model: ModelLike, suite: str, /, *, show: bool = True, **options: Unpack[EvaluationOptions]
) -> Evaluation: ...
@overload
def evaluate(
    model: ModelLike, suite: Suites, /, *, show: bool = True, **options: Unpack[EvaluationOptions]
) -> tuple[Evaluation, ...]: ...
def evaluate(
    model: ModelLike, suite: str | Suites, /, *, show: bool = True, **options: Unpack[EvaluationOptions]
) -> Evaluation | tuple[Evaluation, ...]:
    """Measure a model on held-out suites, with intervals; the same call goes on where it was ended.

    Args:
        model: a model's name or folder, a run or ``RUN@STEP``; its name at an endpoint.
        suite: a name, ``./file.py:function`` or ``./suite.yaml``; several of them share one loaded model.
        show: print how far it is.
        options: see :class:`EvaluationOptions`.

    Returns:
        The evaluation, or one for each suite where they were given as a list.

    Raises:
        ConfigError: an option cannot be what it is, or a file has several suites: give it in a list.
        RunError: the folder holds something else, cannot be written, or a metric fails too often.
        StoppedError: it was interrupted; says what is kept.
        ReasonRLError: whatever else is wrong with the model, a suite or a reward.
    """
    is_one = isinstance(suite, str)
    request = evaluation_request(model, [suite] if isinstance(suite, str) else suite, **options)
    if is_one and len(request.suites) > 1:
        names = ", ".join(ref.name for ref in request.suites)
        raise ConfigError(f"{suite} has several suites ({names}): give [{suite!r}] for a tuple of evaluations.")
    found = tuple(Evaluation(measured.folder) for measured in run_evaluation(request, show=show))
    return found[0] if is_one else found


def run_evaluation(request: "EvaluationRequest", *, show: bool = True) -> "tuple[MeasuredSuite, ...]":
    """Measure what is asked for, and leave random generators as they were; errors are those of :func:`evaluate`."""
    from reasonrl.api.evaluation_progress import evaluation_progress
    from reasonrl.run.evaluate import evaluate_model

    with generators_kept(), evaluation_progress() if show else nullcontext(lambda told: None) as tell:
        return evaluate_model(request, Plugins(), tell=tell)


def evaluation_request(
    model: ModelLike, suites: Sequence[str], **options: Unpack[EvaluationOptions]
) -> "EvaluationRequest":
    """Return what is to be measured, checked as far as that needs nothing loaded; arguments are those of `evaluate`.

    Raises:
        ConfigError: an option cannot be what it is, or there is no such option.
    """
    from reasonrl.run.evaluation_request import EvaluationRequest

    known = EvaluationOptions.__annotations__
    for name in options:
        if name not in known:
            raise ConfigError(f"an evaluation has no option {name!r}.{and_known(name, list(known))}")
    require_device(options.get("device", "auto"), "--device")
    vllm = options.get("vllm")
    return EvaluationRequest(
        model=str(model.path) if isinstance(model, Run) else fspath(model),
        suites=suite_refs(suites, params=options.get("params", {}), settings=_among(OF_SUITES, options)),
        vllm=from_options(VLLMSettings, **vllm) if vllm else None,
        ks=tuple(sorted(set(options.get("ks", ())))),
        rewards=tuple(from_options(RewardRef, name=name) for name in options.get("rewards", ())),
        scoring=from_options(ScoringSettings, **_among(OF_SCORING, options)),
        out=Path(options.get("out", "results")),
        **_among(AS_THEY_ARE, options),
    )


def _among(names: Sequence[str], options: EvaluationOptions) -> dict[str, Any]:
    """Return those options that were given. Any: each its own."""
    return {name: value for name, value in options.items() if name in names}
