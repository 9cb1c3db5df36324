"""The teacher of a run: where it is, whether it has the tokens of the model that learns, and what computes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from reasonrl.config.distillation import INITIAL
from reasonrl.config.kinds import AnyConfig
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError, ModelError
from reasonrl.models import is_remote
from reasonrl.models.folder import context_length, require_model_folder
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.checkpoints import checkpoint_of, run_of
from reasonrl.run.lineage import require_same_template, template_names

Config = TypeVar("Config", bound=AnyConfig)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from reasonrl.distributed.calls import Ranks
    from reasonrl.learner.distillation import TeacherCredit, TeacherModel
    from reasonrl.learner.logprobs import LogprobModel
    from reasonrl.learner.strategies import Strategy
    from reasonrl.models.compute import Compute
    from reasonrl.types import TeacherTokens, TrainingSample


def resolve_teacher(config: Config, plugins: Plugins) -> Config:
    """Return a run's settings with the exact place of its teacher, which is checked to know the run's template.

    ``RUN`` and ``RUN@STEP`` become a checkpoint; any other teacher stays as it is written.

    Raises:
        RunError: the run has no such checkpoint.
        ModelError: the teacher was trained with another template.
    """
    distillation = config.distillation if isinstance(config, RunConfig) else None
    if distillation is None or distillation.is_address or distillation.teacher == INITIAL:
        return config
    place = checkpoint_of(distillation.teacher)
    if not config.model.allow_other_template:
        require_same_template(place, template_names(config), plugins, key="distillation.teacher")
    known = distillation.model_copy(update={"teacher": place})
    return cast(Config, config.model_copy(update={"distillation": known}))


def teacher_place(config: RunConfig) -> str | None:
    """Return the name or folder of a run's teacher; None where it has none, or a server that somebody started."""
    distillation = config.distillation
    if distillation is None or distillation.is_address:
        return None
    return config.model.name if distillation.teacher == INITIAL else distillation.teacher


def check_teacher(config: RunConfig) -> None:
    """Refuse a teacher that cannot be loaded, or that could not see a whole completion.

    Raises:
        ModelError: there is none, or its files are not those of a model.
        ConfigError: completions may be longer than it can see.
    """
    place = teacher_place(config)
    if place is None or is_remote(place):
        return
    try:
        require_model_folder(place, writes=True)
    except ModelError as error:
        raise ModelError(f"distillation.teacher: {error}") from None
    limit, longest = context_length(place), config.longest_completion
    if limit is not None and longest >= limit:
        raise ConfigError(
            f"rollout.max_new_tokens is {longest}, but distillation.teacher, {place}, can see {limit} tokens, prompt "
            "and completion together: use fewer, or another teacher"
        )


def teacher_facts(config: RunConfig) -> Mapping[str, str]:
    """Return what a person should know of a run's teacher; nothing without one."""
    if (distillation := config.distillation) is None:
        return {}
    where = "this process" if distillation.is_in_process else "a server"
    top_k = distillation.top_k
    how = "log-ratio of sampled tokens" if top_k is None else f"divergence over its {top_k} best tokens"
    beside = f", rewards x {distillation.reward_weight:g}" if config.learns_from_rewards else " alone"
    return {"teacher": f"{distillation.teacher} (computed by {where}): {how} x {distillation.weight:g}{beside}"}


def teacher_record(config: RunConfig) -> Mapping[str, object]:
    """Return what a run's manifest says of its teacher; nothing without one."""
    if (distillation := config.distillation) is None:
        return {}
    place = teacher_place(config)
    found = None if place is None else run_of(place)
    origin = {} if found is None else {"run": str(found[0]), "step": found[1]}
    return {"teacher": {"name": distillation.teacher, **origin}}


class OpenedTeacher(Protocol):
    """A teacher that is ready; see :class:`reasonrl.learner.distillation.Teacher`."""

    def of_samples(self, samples: "Sequence[TrainingSample]") -> "list[TeacherTokens]":
        """Return what it says of each sample's tokens that the policy chose."""
        ...

    def close(self) -> None:
        """End what was started for it."""
        ...


