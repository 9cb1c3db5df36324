"""Every metric that a run writes, with its unit and meaning; docs/metrics.md is generated from it.

A name may hold placeholders: ``{reward}`` is a reward's label, ``{suite}`` a suite's name, ``{part}`` a named part of a
reward's score, ``{outcome}`` what became of a score that is missing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final


@dataclass(frozen=True)
class Metric:
    """A name, or a family of names, in ``metrics.jsonl``."""

    name: str
    unit: str
    meaning: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the names of the family."""
        parts = re.split(r"\{\w+\}", self.name)
        return re.compile(".+".join(map(re.escape, parts)))


def describe(name: str) -> Metric | None:
    """Return the declaration of a metric's name; the most specific one where several families match."""
    matching = [metric for metric in METRICS if metric.pattern.fullmatch(name)]
    return max(matching, key=lambda metric: len(re.sub(r"\{\w+\}", "", metric.name)), default=None)


def _per_call(name: str, meaning: str) -> Iterator[Metric]:
    for suffix, which in (("p50", "Median"), ("p95", "95th percentile"), ("max", "Maximum")):
        yield Metric(f"scoring/{{reward}}/{name}_{suffix}_s", "seconds", f"{which} over a step's samples of {meaning}")


SFT: Final = {
    "token_accuracy": ("share", "Tokens with a loss that the model holds to be the most probable."),
}
PREFERENCE: Final = {
    "reward_chosen": ("reward", "`beta` times the log-ratio of good completions to the initial model, the mean."),
    "reward_rejected": ("reward", "The same of bad ones."),
    "margin": ("reward", "The first less the second."),
    "logprob_chosen": ("nats per completion", "Log-probability of good completions, the mean."),
    "logprob_rejected": ("nats per completion", "Log-probability of bad completions, the mean."),
    "logit_chosen": ("logit", "Mean logit at the tokens of good completions, over the vocabulary."),
    "logit_rejected": ("logit", "The same of bad ones."),
}
DPO: Final = {
    "accuracy": ("share", "Pairs whose chosen completion has the greater reward."),
    "token_accuracy": ("share", "Tokens of the chosen completions that the model holds to be the most probable."),
}
KTO: Final = {"kl": ("nats per completion", "Estimated divergence from the initial model, at least 0.")}
"""What TRL measures in a step beside what all trainers do, with unit and meaning."""


def _finetuning(method: str, name: str, measured: Mapping[str, tuple[str, str]]) -> Iterator[Metric]:
    """Yield the metrics of one of TRL's methods."""
    yield Metric(f"{method}/loss", "loss", f"What {name} minimized in the step.")
    for part, (unit, meaning) in measured.items():
        yield Metric(f"{method}/{part}", unit, meaning)
    yield Metric(f"{method}/entropy", "nats per token", "Mean entropy at the tokens with a loss.")
    yield Metric(f"{method}/grad_norm", "norm", "Norm of the gradient before clipping.")
    yield Metric(f"{method}/learning_rate", "rate", "Learning rate of the step.")
    yield Metric(f"{method}/tokens", "tokens", "Tokens of the step's rows, prompts included.")


