"""Settings of the policy-gradient method, and the presets that set them together."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from reasonrl.config.base import PluginRef, Settings, require_installed
from reasonrl.config.mistakes import describe_mistake
from reasonrl.errors import PluginError
from reasonrl.plugins.lookup import installed_plugins

SHARING_ENGINE: Final = "local"
"""The engine that samples from the learner's own module."""

USUAL_IMPORTANCE: Final[Mapping[str, tuple[float, float]]] = {
    "token": (0.0, 2.0),
    "sequence": (0.0, 2.0),
    "band": (0.5, 5.0),
}
"""Least and largest importance weight of each kind, where none is given."""


class MethodSettings(Settings):
    """The values that a preset sets; what it does not name is off."""

    advantage: Annotated[PluginRef, require_installed("advantages")]
    """Advantage estimator, by name. With several rewards all but ``gdpo`` compare their weighted sums, so that the one
    that varies most decides; ``gdpo`` gives each the same spread in its group first, and weighs and adds them then."""
    loss: Annotated[PluginRef, require_installed("losses")]
    """Policy loss, by name, and its parameters, such as ``clip_high``. Parameters given beside a preset with the same
    loss are added to the preset's; those of another loss replace them."""
    reduction: Literal["token_mean", "sequence_mean", "fixed_length"]
    """How token losses become one number; see ``reasonrl.algorithms.reductions``."""
    kl_coefficient: float = Field(0.0, ge=0)
    """Weight of the divergence from the initial policy; 0 loads no reference policy, unless ``kl_measured``."""
    kl_measured: bool = False
    """Measure the divergence from the initial policy where it is not charged (``policy/kl``, ``policy/kl_sequence``),
    at the cost of a reference policy and one forward pass of it a step. Where it is charged it is always measured."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Estimate of the divergence; in the loss each has the gradient of KL(policy || reference)."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Where the divergence is charged: beside the policy loss, or off each completion's reward (k1 only)."""
    kl_target: float | None = Field(None, gt=0)
    """Divergence, in nats a token, that the coefficient is adapted to; null keeps the coefficient."""
    kl_horizon: int = Field(10_000, ge=1)
    """Completions over which the coefficient follows the divergence."""
    entropy_coefficient: float = Field(0.0, ge=0)
    """Weight of the policy's entropy, which the loss then rewards; with ``entropy_target`` the one to begin with."""
    entropy_target: float | None = Field(None, gt=0)
    """Entropy, in nats a token, below which it is rewarded: the coefficient rises by ``entropy_delta`` after each step
    whose entropy is not above it, falls by as much after others, and counts 0 after those. Null keeps the
    coefficient."""
    entropy_delta: float = Field(0.005, gt=0)
    """Step of the coefficient towards ``entropy_target``."""
    entropy_max_coefficient: float = Field(1.0, gt=0)
    """Largest coefficient that ``entropy_target`` may lead to."""
    off_policy_threshold: float | None = Field(None, gt=0)
    """Leaves out the tokens with a negative advantage of completions that the policy finds unlikelier than the sampler
    did, by more than this many nats a token. Null leaves out none."""
    importance: Literal["auto", "none", "token", "sequence", "band"] = "auto"
    """Truncated importance weights against the sampler's log-probabilities. ``auto`` is ``token`` for an engine with
    weights of its own (``vllm``, ``vllm_server``, every engine but ``local``), whose log-probabilities differ from the
    learner's, and ``none`` for ``local``, which samples from the learner's own module. TRL corrects by default too
    where vLLM samples."""
    importance_low: float | None = Field(None, ge=0)
    """Least importance weight; ``band`` drops tokens below it. Null is the usual one of the kind: 0, for ``band``
    0.5."""
    importance_high: float | None = Field(None, gt=0)
    """Largest importance weight; ``band`` drops tokens above it. Null is the usual one of the kind: 2, for ``band``
    5."""
    truncated: Literal["penalize", "mask", "drop"] = "penalize"
    """What a completion cut at ``max_new_tokens`` does: ``penalize`` learns from its reward as from any other,
    ``mask`` leaves it in the baseline and in the average but not in the gradient, ``drop`` in none of them."""
    overlong_window: float | None = Field(None, gt=0, le=1)
    """Last share of ``max_new_tokens`` over which a growing penalty, at most 1, is taken off the reward."""
    refill_attempts: int = Field(0, ge=0)
    """Times that groups which teach nothing are replaced by groups of other problems; 0 keeps them."""

    @property
    def has_entropy(self) -> bool:
        """Whether the loss may reward the entropy, so that it is computed."""
        return self.entropy_coefficient > 0 or self.entropy_target is not None

    @property
    def needs_reference(self) -> bool:
        """Whether the initial policy is needed beside the one that learns."""
        return self.kl_coefficient > 0 or self.kl_measured

    @model_validator(mode="after")
    def _check_divergence(self) -> Self:
        """Refuse a divergence whose gradient would be another one, or a target that nothing follows."""
        if self.kl_in == "reward" and self.kl_estimator != "k1":
            raise ValueError(
                f"kl_estimator {self.kl_estimator} in the reward leaves out the estimate's own gradient, which is 0 "
                "in expectation for k1 only: use kl_estimator: k1, or kl_in: loss"
            )
        if self._charges_reward and self.advantage.name == "gdpo":
            raise ValueError(
                "advantage gdpo gives every part of the reward the same spread, so kl_coefficient would not matter in "
                "the reward: use kl_in: loss with kl_estimator: k3"
            )
        if self.kl_target is not None and self.kl_coefficient == 0:
            raise ValueError("kl_target is set, but kl_coefficient is 0: give the coefficient to start from, as 0.01")
        return self

    @model_validator(mode="after")
    def _check_entropy(self) -> Self:
        """Refuse a coefficient to begin with that is beyond the largest one."""
        if self.entropy_target is not None and self.entropy_coefficient > self.entropy_max_coefficient:
            raise ValueError(
                f"entropy_coefficient is {self.entropy_coefficient:g}, which is above entropy_max_coefficient, "
                f"{self.entropy_max_coefficient:g}"
            )
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        """Refuse penalties that make a reward negative under an estimator that divides by its mean."""
        takes_off = "overlong_window" if self.overlong_window else "kl_in: reward" if self._charges_reward else None
        if self.advantage.name == "maxrl" and takes_off is not None:
            raise ValueError(
                f"advantage maxrl divides by a group's mean reward, which {takes_off} could make negative: leave it "
                "out, use kl_in: loss, or advantage: group_normalized"
            )
        return self

    @property
    def _charges_reward(self) -> bool:
        return self.kl_in == "reward" and self.kl_coefficient > 0

    @model_validator(mode="after")
    def _check_importance(self) -> Self:
        low, high = self.importance_low, self.importance_high
        if self.importance == "none" and (low, high) != (None, None):
            raise ValueError("importance_low or importance_high is set, but importance is none: choose token or band")
        if self.importance == "auto":
            usual_low, usual_high = USUAL_IMPORTANCE["token"]
            low, high = usual_low if low is None else low, usual_high if high is None else high
        if low is not None and high is not None and low >= high:
            raise ValueError(f"importance_low is {low}, which is not below importance_high, {high}")
        return self