def require_fitting_teacher(config: RunConfig, policy: "PreTrainedTokenizerBase") -> None:
    """Refuse a teacher that would read other texts in the policy's tokens; a server is asked when it is opened.

    Args:
        config: the run.
        policy: the tokenizer of the model that learns.

    Raises:
        ModelError: its tokenizer is another one; the message has the first difference.
    """
    place, name = teacher_place(config), config.model.name
    if place is None or place == name:
        return
    from reasonrl.models.load import load_tokenizer
    from reasonrl.run.same_tokens import end_difference, token_difference

    if difference := token_difference(load_tokenizer(place), policy) or end_difference(place, name):
        raise ModelError(
            f"distillation.teacher: {place} has another tokenizer than {name}, whose tokens it would be given: "
            f"{difference}. Use a teacher of the same family, or learn from its texts: reasonrl sample, then reasonrl "
            "sft (docs/distillation.md)."
        )


def load_teacher(
    config: RunConfig,
    policy: "PreTrainedModel",
    initial: "LogprobModel | None",
    strategy: "Strategy",
    compute: "Compute",
) -> "TeacherModel | None":
    """Load a teacher that is computed in the run's own processes; called on every rank. None where there is none.

    Args:
        config: the run.
        policy: the model that learns, with its adapter where it has one.
        initial: it before training, where the method compares with it: then it is no second copy.
        strategy: how ranks share models.
        compute: how models are computed.

    Raises:
        ModelError: it cannot be loaded or used.
    """
    from reasonrl.learner.distillation import TeacherModel

    distillation, place = config.distillation, teacher_place(config)
    if distillation is None or place is None or not distillation.is_in_process:
        return None
    is_initial = distillation.teacher == INITIAL and initial is not None
    model = initial if is_initial and initial is not None else _loaded(config, place, policy, strategy, compute)
    vocabulary: int = policy.config.get_text_config().vocab_size
    return TeacherModel(model=model, top_k=distillation.top_k, vocabulary=vocabulary)


def _loaded(
    config: RunConfig, place: str, policy: "PreTrainedModel", strategy: "Strategy", compute: "Compute"
) -> "LogprobModel":
    """Load a frozen model; one that is the policy without its adapter is no second copy.

    Its matrices are held in the type of products: they would be rounded to it all the same.
    """
    import torch

    from reasonrl.learner.logprobs import logprob_model
    from reasonrl.models.load import hold_in_bfloat16, load_model
    from reasonrl.models.lora import is_base

    temperature = config.rollout.temperature
    if is_base(place, policy):
        return logprob_model(policy, compute, temperature, without_adapter=True)
    device = policy.device
    model = strategy.load(lambda weights_on: load_model(place, device, weights_on=weights_on), compute.dtype)
    found = logprob_model(model, compute, temperature)
    if compute.dtype == torch.bfloat16 and strategy.name != "fsdp2":
        hold_in_bfloat16(found.model)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledTeacher:
    """A teacher that all ranks compute together, each its share of the samples."""

    ranks: "Ranks"
    max_tokens: int
    """Budget of one forward pass."""

    def of_samples(self, samples: "Sequence[TrainingSample]") -> "list[TeacherTokens]":
        """Return what it says of each sample's tokens."""
        found: list[TeacherTokens] = self.ranks.call("teacher", "of_samples", samples, max_tokens=self.max_tokens)
        return found

    def close(self) -> None:
        """Free nothing: it is the ranks'."""


def open_teacher(
    config: RunConfig, tokenizer: "PreTrainedTokenizerBase", ranks: "Ranks", compute: "Compute"
) -> OpenedTeacher | None:
    """Return the teacher of a run, to be closed; None where there is none.

    Args:
        config: the run.
        tokenizer: of the model that learns.
        ranks: have one that is computed in the run's own processes.
        compute: how the learner's model is computed.

    Raises:
        ModelError: its tokens are others than the policy's, or it cannot be served.
        EngineError: its server does not start, does not answer or serves something else.
    """
    if (distillation := config.distillation) is None:
        return None
    if distillation.is_in_process:
        return CalledTeacher(ranks=ranks, max_tokens=config.learner.microbatch_tokens)
    from reasonrl.run.teacher_server import given_teacher, started_teacher

    if distillation.is_address:
        return given_teacher(distillation, tokenizer)
    return started_teacher(config, distillation, tokenizer, compute)


def teacher_credit(config: RunConfig) -> "TeacherCredit | None":
    """Return what adds a teacher's advantages to those of the rewards; None without one."""
    from reasonrl.learner.distillation import TeacherCredit

    if (distillation := config.distillation) is None:
        return None
    of_tokens = distillation.weight if distillation.top_k is None else 0.0
    return TeacherCredit(weight=of_tokens, reward_weight=distillation.reward_weight)
