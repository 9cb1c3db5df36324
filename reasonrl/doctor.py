"""Is a run sound on this machine? Its start-up report, then steps that must change nothing. Writes nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from reasonrl.assembly import Machinery, build, gather, sampler
from reasonrl.config import RunConfig
from reasonrl.errors import RunError
from reasonrl.plugins import Plugins
from reasonrl.rollouts import Sampler
from reasonrl.startup import startup_report
from reasonrl.types import Batch

MISMATCH_LIMITS = {torch.float32: (1e-3, 1e-3), torch.bfloat16: (1e-2, 0.5)}
"""Mean of a step, and largest, difference between a token's log-probabilities in sampler and learner, in nats, that
is rounding. In bfloat16 the packaged model has 1e-3 and 6e-2; those limits are provisional, from that model alone."""

GROWTH, ROUNDING = 2.0, 1e-6
"""The mean difference of the last step may be so many times that of the first; below so many nats it may do as it
likes."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold, and whether it does."""

    name: str
    passed: bool
    seen: str
    advice: str
    """What to do when it does not hold."""

    def line(self) -> str:
        """Return the check as a person reads it."""
        return f"{'ok    ' if self.passed else 'FAILED'} {self.name}: {self.seen}" + (
            "" if self.passed else f". {self.advice}"
        )


def examine_run(config: RunConfig, plugins: Plugins, *, steps: int, say: Callable[[str], None]) -> int:
    """Examine a run with its own prompts and model; return the exit code.

    Args:
        config: the run.
        plugins: where its parts come from.
        steps: steps to take.
        say: called with each part of the findings.

    Raises:
        ReasonRLError: the run could not even start.
    """
    still = _standing_still(config)
    material = gather(still, plugins)
    machinery = build(still, material, plugins)
    samples = sampler(still, material, machinery)
    first = next(samples.batches(range(1, 2)))
    say(startup_report(first, config, machinery.learner.model, machinery.tokenizer).text)
    passed = True
    for check in checks(machinery, samples, first, steps):
        say(check.line())
        passed = passed and check.passed
    return 0 if passed else RunError.exit_code


def _standing_still(config: RunConfig) -> RunConfig:
    """Return the run with a learning rate of 0, by which weight decay is scaled too, and without refilled groups."""
    learner = config.learner.model_copy(update={"learning_rate": 0.0})
    algorithm = config.algorithm.model_copy(update={"refill_attempts": 0})
    return config.model_copy(update={"learner": learner, "algorithm": algorithm})


def checks(machinery: Machinery, samples: Sampler, first: Batch, steps: int) -> Iterator[Check]:
    """Check a machinery whose learning rate is 0, from the first step it sampled on."""
    others = samples.batches(range(first.step + 1, first.step + steps), first.position)
    yield from _canary(machinery, chain([first], others))
    yield from _same_tokens(samples, first)


def _canary(machinery: Machinery, batches: Iterable[Batch]) -> Iterator[Check]:
    """Take real steps at learning rate 0: the weights, the ratio and the mismatch must stay what they are."""
    before = {name: value.detach().clone() for name, value in machinery.learner.weights()}
    measured = [_step(machinery, batch) for batch in batches]
    yield _same_weights(machinery, before)
    if all("ratio/max" in step for step in measured):
        yield _ratio_is_one(measured)
        yield from _mismatch(machinery, measured)
    else:
        yield Check("completions reach the learner", False, "a step had none", "Raise rollout.max_new_tokens.")


def _step(machinery: Machinery, batch: Batch) -> Mapping[str, float]:
    """Learn from every completion of a batch, also where all have one reward: advantages are 1 and -1 in turn."""
    alternating = tuple(tuple(1.0 - 2.0 * (index % 2) for index in range(len(row))) for row in batch.verdicts)
    learner = machinery.learner
    measured = learner.update(machinery.parts.credit.samples(batch, alternating))
    machinery.engine.load(learner.weights(), learner.policy_version)
    return measured


def _same_weights(machinery: Machinery, before: Mapping[str, torch.Tensor]) -> Check:
    """Compare every parameter bit for bit."""
    moved = [name for name, value in machinery.learner.weights() if not torch.equal(value, before[name])]
    return Check(
        "weights at learning rate 0",
        not moved,
        f"{len(moved)} of {len(before)} parameters moved" + (f", first {moved[0]}" if moved else ""),
        "Something other than the learning rate moves the weights: look for code that writes into the model, such as a "
        "hook, or buffers that are parameters.",
    )


def _ratio_is_one(measured: Sequence[Mapping[str, float]]) -> Check:
    """The policy before an update and in it are the same, so the ratio of every token is 1."""
    found = [step[name] for step in measured for name in ("ratio/mean", "ratio/max")]
    return Check(
        "ratio at learning rate 0",
        set(found) == {1.0},
        f"between {min(found)!r} and {max(found)!r}, wanted exactly 1",
        "The model gives one sequence two probabilities: look for dropout or other randomness in its forward pass.",
    )


def _mismatch(machinery: Machinery, measured: Sequence[Mapping[str, float]]) -> Iterator[Check]:
    """Sampler and learner must agree on every token's probability, and keep agreeing."""
    largest = max(step["mismatch/max"] for step in measured)
    means = [step["mismatch/mean"] for step in measured]
    (mean_limit, limit), dtype = MISMATCH_LIMITS[machinery.dtype], str(machinery.dtype).removeprefix("torch.")
    yield Check(
        "sampler and learner agree",
        largest < limit and max(means) < mean_limit,
        f"log-probabilities differ by at most {largest:.2g} nats and by {max(means):.2g} in the mean of a step; limits "
        f"of {dtype} are {limit:g} and {mean_limit:g}",
        "They see different tokens, positions, masks or temperatures, or round too coarsely: try "
        "model.compute_dtype=float32; if that does not help, the model needs inputs that one of them does not give.",
    )
    yield Check(
        "their difference stays",
        means[-1] <= max(GROWTH * means[0], ROUNDING),
        f"mean {means[0]:.2g} nats in the first step, {means[-1]:.2g} in the last",
        "The sampler's weights drift away from the learner's though neither learns: weights are handed on wrongly.",
    )


def _same_tokens(samples: Sampler, first: Batch) -> Iterator[Check]:
    """The first step, sampled again with its seeds, must give the same tokens."""
    again = samples.sample(first.step, [group.problem for group in first.groups])
    pairs = [
        (one.token_ids, other.token_ids)
        for group, repeated in zip(first.groups, again, strict=True)
        for one, other in zip(group.completions, repeated.completions, strict=True)
    ]
    differ = sum(one != other for one, other in pairs)
    yield Check(
        "the same seeds give the same tokens",
        not differ,
        f"{len(pairs) - differ} of {len(pairs)} completions came out again",
        "Sampling is not reproducible here, so a resumed run will differ: look for randomness in the model's forward "
        "pass, or set CUBLAS_WORKSPACE_CONFIG=:4096:8.",
    )
