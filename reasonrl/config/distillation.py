"""Settings of on-policy distillation: a teacher that says how probable each sampled token would have been for it."""

from typing import TYPE_CHECKING, Final, Literal, Self

from pydantic import Field, model_validator

from reasonrl.config.base import Settings
from reasonrl.config.sampling import VLLMSettings

if TYPE_CHECKING:
    from reasonrl.config.settings import RunConfig

INITIAL: Final = "initial"
"""The teacher that is the run's own model before training."""

IGNORED_BY_TEACHERS: Final = ("replicas", "urls", "weights", "weights_folder", "sleep")
"""Settings of vLLM that are about weights that move, or about servers that somebody else started."""


class DistillationSettings(Settings):
    """A teacher, whose log-probabilities of the sampled tokens are learned from; null learns from rewards alone."""

    teacher: str
    """A model with the tokenizer of the one that learns: a folder, a name, a run (``RUN`` or ``RUN@STEP``), ``initial``
    for the run's own model before training, or the address of a vLLM server, such as ``http://10.0.0.2:8000/v1``."""
    weight: float = Field(1.0, gt=0)
    """Factor of the teacher's part: of ``log teacher - log sampler`` of each token, which is its advantage, or of the
    divergence that ``top_k`` asks for."""
    reward_weight: float = Field(0.0, ge=0)
    """Factor of the advantages that the rewards give, which are added. At 0 the teacher alone is learned from: rewards
    are only measured and may be left out, and ``samples_per_prompt: 1`` is enough."""
    top_k: int | None = Field(None, ge=1)
    """Minimize the divergence from the teacher over its so many most probable tokens and one token for all others, with
    its exact gradient (arXiv:2608.14728); null takes the advantage of the sampled token alone."""
    engine: Literal["local", "vllm_server"] = "local"
    """What computes a teacher that is no address: ``local`` this process, on all ranks as the learner is divided, or a
    ``vllm_server`` that the run starts."""
    vllm: VLLMSettings = VLLMSettings()
    """How that server is run."""
    max_concurrent: int = Field(32, ge=1)
    """Most requests to a server at a time."""
    timeout_s: float = Field(600.0, gt=0)
    """Longest time in seconds of one request to a server."""

    @property
    def is_address(self) -> bool:
        """Whether somebody else's server has the teacher."""
        return "://" in self.teacher

    @property
    def is_served(self) -> bool:
        """Whether a server computes the teacher."""
        return self.is_address or self.engine == "vllm_server"

    @property
    def is_in_process(self) -> bool:
        """Whether the run's own processes compute the teacher."""
        return not self.is_served

    @model_validator(mode="after")
    def _refuse_ignored(self) -> Self:
        """Refuse settings of a server that there is none of, or that decide nothing about one."""
        if self.is_address and self.engine != "local":
            raise ValueError(f"engine is {self.engine}, but teacher is the address of a server: leave engine out")
        usual = VLLMSettings()
        differing = [name for name in VLLMSettings.model_fields if getattr(self.vllm, name) != getattr(usual, name)]
        ignored = differing if self.engine == "local" else [name for name in differing if name in IGNORED_BY_TEACHERS]
        if ignored:
            hint = "set engine: vllm_server" if self.engine == "local" else "leave it out"
            address = " (of a server that runs already, teacher is the address)" if ignored[0] == "urls" else ""
            raise ValueError(f"vllm.{ignored[0]} would be ignored{address}: {hint}")
        unserved = {"max_concurrent": self.max_concurrent, "timeout_s": self.timeout_s}
        for name, value in unserved.items():
            if self.is_in_process and value != DistillationSettings.model_fields[name].default:
                raise ValueError(f"{name} is about requests to a server, but the teacher is in this process")
        return self


def refuse_unfitting(config: "RunConfig") -> None:
    """Refuse settings of a run that contradict its teacher or that it would make idle.

    Raises:
        ValueError: the first mistake, by key.
    """
    if (distillation := config.distillation) is None:
        return
    algorithm, sampling = config.algorithm, config.rollout
    if algorithm.refill_attempts:
        raise ValueError(
            f"algorithm.refill_attempts is {algorithm.refill_attempts} and replaces groups that teach nothing, but "
            "with distillation every group teaches: set algorithm.refill_attempts: 0"
        )
    if distillation.is_served and sampling.temperature != 1.0:
        raise ValueError(
            f"rollout.temperature is {sampling.temperature}, but a vLLM server gives a teacher's log-probabilities at "
            "temperature 1 only: use rollout.temperature: 1.0, or a teacher in this process"
        )
    if distillation.teacher == INITIAL and distillation.is_in_process and config.model.lora and sampling.async_steps:
        raise ValueError(
            f"rollout.async_steps is {sampling.async_steps}, but distillation.teacher: initial asks the model that is "
            "being learned, with its adapter off: use rollout.async_steps: 0, or the model's name as the teacher"
        )
    if not config.learns_from_rewards:
        _refuse_idle(config)
    elif lacking := [task.key for task in config.tasks if not task.rewards]:
        raise ValueError(
            f"distillation.reward_weight is {distillation.reward_weight}, but {lacking[0]} has no rewards: name what "
            "scores a completion, or set reward_weight: 0"
        )


def _refuse_idle(config: "RunConfig") -> None:
    """Refuse what changes rewards that nothing is learned from.

    Raises:
        ValueError: the first that does.
    """
    algorithm = config.algorithm
    asked = {
        "algorithm.kl_in is reward": algorithm.kl_in == "reward" and algorithm.kl_coefficient > 0,
        "algorithm.overlong_window is set": algorithm.overlong_window is not None,
    }
    if found := [name for name, is_asked in asked.items() if is_asked]:
        raise ValueError(
            f"{found[0]}, which changes rewards, but distillation.reward_weight is 0, so that nothing is learned from "
            "them: give reward_weight a value, or leave it out"
        )
    if config.curriculum is not None and not config.all_rewards:
        raise ValueError("curriculum chooses problems by their rewards, but the run has none: leave it out")
