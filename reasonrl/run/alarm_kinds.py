"""The kinds of alarms, what each usually means, and what to do."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "no_useful_groups",
    "no_scores",
    "constant_reward",
    "no_learning",
    "entropy_collapse",
    "entropy_explosion",
    "truncation",
    "repetition",
    "not_finite",
    "gradient_spike",
    "heldout_fall",
    "heldout_flat",
    "reward_metric_gap",
    "reward_failures",
    "no_answer",
    "over_optimization",
    "out_of_range",
    "kl_budget",
]
"""Named as the setting of :class:`~reasonrl.config.settings.AlarmSettings` that says what the alarm does."""

AT_ONCE: Final = ("not_finite", "gradient_spike", "heldout_fall", "over_optimization")
"""Kinds that need no patience."""

ALL_ALONG: Final = ("no_useful_groups", "no_scores", "constant_reward", "no_learning")
"""Kinds that a run shorter than their patience sets off too, where they hold in each of its steps."""

MEANINGS: Final[Mapping[Kind, str]] = {
    "no_useful_groups": "Usually the problems are all too hard or all solved, or the reward gives every completion the "
    "same: nothing is learned. Change the task's difficulty, or sample more completions a problem.",
    "no_scores": "Without a score no completion teaches anything. The rollouts say why of each: look whether the "
    "reward reads columns that the data has, and whether it returns None where it means 0.",
    "constant_reward": "Nothing is learned from a reward that tells no completion from another. Look at its values in "
    "the rollouts, change the task's difficulty, or give partial credit.",
    "no_learning": "The run costs its time and changes nothing. Raise learner.learning_rate (1e-6 is usual for all "
    "weights of a large model, 1e-5 to 5e-4 for an adapter or a tiny one), or look whether the schedule is over "
    "(run.steps, learner.schedule_steps) and whether anything has an advantage.",
    "entropy_collapse": "Usually the policy gives every problem one answer and explores no more: where the reward is "
    "high the task is learned, otherwise lower the learning rate, raise algorithm.loss.params.clip_high, or set "
    "algorithm.entropy_target.",
    "entropy_explosion": "Usually the policy is falling apart into noise. Lower the learning rate, or take "
    "entropy_coefficient down.",
    "truncation": "Usually rollout.max_new_tokens is too small, or the model does not end its answers: startup.md "
    "lists the tokens that end one.",
    "repetition": "Usually the policy is stuck in loops. Lower the learning rate, and look whether the reward pays for "
    "length.",
    "not_finite": "Usually the learning rate is too high, or a reward or a product overflows. Its update was left out.",
    "gradient_spike": "Usually one strange batch, or the first sign of divergence. Look for extreme scores, and lower "
    "learner.max_grad_norm or the learning rate when it happens again.",
    "heldout_fall": "Usually the reward is being gamed, or the training problems are memorized.",
    "heldout_flat": "Either nothing is learned (look at the training reward and the other alarms), or what is learned "
    "does not show there: other problems, another template or too small max_new_tokens, a figure that is near 0 or 1 "
    "from the start, or too few problems to show it (evaluation.suites).",
    "reward_metric_gap": "Usually the reward pays for something that the metric does not count, such as a form or a "
    "length, and the policy has found it. Read the completions with a high reward that the metric calls wrong, and "
    "mend the reward.",
    "reward_failures": "Those samples have no score and teach nothing, or the value that is set for timeouts. The "
    "rollouts say why of each: mend the reward, or give it more time (timeout_s).",
    "no_answer": "Usually the completions do not mark their answer as this reward reads it, so nothing is learned. Ask "
    "for the mark (template boxed or r1_zero, or one of your own), or let the reward read prose: add phrase, last_line "
    "and conclusion, or last_number, to its params.sources.",
    "over_optimization": "Usually the policy has found what the training reward pays for and nobody wants: from here "
    "on it gets worse. Take the checkpoint from the peak, or train with algorithm.kl_coefficient, or with an ensemble "
    "of reward models.",
    "out_of_range": "The reward model judges texts unlike those that it learned from, and its scores mean little "
    "there. Charge more for the divergence (algorithm.kl_coefficient), or train it on completions of this policy.",
    "kl_budget": "The policy has moved as far from the initial one as was allowed. Stop here, or charge more for the "
    "divergence (algorithm.kl_coefficient).",
}
"""What each alarm usually means, and what to do."""
