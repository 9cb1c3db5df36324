"""Settings of what is watched during a run."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from reasonrl.config.base import Settings


def _word_off(given: object) -> object:
    """Undo YAML 1.1, which reads the word ``off`` as false."""
    return "off" if given is False else given


AlarmAction: TypeAlias = Annotated[Literal["off", "warn", "stop", "rollback"], BeforeValidator(_word_off)]
"""What an alarm does: nothing; a note; end the run as failed; go on from a checkpoint with a lower learning rate."""


class AlarmSettings(Settings):
    """What is watched during a run, and what each alarm does: ``off``, ``warn``, ``stop`` or ``rollback``.

    ``stop`` ends the run as failed; ``rollback`` goes on from the last checkpoint from before the trouble, or from the
    start where none of those that are kept (``run.keep_checkpoints``) is old enough.
    """

    no_useful_groups: AlarmAction = "warn"
    """Fewer than ``min_useful_groups`` of a step's groups have completions that differ in reward."""
    no_scores: AlarmAction = "warn"
    """A reward gives no completion of a step a score."""
    constant_reward: AlarmAction = "warn"
    """All completions have the same reward, step after step; where completions of one problem are compared,
    ``no_useful_groups`` says it."""
    no_learning: AlarmAction = "warn"
    """The policy is updated without effect: the learning rate or the gradient is 0, an update moves the weights by less
    than ``min_update`` of their size, or the divergence from the initial policy, where it is measured, stays 0."""
    entropy_collapse: AlarmAction = "warn"
    """The policy's entropy is below ``min_entropy``."""
    entropy_explosion: AlarmAction = "warn"
    """The policy's entropy is more than ``max_entropy_rise`` above that of the run's first steps."""
    truncation: AlarmAction = "warn"
    """More than ``max_truncated`` of a step's completions are cut at ``rollout.max_new_tokens``."""
    repetition: AlarmAction = "warn"
    """More than ``max_repetition`` of a step's completions end in a loop of the same few tokens."""
    not_finite: AlarmAction = "stop"
    """A gradient, or any other measured number, is not finite. The update is left out whatever the action."""
    gradient_spike: AlarmAction = "warn"
    """The norm of the gradient is more than ``spike_factor`` times its recent median."""
    heldout_fall: AlarmAction = "warn"
    """A held-out figure is ``heldout_margin`` below its best, although the training reward has risen since."""
    heldout_flat: AlarmAction = "warn"
    """A held-out figure is not apart from that before the first step by more than its noise (95 %), in
    ``heldout_patience`` evaluations in a row, or in all of a run that has fewer and at least ``patience`` steps."""
    reward_metric_gap: AlarmAction = "warn"
    """The reward of held-out completions has risen since an earlier evaluation, and either the metric has not, by more
    than ``max_reward_gap`` of the reward's range, or most completions that the metric calls wrong have a high reward
    and the two do not correlate: each by more than noise (``max_false_alarms``), in two evaluations in a row, or in the
    only one after that before the first step."""
    reward_failures: AlarmAction = "warn"
    """A reward fails, or runs out of time, on more than ``max_reward_failures`` of a step's samples."""
    no_answer: AlarmAction = "warn"
    """A reward that looks for an answer finds one in fewer than ``min_answered`` of a step's completions
    (``reward/{reward}/answered``)."""
    over_optimization: AlarmAction = "warn"
    """The figure named by ``gold`` has fallen since its peak by more than noise explains, although the training reward
    has risen. A roll-back goes to a checkpoint from before the peak. Needs ``gold``."""
    out_of_range: AlarmAction = "warn"
    """More than ``max_out_of_range`` of a step's samples have a score from a reward model that is above the 99.9th
    percentile of the scores of its own training data."""
    kl_budget: AlarmAction = "warn"
    """The divergence from the initial policy is above ``max_kl``. Needs ``max_kl``."""
    patience: int = Field(5, ge=1)
    """Steps in a row that a condition must hold to be an alarm, and must be gone before it can be another one; for
    what nothing is learned from, all steps of a run that has fewer.
    Gradients that are not finite or spike, held-out figures and ``over_optimization`` are alarms at once."""
    min_useful_groups: float = Field(0.05, ge=0, le=1)
    """Smallest healthy share of useful groups."""
    min_entropy: float = Field(0.01, ge=0)
    """Smallest healthy entropy, in nats a token. Short answers to easy problems are healthy at 0.02; for
    completions of hundreds of tokens 0.05 warns earlier."""
    max_entropy_rise: float = Field(1.0, gt=0)
    """Largest healthy rise of the entropy over its median in the first ``patience`` steps, in nats a token."""
    max_truncated: float = Field(0.9, ge=0, le=1)
    """Largest healthy share of truncated completions."""
    max_repetition: float = Field(0.3, ge=0, le=1)
    """Largest healthy share of repetitive completions."""
    max_reward_failures: float = Field(0.02, ge=0, le=1)
    """Largest healthy share of a step's samples on which one reward fails or runs out of time."""
    min_answered: float = Field(0.05, ge=0, le=1)
    """Smallest healthy share of a step's completions in which a reward finds an answer."""
    spike_factor: float = Field(10.0, gt=1)
    """Largest healthy gradient norm, as a multiple of the median of the 20 steps before."""
    heldout_margin: float = Field(0.05, ge=0)
    """Largest healthy fall of a held-out figure below its best; leave room for the noise of the suite's size."""
    max_reward_gap: float = Field(0.05, ge=0)
    """Largest healthy rise of the held-out reward beyond that of the metric, as a share of the reward's range."""
    heldout_patience: int = Field(3, ge=1)
    """Evaluations in a row in which a held-out figure that does not move is an alarm."""
    min_update: float = Field(1e-7, ge=0)
    """Smallest healthy change of the weights in an update, as a share of their size (``policy/update``); float32 has a
    precision of 1e-7."""
    gold: str | None = None
    """What the training reward stands for, measured apart: the label of a reward, usually one of weight 0, or the name
    of a held-out suite."""
    max_false_alarms: float = Field(0.05, gt=0, lt=1)
    """Chance of the alarm ``over_optimization`` in a run of 300 steps whose gold figure varies by noise alone, and of
    ``reward_metric_gap`` in a run whose held-out figures do. A smaller one needs more evidence."""
    max_out_of_range: float = Field(0.05, ge=0, le=1)
    """Largest healthy share of samples whose score is out of a reward model's range."""
    max_kl: float | None = Field(None, gt=0)
    """Largest allowed divergence from the initial policy, in nats a completion (``policy/kl_sequence``); null sets no
    limit. Needs a divergence that is measured: ``algorithm.kl_measured``, or a ``kl_coefficient``."""
    rollback_rate_factor: float = Field(0.5, gt=0, le=1)
    """The learning rate is multiplied by this at each roll-back, and stays so when the run is resumed."""
    max_rollbacks: int = Field(3, ge=1)
    """Roll-backs of a run; an alarm that asks for one more stops it."""

    @model_validator(mode="after")
    def _refuse_ignored_actions(self) -> Self:
        """Refuse an action of an alarm that has nothing to look at, and what an alarm that is off would look at."""
        for alarm, needed in (("over_optimization", "gold"), ("kl_budget", "max_kl")):
            action, given = getattr(self, alarm), getattr(self, needed)
            if action in ("stop", "rollback") and given is None:
                raise ValueError(f"{alarm} is {action}, but {needed} is not set, so there is nothing to watch")
            if action == "off" and given is not None:
                raise ValueError(f"{needed} is set, but {alarm} is off: leave one of them out")
        return self


class UpdateAlarmSettings(Settings):
    """What is watched of any updates, and what each alarm does: ``off``, ``warn``, ``stop`` or ``rollback``."""

    not_finite: AlarmAction = "stop"
    """A gradient, or any other measured number, is not finite. The update is left out whatever the action."""
    gradient_spike: AlarmAction = "warn"
    """The norm of the gradient is more than ``spike_factor`` times its recent median."""
    spike_factor: float = Field(10.0, gt=1)
    """Largest healthy gradient norm, as a multiple of the median of the 20 steps before."""
    rollback_rate_factor: float = Field(0.5, gt=0, le=1)
    """The learning rate is multiplied by this at each roll-back."""
    max_rollbacks: int = Field(3, ge=1)
    """Roll-backs of a run; an alarm that asks for one more stops it."""
