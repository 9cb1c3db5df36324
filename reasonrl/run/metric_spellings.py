"""What TRL and verl call our metrics: the table of docs/metric-names.md, and the names that trackers get.

TRL's names are those of 1.x ``GRPOTrainer`` (for other kinds of runs ``RewardTrainer``, ``SFTTrainer``, ``DPOTrainer``
and ``KTOTrainer``), verl's those of 0.9.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, TypeAlias

MetricNames: TypeAlias = Literal["reasonrl", "trl"]


@dataclass(frozen=True)
class Spelling:
    """A metric, or a family of metrics, and its names elsewhere."""

    ours: str
    trl: str = ""
    """TRL's name of what means the same, with our placeholders; empty if there is none."""
    verl: str = ""
    """What the documentation says of verl, as Markdown."""
    is_complement: bool = False
    """TRL has 1 less our value."""
    trl_note: str = ""
    """What the documentation says of TRL beside the name, or in its place, as Markdown."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches our names; placeholders are groups."""
        return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(self.ours)))

    @property
    def documented_trl(self) -> str:
        """The cell of the documentation's table."""
        name = f"{'1 - ' if self.is_complement else ''}`{self.trl}`" if self.trl else ""
        return " ".join(filter(None, [name, self.trl_note])) or "–"

    def in_trl(self, name: str, value: float) -> tuple[str, float] | None:
        """Return TRL's name and value of one of our metrics; None where it is not this one, or TRL has none."""
        if not self.trl or (found := self.pattern.fullmatch(name)) is None:
            return None
        return self.trl.format(**found.groupdict()), 1 - value if self.is_complement else value


EVERYWHERE: Final = {name: name for name in ("loss", "entropy", "grad_norm", "learning_rate")}
OF_PAIRS: Final = {
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
    "margin": "rewards/margins",
    "logprob_chosen": "logps/chosen",
    "logprob_rejected": "logps/rejected",
    "logit_chosen": "logits/chosen",
    "logit_rejected": "logits/rejected",
}
FINETUNING: Final[Mapping[str, Mapping[str, str]]] = {
    "sft": {"token_accuracy": "mean_token_accuracy"},
    "dpo": {**OF_PAIRS, "accuracy": "rewards/accuracies", "token_accuracy": "mean_token_accuracy"},
    "kto": {**OF_PAIRS, "kl": "kl"},
}
"""Metrics of ``SFTTrainer``, ``DPOTrainer`` and ``KTOTrainer``, from ours to TRL's."""