METRICS: Final = (
    Metric("reward/mean", "reward", "Mean of the weighted sum over all scored trajectories that were sampled."),
    Metric("reward/std", "reward", "Standard deviation of the weighted sum over the same trajectories."),
    Metric("reward/{reward}", "reward", "Mean of one reward's own values, before its weight."),
    Metric("reward/{reward}/{part}", "reward", "Mean of a named part of one reward's score."),
    Metric(
        "reward_stderr/{reward}",
        "reward",
        "Standard error of `reward/{reward}` over the step's problems; of `reward/mean` for `mean`.",
    ),
    Metric("weight/{reward}", "factor", "Weight of the reward in this step."),
    Metric(
        "variance/{reward}",
        "share",
        "The reward's share of the variance of the sum within groups, the mean over groups: its share of what is "
        "learned where advantages are divided by the group's spread (`grpo`).",
    ),
    Metric(
        "variance_pooled/{reward}",
        "share",
        "The same with groups weighed by their variance: its share of what is learned where advantages are only "
        "centered (`dr_grpo`, `rloo`).",
    ),
    Metric("penalty/{name}", "reward", "Mean of what the method itself takes off: `kl`, `overlong`."),
    Metric("outcome/{reward}/{outcome}", "samples", "Samples without a score: `unscorable`, `timeout`, `error`."),
    Metric("scoring/{reward}/failure_rate", "share", "Samples on which the reward failed or ran out of time."),
    *_per_call("run", "the time that a call ran"),
    *_per_call("queue", "the time that a call waited for something to run on"),
    Metric("groups/count", "groups", "Groups that were sampled, unused ones included."),
    Metric("groups/discarded", "groups", "Groups without spread in reward, in whose place others were sampled."),
    Metric("groups/too_old", "groups", "Groups left out because of `rollout.max_staleness` (off-policy runs)."),
    Metric(
        "groups/useful",
        "share",
        "Groups whose members differ in reward; the others teach nothing. With a teacher all do.",
    ),
    Metric("task/{task}/share", "share", "Groups of the step that are of one task of a mixture."),
    Metric("task/{task}/reward", "reward", "Mean of the weighted sum over the task's scored trajectories."),
    Metric(
        "task/{task}/passed",
        "share",
        "Trajectories of the task whose weighted sum is at least 1, or the sum of the positive weights where that is "
        "less.",
    ),
    Metric("task/{task}/useful", "share", "Groups of the task whose members differ in reward."),
    Metric("task/{task}/length_mean", "tokens", "Mean number of tokens in a trajectory of the task."),
    Metric("task/{task}/truncated", "share", "Trajectories of the task cut at its limit."),
    Metric("task/{task}/in_play", "share", "The same as `curriculum/in_play`, of one task of a mixture."),
    Metric("task/{task}/seen", "share", "The same as `curriculum/seen`, of one task of a mixture."),
    Metric("task/{task}/pass_rate", "share", "The same as `curriculum/pass_rate`, of one task of a mixture."),
    Metric(
        "curriculum/in_play",
        "share",
        "Problems that the model sometimes solves: the mean probability that a pass rate lies between the curriculum's "
        "limits; a problem that was never seen counts 1.",
    ),
    Metric("curriculum/seen", "share", "Problems that were sampled at least once."),
    Metric("curriculum/pass_rate", "share", "Mean of the posterior means of the problems' pass rates; unseen are 0.5."),
    Metric("curriculum/passed_over", "problems", "Problems whose turn came in this step and that were not taken."),
    Metric("completion/length_mean", "tokens", "Mean number of tokens that the policy chose in a trajectory."),
    Metric("completion/length_max", "tokens", "Greatest number of tokens that the policy chose in a trajectory."),
    Metric("completion/truncated", "share", "Trajectories cut at `rollout.max_new_tokens`."),
    Metric("completion/repetition", "share", "Trajectories that end in a loop of the same few tokens."),
    Metric("policy/entropy", "nats per token", "Estimate of the policy's entropy from the sampled tokens."),
    Metric("policy/entropy_exact", "nats per token", "Entropy over the vocabulary, where the loss uses it."),
    Metric("policy/loss", "loss", "Mean over the step's updates of what was minimized."),
    Metric("policy/grad_norm", "norm", "Norm of the gradient before clipping, the mean over the step's updates."),
    Metric("policy/update", "share", "Change of the weights in an update as a share of their size, by a sample."),
    Metric("policy/learning_rate", "rate", "Learning rate of the step."),
    Metric(
        "policy/kl",
        "nats per token",
        "Divergence of the policy from the initial one (k3), where it is charged or `algorithm.kl_measured`.",
    ),
    Metric("policy/kl_sequence", "nats per completion", "The same for whole completions (k1, the mean of the sums)."),
    Metric("policy/kl_sqrt", "root of nats", "Square root of `policy/kl_sequence`, the x axis of arXiv:2210.10760."),
    Metric("policy/kl_coefficient", "factor", "Weight of that divergence after the step."),
    Metric(
        "policy/entropy_weight",
        "factor",
        "Weight of the entropy in the loss of the next step: 0 where `algorithm.entropy_target` is exceeded.",
    ),
    Metric(
        "distillation/kl",
        "nats per token",
        "Divergence of the policy from its teacher: the mean of `log(sampler / teacher)` over the sampled tokens.",
    ),
    Metric("distillation/kl_sequence", "nats per completion", "The same for whole completions: the mean of the sums."),
    Metric("distillation/logprob", "nats", "Mean log-probability that the teacher gives a sampled token."),
    Metric(
        "distillation/kl_top_k",
        "nats per token",
        "The divergence that `distillation.top_k` minimizes, over the teacher's most probable tokens and all others.",
    ),
    Metric(
        "distillation/others",
        "probability",
        "Mean probability that the policy gives to all but the teacher's most probable tokens (`top_k`).",
    ),
    Metric("value/loss", "loss", "Mean over the step's updates of what the critic minimized."),
    Metric("value/grad_norm", "norm", "Norm of the critic's gradient before clipping, the mean over its updates."),
    Metric("value/update", "share", "The same of the critic's weights."),
    Metric("value/learning_rate", "rate", "The critic's learning rate of the step."),
    Metric("value/mean", "reward", "Mean reward to come that the critic expects, over the tokens it learns from."),
    Metric("value/clipped", "share", "Tokens whose value had moved too far in the step (`critic.value_clip`)."),
    Metric("value/explained_variance", "share", "Share of the variance of the reward to come that the critic foresaw."),
    Metric("ratio/mean", "ratio", "Mean probability ratio of the policy to the one before the step."),
    Metric("ratio/max", "ratio", "Greatest probability ratio of a token."),
    Metric("ratio/clipped", "share", "Tokens with an advantage that the loss gives no gradient."),
    Metric("ratio/off_policy", "share", "Tokens that `algorithm.off_policy_threshold` leaves out."),
    Metric("importance/mean", "weight", "Mean importance weight against the sampler."),
    Metric("mismatch/mean", "nats", "Mean absolute difference between sampler and learner log-probabilities."),
    Metric("mismatch/max", "nats", "Greatest absolute difference between sampler and learner log-probabilities."),
    Metric("push/mismatch_mean", "nats", "The same on fixed prompts right after a weight sync, mean."),
    Metric("push/mismatch_max", "nats", "The same on fixed prompts right after a weight sync, greatest."),
    Metric("staleness/mean", "updates", "Mean number of weight updates between sampling and learning."),
    Metric("staleness/max", "updates", "Greatest number of weight updates between sampling and learning."),
    Metric(
        "staleness/token_mean",
        "updates",
        "Mean over tokens (`rollout.async_steps` from 2 on); the other two count from a completion's first token.",
    ),
    Metric("staleness/mixed", "share", "Completions with tokens of several policy versions (`async_steps` from 2 on)."),
    Metric(
        "rollout/buffered_groups",
        "groups",
        "Groups that are sampled and scored and that no step has taken (`async_steps` from 2 on).",
    ),
    Metric(
        "rollout/running_groups",
        "groups",
        "Groups that are being sampled or scored when a step has its own (`async_steps` from 2 on).",
    ),
    Metric("seconds/sampling", "seconds", "Time that sampling the batch took."),
    Metric("seconds/scoring", "seconds", "Time that scoring took after sampling was over."),
    Metric("seconds/waiting", "seconds", "Time that the loop waited for the batch, or for its sampling to end."),
    Metric("seconds/learning", "seconds", "Time of the optimizer updates."),
    Metric("seconds/weight_sync", "seconds", "Time that the engine took to load the new weights."),
    Metric(
        "seconds/evaluation",
        "seconds",
        "Time since the step before that went to held-out suites; of one measured while the learner learns, the time "
        "that the loop waited for it. Not part of `seconds/step`.",
    ),
    Metric("seconds/step", "seconds", "Waiting, learning and weight sync together."),
    Metric("tokens_per_second/sampling", "tokens/s", "Sampled tokens over the time of sampling."),
    Metric("tokens_per_second/learning", "tokens/s", "Tokens with a loss over the time of learning."),
    Metric("rm/loss", "loss", "What a reward model minimized in the step: the mean over its heads."),
    Metric("rm/accuracy", "share", "Pairs whose chosen completion scores higher; labels on the right side of 0.5."),
    Metric("rm/margin", "score", "Mean score of the chosen completions less that of the rejected ones."),
    Metric("rm/score_mean", "score", "Mean score of the step's completions."),
    Metric("rm/score_std", "score", "Standard deviation of those scores."),
    Metric("rm/head_std", "score", "Standard deviation of a completion's scores over the heads, the mean."),
    Metric("rm/grad_norm", "norm", "Norm of the reward model's gradient before clipping."),
    Metric("rm/update", "share", "The same of the reward model's weights."),
    Metric("rm/learning_rate", "rate", "Learning rate of the step; that of the heads is `head_rate_factor` times it."),
    Metric("rm/tokens", "tokens", "Tokens of the step's different prompts and completions."),
    *_finetuning("sft", "SFT", SFT),
    *_finetuning("dpo", "DPO", {**PREFERENCE, **DPO}),
    *_finetuning("kto", "KTO", {**PREFERENCE, **KTO}),
    Metric("heldout/accuracy", "share", "A reward model's accuracy on held-out prompts, the mean over prompts."),
    Metric("heldout/length_only", "share", "Accuracy there of the length rule that fits the training pairs better."),
    Metric("heldout/margin", "score", "Mean difference of scores on held-out pairs."),
    Metric("heldout/loss", "loss", "The reward model's loss on held-out prompts."),
    Metric("heldout/label_accuracy", "share", "Held-out completions on whose label's side of 0.5 the score is."),
    Metric("heldout/{suite}", "figure", "The suite's figure, the mean over problems; see `evals/` for its interval."),
    Metric("heldout_stderr/{suite}", "figure", "Standard error of that figure over problems."),
    Metric("heldout/{suite}/reward_mean", "reward", "Mean training reward of the suite's completions, over problems."),
    Metric("heldout/{suite}/reward_stderr", "reward", "Standard error of that mean over problems."),
    Metric(
        "heldout/{suite}/reward_low",
        "reward",
        "5th percentile of the reward over those completions, or the least where the 95th is the same.",
    ),
    Metric("heldout/{suite}/reward_high", "reward", "95th percentile, or the greatest where the 5th is the same."),
    Metric(
        "heldout/{suite}/reward_correlation",
        "correlation",
        "Pearson correlation of reward and metric over the completions; absent where one of them does not vary.",
    ),
    Metric(
        "heldout/{suite}/reward_num_wrong",
        "problems",
        "Problems with a completion that has a reward and that the metric calls wrong (below 0.5).",
    ),
    Metric(
        "heldout/{suite}/reward_high_when_wrong",
        "share",
        "Of the completions that the metric calls wrong, those whose reward is in the upper half of the range that it "
        "had in the suite's evaluations so far.",
    ),
)
