"""Judge a reward model and leave a report: what ``reasonrl rm eval`` does."""

from dataclasses import dataclass
from pathlib import Path

from reasonrl.config.reward_model import PreferenceDataSettings
from reasonrl.errors import ConfigError, DataError
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.aggregate import Aggregate
from reasonrl.preference.card import CARD, write_card
from reasonrl.preference.evaluation.files import refuse_existing, report_folder, write_report
from reasonrl.preference.evaluation.judge import Judge, Progress
from reasonrl.preference.evaluation.judged import ComputeDtype, JudgedModel, load_judged
from reasonrl.preference.evaluation.judgement import Judgement
from reasonrl.preference.evaluation.pairs import JudgedData, read_data
from reasonrl.preference.evaluation.samples import read_samples
from reasonrl.preference.evaluation.trained import keep_apart
from reasonrl.preference.prompt_ids import read_prompt_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What is to be judged, on what, and where the report goes."""

    model: str
    """A reward model's folder, the run that trained it, or a sequence classifier's folder or hub name."""
    pairs: PreferenceDataSettings
    """Where the pairs are."""
    samples: Path | None = None
    """Samples of a policy with a gold metric, for the best-of-n curve."""
    gold: str | None = None
    """Label of the gold metric among the rewards of the samples; None is their score."""
    aggregate: Aggregate | None = None
    template: str | None = None
    max_length: int | None = None
    num_perturbed: int = 100
    skip_trained: bool = False
    """Leave out prompts that the model was trained on."""
    allow_overlap: str = ""
    """Why such prompts may stay."""
    write_card: bool = False
    """Put accuracy and temperature on the model's card."""
    device: str = "auto"
    dtype: ComputeDtype = "auto"
    out: Path | None = None
    overwrite: bool = False


def evaluate_reward_model(request: EvaluationRequest, plugins: Plugins, progress: Progress) -> tuple[Judgement, Path]:
    """Judge a model, write the report and return the figures with its folder.

    Raises:
        ConfigError: an option would be ignored.
        DataError: pairs or samples cannot be used.
        OverlapError: the model was trained on prompts of the pairs.
        ModelError: the model cannot be loaded, or is no reward model.
        RunError: there is a report already, or it cannot be written.
    """
    _refuse_ignored(request)
    assert request.pairs.path is not None
    folder = report_folder(request.model, request.pairs.path, request.out)
    refuse_existing(folder, overwrite=request.overwrite)
    data = read_data(request.pairs)
    samples = None if request.samples is None else read_samples(request.samples, request.gold)
    judged = _load(request, plugins)
    trained = None if judged.folder is None else read_prompt_ids(judged.folder)
    data, found = keep_apart(data, trained, skip=request.skip_trained, allow=request.allow_overlap)
    _require_whole_prompts(judged, data)
    judge = Judge(judged=judged, num_perturbed=request.num_perturbed, progress=progress)
    judgement, pairs = judge.judge(data, found, samples, trained)
    write_report(folder, judgement, pairs)
    if request.write_card:
        _write_card(judged, judgement)
    return judgement, folder


def _refuse_ignored(request: EvaluationRequest) -> None:
    if request.gold is not None and request.samples is None:
        raise ConfigError(f"--gold {request.gold}: names a value of the samples; give them with --samples FILE.")
    if request.skip_trained and request.allow_overlap:
        raise ConfigError("--skip-trained and --allow-overlap are both given: keep one of them.")
    if request.write_card and request.allow_overlap:
        raise ConfigError(
            "--write-card: the card says what the model is worth on prompts that it was not trained on. "
            "Use --skip-trained in place of --allow-overlap."
        )


def _load(request: EvaluationRequest, plugins: Plugins) -> JudgedModel:
    from reasonrl.models.hardware import find_device

    judged = load_judged(
        request.model,
        find_device(request.device),
        plugins,
        aggregate=request.aggregate,
        template=request.template,
        max_length=request.max_length,
        dtype=request.dtype,
    )
    if request.write_card and judged.folder is None:
        raise ConfigError(f"--write-card: {request.model} has no {CARD}.")
    return judged


def _require_whole_prompts(judged: JudgedModel, data: JudgedData) -> None:
    """Refuse conversations under a template that renders their last message alone.

    Raises:
        DataError: there is one.
    """
    template = judged.model.card.template
    talk = next((pair.problem for pair in data.pairs if pair.problem.messages), None)
    if talk is not None and not template.chat:
        raise DataError(
            f"{data.source}: prompts are conversations, such as the one that ends with {talk.prompt[:60]!r}, and the "
            f"model's template {template.name!r} renders the last message alone."
        )


def _write_card(judged: JudgedModel, judgement: Judgement) -> None:
    """Put what was measured on the card; the temperature only of one head, for which raw differences are meant."""
    assert judged.folder is not None
    card = judged.model.card
    temperature = judgement.calibration.temperature if card.num_heads == 1 else card.temperature
    changes = {"evaluation": judgement.heldout(), "temperature": temperature}
    write_card(judged.folder, card.model_copy(update=changes))