class _PresetName(Settings):
    """Makes the preset the first of its settings."""

    preset: str = "dr_grpo"
    """Named set of all values below; a value given beside it replaces the preset's."""


class AlgorithmSettings(MethodSettings, _PresetName):
    """The policy-gradient method; a preset sets every value that belongs together."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: object) -> object:
        """Complete the given values from the preset they name."""
        given = {"preset": given} if isinstance(given, str) else given
        if not isinstance(given, Mapping):
            return given
        name = str(given.get("preset", cls.model_fields["preset"].default))
        preset = _preset(name)
        beside = {role: _beside(getattr(preset, role), given[role]) for role in ("advantage", "loss") if role in given}
        filled = {**preset.model_dump(), **given, **beside, "preset": name}
        return {**filled, **_importance_range(filled)}

    def for_engine(self, engine: str) -> "AlgorithmSettings":
        """Return the settings of a run with this engine, in which ``importance`` is not ``auto``."""
        if self.importance != "auto":
            return self
        kind = "none" if engine == SHARING_ENGINE else "token"
        limits = {"importance_low": None, "importance_high": None} if kind == "none" else {}
        return self.model_validate({**self.model_dump(), "importance": kind, **limits})

    def describe_importance(self, engine: str) -> str:
        """Say whether completions of this engine are corrected for the difference of its weights, and why."""
        decided = self.for_engine(engine)
        if decided.importance == "none":
            shares = engine == SHARING_ENGINE
            why = (
                "samples from the learner's own module" if shares else "has weights of its own, but importance is none"
            )
            return f"off: engine {engine} {why}"
        chosen = "auto: " if self.importance == "auto" else ""
        return (
            f"{chosen}{decided.importance} weights from {decided.importance_low:g} to {decided.importance_high:g}, for "
            f"log-probabilities of engine {engine} that are not the learner's"
        )


def _preset(name: str) -> MethodSettings:
    """Return all values of an installed preset.

    Raises:
        ValueError: there is none of this name.
        PluginError: its values cannot be.
    """
    plugins = installed_plugins()
    if name not in (entries := plugins.entries("presets")):
        raise ValueError(plugins.unknown("presets", name).replace("no ", "no preset ", 1))
    try:
        return MethodSettings.model_validate(entries[name].value)
    except ValidationError as error:
        mistakes = "; ".join(describe_mistake(item, MethodSettings).rstrip(".") for item in error.errors())
        raise PluginError(f"{entries[name].label}: {mistakes}. Mend its package, or choose another preset.") from None


def _beside(usual: PluginRef, given: object) -> object:
    """Return a plugin given beside a preset: parameters are added to the preset's where it is the same plugin."""
    given = given.model_dump() if isinstance(given, PluginRef) else {"name": given} if isinstance(given, str) else given
    if not isinstance(given, Mapping) or given.get("name", usual.name) != usual.name:
        return given
    params = given.get("params", {})
    return {
        **given,
        "name": usual.name,
        "params": {**usual.params, **params} if isinstance(params, Mapping) else params,
    }


def _importance_range(given: Mapping[str, object]) -> dict[str, object]:
    """Fill in the limits that go with the kind of importance weights, where none are given."""
    low, high = USUAL_IMPORTANCE.get(str(given["importance"]), (None, None))
    chosen = {"importance_low": low, "importance_high": high}
    return {name: value if given[name] is None else given[name] for name, value in chosen.items()}