SPELLINGS: Final = (
    Spelling("reward/mean", "reward", "`critic/score/mean`"),
    Spelling("reward/std", "reward_std", "–", trl_note="(with n - 1; ours with n)"),
    Spelling("reward/{reward}", "rewards/{reward}/mean", "reward extra info"),
    Spelling("penalty/{name}", "", "`critic/rewards/mean` less `critic/score/mean`"),
    Spelling("groups/useful", "frac_reward_zero_std", is_complement=True),
    Spelling("completion/length_mean", "completions/mean_length", "`response_length/mean`"),
    Spelling("completion/length_max", "completions/max_length", "`response_length/max`"),
    Spelling("completion/truncated", "completions/clipped_ratio", "`response_length/clip_ratio`"),
    Spelling("policy/loss", "loss", "`actor/pg_loss`"),
    Spelling("policy/entropy", "entropy", "`actor/entropy`"),
    Spelling("policy/grad_norm", "grad_norm", "`actor/grad_norm`"),
    Spelling("policy/learning_rate", "learning_rate", "`actor/lr`"),
    Spelling("policy/kl", "kl", "`actor/kl_loss`"),
    Spelling(
        "policy/kl_coefficient",
        "",
        "`actor/kl_coef`, `actor/reward_kl_penalty_coeff`",
        trl_note="`beta`, which is constant",
    ),
    Spelling("policy/entropy_weight", "entropy_coef", trl_note="(also where it does not count)"),
    Spelling("ratio/clipped", "clip_ratio/region_mean", "`actor/pg_clipfrac`"),
    Spelling("ratio/mean"),
    Spelling("ratio/max"),
    Spelling("importance/mean", "sampling/importance_sampling_ratio/mean", "`rollout_corr/rollout_is_mean`"),
    Spelling(
        "mismatch/mean",
        "sampling/sampling_logp_difference/mean",
        "`training/rollout_probs_diff_mean` (of probabilities)",
    ),
    Spelling(
        "mismatch/max", "sampling/sampling_logp_difference/max", "`training/rollout_probs_diff_max` (of probabilities)"
    ),
    Spelling("value/loss", "", "`critic/vf_loss`", trl_note="(`PPOTrainer`)"),
    Spelling("value/clipped", "", "`critic/vf_clipfrac`", trl_note="(`PPOTrainer`)"),
    Spelling("value/explained_variance", "", "`critic/vf_explained_var`"),
    Spelling("value/mean", "", "`critic/values/mean`"),
    Spelling("value/grad_norm", "", "`critic/grad_norm`"),
    Spelling("value/learning_rate", "", "`critic/lr`"),
    Spelling("seconds/sampling", "", "`timing_s/gen`"),
    Spelling("seconds/scoring", "", "`timing_s/reward`"),
    Spelling("seconds/learning", "", "`timing_s/update_actor`"),
    Spelling("seconds/step", "step_time", "`timing_s/step`"),
    Spelling("tokens_per_second/sampling", "", "`perf/throughput` (of the whole step)"),
    Spelling("heldout/{suite}", "", "`val-core/{data_source}/reward/mean@N`"),
    Spelling("heldout/{suite}/reward_mean", "eval_{suite}_reward", trl_note="of several evaluation sets"),
    Spelling("rm/loss", "loss"),
    Spelling("rm/accuracy", "accuracy"),
    Spelling("rm/margin", "margin"),
    Spelling("rm/score_mean", "mean_reward"),
    Spelling("rm/grad_norm", "grad_norm"),
    Spelling("rm/learning_rate", "learning_rate"),
    *(
        Spelling(f"{method}/{ours}", trl)
        for method, names in FINETUNING.items()
        for ours, trl in {**EVERYWHERE, **names}.items()
    ),
    Spelling("heldout/accuracy", "eval_accuracy"),
    Spelling("heldout/margin", "eval_margin"),
    Spelling("heldout/loss", "eval_loss"),
)
"""Of several that match a name, the most specific one stands for it."""

STEP: Final = Spelling("step", "step", "`training/global_step`", trl_note="(`train/global_step` in trackers)")
"""The field of each line of metrics.jsonl."""


def in_trackers(step: int, metrics: Mapping[str, float], names: MetricNames) -> Mapping[str, float]:
    """Return the metrics of a step under the names that trackers get.

    TRL's are those that a tracker has of TRL's trainers: transformers puts ``train/`` or ``eval/`` before each, and
    adds the step. Metrics that TRL has no name for keep ours.
    """
    if names == "reasonrl":
        return metrics
    renamed = (
        (name, value) if _is_part_of_a_score(name, metrics) else _in_trl(name, value) for name, value in metrics.items()
    )
    return {"train/global_step": float(step), **dict(renamed)}


def _is_part_of_a_score(name: str, metrics: Mapping[str, float]) -> bool:
    """Tell ``reward/{reward}/{part}`` from ``reward/{reward}``, as a reward's label may hold a slash."""
    head, _, label = name.partition("/")
    return head == "reward" and label not in ("mean", "std") and f"scoring/{label}/failure_rate" not in metrics


def _in_trl(name: str, value: float) -> tuple[str, float]:
    spelling = max(
        (each for each in SPELLINGS if each.pattern.fullmatch(name)), key=_length_without_placeholders, default=None
    )
    found = None if spelling is None else spelling.in_trl(name, value)
    return (name, value) if found is None else (_as_transformers_shows(found[0]), found[1])


def _length_without_placeholders(spelling: Spelling) -> int:
    return len(re.sub(r"\{\w+\}", "", spelling.ours))


def _as_transformers_shows(name: str) -> str:
    """Return the name that transformers' integrations with trackers make of one that a trainer logs."""
    return f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"


def documented() -> Iterator[tuple[str, str, str]]:
    """Yield the rows of the documentation's table: ours, TRL's, verl's, as Markdown."""
    yield f"`{STEP.ours}` (a field of each line)", STEP.documented_trl, STEP.verl
    for spelling in SPELLINGS:
        yield f"`{spelling.ours}`", spelling.documented_trl, spelling.verl or "–"
