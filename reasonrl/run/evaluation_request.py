"""What ``reasonrl eval`` is asked to measure: everything that can be wrong is found here, before a model is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from reasonrl.config.settings import RewardRef, ScoringSettings, SuiteRef, VLLMSettings
from reasonrl.errors import ConfigError, RunError
from reasonrl.evaluation.files import RESULTS
from reasonrl.evaluation.journal import Journal
from reasonrl.evaluation.setup import check_problems, setup_of
from reasonrl.models import is_remote, locate
from reasonrl.models.folder import context_length, require_model_folder
from reasonrl.models.identity import weights_identity
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.run.check import require_room
from reasonrl.run.checkpoints import checkpoint_of, run_of
from reasonrl.run.evaluation_source import DtypeName, is_url, require_engine
from reasonrl.run.inputs import load_suite
from reasonrl.scoring.contract import Reward, load_reward
from reasonrl.system.disk import require_writable


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What to measure, with what, and where the results go."""

    model: str
    """A name, a folder, a run directory or RUN@STEP; with an address as the engine, the model's name there."""
    suites: tuple[SuiteRef, ...]
    """Each with what replaces its own settings."""
    engine: str = "local"
    """``local``, ``vllm``, ``vllm_server``, an installed engine, or the address of an endpoint."""
    device: str = "auto"
    dtype: DtypeName = "auto"
    """Type of matrix products."""
    vllm: VLLMSettings | None = None
    """Settings of vLLM, for the engines that are it."""
    ks: tuple[int, ...] = ()
    """Values of k in pass@k and the like; empty for powers of two."""
    rewards: tuple[RewardRef, ...] = ()
    """Training rewards that each completion is given beside the metric."""
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    """How metrics and rewards are applied."""
    seed: int = 0
    """Decides the sampling."""
    max_concurrent: int | None = None
    """Most completions under way; None suits the engine."""
    limit: int | None = None
    """Only the first problems of each suite."""
    variants: bool = False
    """Measure the further templates of each suite too."""
    final: bool = False
    """Whether test suites are measured for the record."""
    out: Path = Path("results")
    """Folder of the results: ``OUT/MODEL/SUITE``."""
    overwrite: bool = False
    """Begin anew where something is there."""

    def __post_init__(self) -> None:
        """Hold that a figure for the record rests on the whole suite."""
        if self.final and self.limit is not None:
            raise ConfigError("--final is for the record, but --limit measures a part of a suite: leave one out.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedModel:
    """The model as results record it."""

    name: str
    """As it was asked for."""
    place: str
    """What is loaded: a folder, a hub name, or the name at an endpoint."""
    run: Path | None
    """The run directory of a run's checkpoint."""
    step: int | None
    facts: Mapping[str, object]
    """What it is recognized by: its weights where they are here, else its name."""

    @property
    def folder(self) -> str:
        """Name of the folder of its results."""
        name, at, _ = self.name.rpartition("@") if self.run else (self.name, "", "")
        step = "" if self.step is None or name == self.place else f"-step-{self.step}"
        return _slug(name if at else self.name) + step

    def record(self) -> dict[str, object]:
        """Return what results hold of it, as JSON values."""
        return {"name": self.name, "place": self.place, "step": self.step, **self.facts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A suite of the request."""

    ref: SuiteRef
    suite: Suite
    """With the problems that are measured."""
    num_problems_in_suite: int | None
    """None where all are measured."""
    folder: Path
    journals: Mapping[str, Journal]
    """By template: the suite's own first, then its variants."""

    def with_template(self, template: str) -> Suite:
        """Return the suite as it is measured with one of its templates."""
        return replace(self.suite, template=template)

    @property
    def is_test(self) -> bool:
        """Whether its figures may not choose a checkpoint."""
        return self.suite.role == "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRequest:
    """A request with all that it names found."""

    request: EvaluationRequest
    model: EvaluatedModel
    entries: Sequence[Entry]
    rewards: Sequence[Reward]

    @property
    def folder(self) -> Path:
        """Where the model's results go."""
        return self.request.out / self.model.folder

    @property
    def touches_folder(self) -> Path:
        """Where looks at test suites are counted: in the run, for a run's model."""
        return self.model.run or self.folder


def check_request(request: EvaluationRequest, plugins: Plugins) -> CheckedRequest:
    """Find everything that a request names, and refuse what could not be measured or written.

    Raises:
        ReasonRLError: the first mistake.
    """
    require_engine(request.engine, plugins)
    place = request.model if is_url(request.engine) else checkpoint_of(request.model)
    if not is_url(request.engine) and not is_remote(place):
        require_model_folder(place)
    rewards = [load_reward(ref, plugins) for ref in request.rewards]
    wholes = [load_suite(ref, plugins) for ref in request.suites]
    _refuse_repeated([suite.name for suite in wholes])
    if request.final and all(suite.role != "test" for suite in wholes):
        raise ConfigError("--final is for test suites, and none of these is one: leave it out.")
    for suite in wholes:
        _require_room(request, suite, place)
    model = _model(request, place)
    entries = [_entry(request, *each, model) for each in zip(request.suites, wholes, strict=True)]
    return CheckedRequest(request=request, model=model, entries=entries, rewards=rewards)


def _model(request: EvaluationRequest, place: str) -> EvaluatedModel:
    """Return what stands for the model; its weights are read, so this comes after quicker checks."""
    if is_url(request.engine):
        return EvaluatedModel(name=request.model, place=place, run=None, step=None, facts={})
    run, step = run_of(place) or (None, None)
    facts = {} if is_remote(place) else {"weights": weights_identity(Path(locate(place)))}
    return EvaluatedModel(name=request.model, place=place, run=run, step=step, facts=facts)


def _slug(name: str) -> str:
    return name.strip("./~").replace("/", "--").replace("@", "-step-") or "model"


def _refuse_repeated(names: Sequence[str]) -> None:
    """Two suites of one name would write over each other's results."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"--suite: {', '.join(repeated)} is given more than once; keep one of them.")


def _require_room(request: EvaluationRequest, suite: Suite, place: str) -> None:
    if not is_url(request.engine) and not is_remote(place):
        setting = f"max_new_tokens of suite {suite.name!r}"
        require_room(setting, suite.max_new_tokens, context_length(place), request.model)


def _entry(request: EvaluationRequest, ref: SuiteRef, whole: Suite, model: EvaluatedModel) -> Entry:
    """Return a suite with where its results go; refuse a place that holds something else."""
    is_limited = request.limit is not None and request.limit < len(whole.problems)
    suite = replace(whole, problems=whole.problems[: request.limit]) if is_limited else whole
    check_problems(suite)
    folder = request.out / model.folder / _slug(suite.name)
    folders = {suite.template: folder}
    if request.variants:
        further = [name for name in suite.variants if name != suite.template]
        folders |= {name: folder / "variants" / _slug(name) for name in further}
    facts = {
        "model": model.facts or {"name": model.place},
        "rewards": [ref.model_dump(mode="json") for ref in request.rewards],
    }
    entry = Entry(
        ref=ref,
        suite=suite,
        num_problems_in_suite=len(whole.problems) if is_limited else None,
        folder=folder,
        journals={name: Journal(place, facts, overwrite=request.overwrite) for name, place in folders.items()},
    )
    for template, journal in entry.journals.items():
        _require_place(request, journal, entry.with_template(template))
    return entry


def _require_place(request: EvaluationRequest, journal: Journal, suite: Suite) -> None:
    """Refuse a folder that holds something else, or cannot hold anything.

    Raises:
        RunError: it does, or cannot.
    """
    for folder in (request.out, journal.folder):
        if folder.exists() and not folder.is_dir():
            raise RunError(f"--out {folder}: that is a file. Name a folder for the results.")
    known = setup_of(suite, seed=request.seed, engine=request.engine)
    if request.dtype != "auto":
        known["dtype"] = request.dtype
    if is_url(request.engine):  # the source may write the address in another way
        del known["engine"]
    journal.require_fitting(known)
    require_writable(journal.folder / RESULTS, "then measure the model again, or give --out FOLDER.")
