"""Check a run on this machine before it trains: its start-up report, then steps that must change nothing."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from reasonrl.config.settings import RunConfig
from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import sample_all
from reasonrl.engines.tokens import end_token_ids
from reasonrl.learner.credit import Estimates
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.sampler import RolloutSampler
from reasonrl.run.build import RunComponents, build_components
from reasonrl.run.distillation import resolve_teacher
from reasonrl.run.inputs import load_inputs
from reasonrl.run.lineage import resolve_model
from reasonrl.run.mismatch import MISMATCH_LIMITS, MismatchCheck, MismatchLimits, mismatch_check
from reasonrl.run.startup import startup_report
from reasonrl.types import Batch

SHARED_MODULE_LIMITS = {torch.float32: MismatchLimits(1e-3, 1e-3), torch.bfloat16: MismatchLimits(1e-2, 0.5)}
"""Difference between a token's log-probabilities in sampler and learner that is rounding, where both are one module:
the mean of a step, and the largest. In bfloat16 the packaged model has 1e-3 and 6e-2; those limits are provisional,
from that model alone."""

GROWTH, ROUNDING = 2.0, 1e-6
"""The mean difference of the last step may be so many times that of the first; below so many nats it may do as it
likes."""

LOWER_TEMPERATURE = 0.7
"""Temperature of the second comparison, as a share of the run's."""

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""Stands for a character of which some bytes are missing."""

NOISES = (0.03, 0.1, 0.3)
"""Relative noise on weights whose absence must be noticed: the first that is enough."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found of a run on this machine."""

    startup: str
    """Its prompts and first scores, as a person reads them."""
    notes: Mapping[str, str]
    """What the rewards say of their surroundings."""
    checks: Sequence[Check]

    @property
    def passed(self) -> bool:
        """Whether everything holds that must."""
        return all(check.passed for check in self.checks)

    def as_json(self) -> Mapping[str, object]:
        """Return it as JSON values."""
        return {**asdict(self), "passed": self.passed}


def examine_run(config: RunConfig, plugins: Plugins, *, steps: int, say: Callable[[str], None]) -> Examination:
    """Examine a run with its own prompts and model.

    Args:
        config: the run.
        plugins: where its parts come from.
        steps: steps to take.
        say: called with each part of the findings.

    Raises:
        ReasonRLError: the run could not even start.
    """
    still = _standing_still(resolve_teacher(resolve_model(config, plugins), plugins))
    inputs = load_inputs(still, plugins)
    components = build_components(still, inputs, plugins)
    found: list[Check] = []
    with closing(components):
        first = next(components.sampler.batches(range(1, 2)))
        startup = startup_report(first, config, components.learner.model, components.tokenizer).text
        say(startup)
        notes = dict(components.rewards.notes)
        for name, note in notes.items():
            say(f"{name}: {note}")
        for check in checks(components, first, steps, mismatch_check(still, inputs, components)):
            say(check.line())
            found.append(check)
    return Examination(startup=startup, notes=notes, checks=found)


def _standing_still(config: RunConfig) -> RunConfig:
    """Return the run with a learning rate of 0, by which weight decay is scaled too, and without refilled groups.

    The policy takes part from the first step on.
    """
    learner = config.learner.model_copy(update={"learning_rate": 0.0})
    algorithm = config.algorithm.model_copy(update={"refill_attempts": 0})
    critic = config.critic.model_copy(update={"pretrain_steps": 0})
    return config.model_copy(update={"learner": learner, "algorithm": algorithm, "critic": critic})


def checks(
    components: RunComponents, first: Batch, steps: int, comparison: MismatchCheck | None = None
) -> Iterator[Check]:
    """Check components whose learning rate is 0, from the first step that they sampled on.

    Args:
        components: what samples and learns.
        first: the first step.
        steps: how many are taken.
        comparison: compares an engine that has weights of its own with the learner.
    """
    others = components.sampler.batches(range(first.step + 1, first.step + steps), first.position)
    if comparison is not None:
        yield from _own_weights(comparison, components)
    yield from _learn_nothing(components, chain([first], others), comparison)
    yield from _same_tokens(components.sampler, first)


def _own_weights(comparison: MismatchCheck, components: RunComponents) -> Iterator[Check]:
    """An engine with weights of its own must have the learner's, and do with them and with tokens as it does."""
    asked = comparison.params.temperature
    yield _agree(comparison, "engine and learner agree")
    yield _agree(comparison.at(LOWER_TEMPERATURE * asked), f"they agree at temperature {LOWER_TEMPERATURE * asked:g}")
    yield from _new_weights(comparison)
    size = len(_head(comparison))
    edges = replace(comparison, requests=tuple(replace(r, prompt_ids=(0, size - 1)) for r in comparison.requests[:2]))
    yield _agree(edges, f"they agree after the first and the last of {size} tokens")
    if any(weight is _head(comparison) for _, weight in comparison.learner.weights()):
        yield _every_end_ends(comparison, components)
    yield _stop_string_stops(comparison, components)


def _agree(comparison: MismatchCheck, name: str) -> Check:
    seen = comparison.measure()
    wrong = comparison.diagnose(seen)
    return Check(name, wrong is None, f"log-probabilities differ by {seen}; limits {comparison.limits}", wrong or "")


def _new_weights(comparison: MismatchCheck) -> Iterator[Check]:
    """Weights that were not pushed must be noticed, those that were must arrive, and the old ones come back."""
    learner = comparison.learner
    for noise in NOISES:
        with _changed((weight for _, weight in learner.weights()), partial(_noisy, noise)):
            stale = comparison.measure()
            noticed = not comparison.limits.include(stale)
            if not noticed and noise < NOISES[-1]:
                continue
            yield Check(
                "weights that are not pushed are noticed",
                noticed,
                f"with noise of {noise:.0%} on the learner's alone, log-probabilities differ by {stale}",
                f"The limits ({comparison.limits}) are too wide for this model: stale weights look like rounding.",
            )
            yield _pushed(comparison, "new weights arrive")
            break
    yield _pushed(comparison, "the old weights come back")


def _pushed(comparison: MismatchCheck, name: str) -> Check:
    learner = comparison.learner
    learner.policy_version += 1
    comparison.engine.load_weights(learner.weights(), learner.policy_version)
    return _agree(comparison, name)


def _noisy(size: float, weight: Tensor) -> Tensor:
    """Return a weight with relative noise, the same each time; half of a new adapter is zero, and gets some too."""
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())).to(weight)
    return weight + size * noise * (weight if weight.any() else 1.0)


@contextmanager
def _changed(weights: Iterable[Tensor], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change weights in place, and give them back as they were."""
    kept = [(weight, weight.detach().clone()) for weight in weights]
    with torch.no_grad():
        try:
            for weight, _ in kept:
                weight.copy_(change(weight))
            yield
        finally:
            for weight, before in kept:
                weight.copy_(before)


def _head(comparison: MismatchCheck) -> Tensor:
    weight: Tensor = comparison.learner.model.get_output_embeddings().weight  # type: ignore[no-untyped-call]
    return weight


def _every_end_ends(comparison: MismatchCheck, components: RunComponents) -> Check:
    """The engine must end a completion at each end-of-sequence token; each is made the likeliest in turn."""
    ends = sorted(end_token_ids(comparison.learner.model, components.tokenizer))
    missed = [end for end in ends if not _ends_at(comparison, end, ends)]
    comparison.engine.load_weights(comparison.learner.weights(), comparison.learner.policy_version)
    return Check(
        "every end of sequence ends a completion",
        not missed,
        f"{len(ends) - len(missed)} of {len(ends)} did" + (f", not {missed}" if missed else ""),
        "The engine reads another tokenizer or generation_config.json: finished answers would be cut at "
        "rollout.max_new_tokens, or go on behind their end.",
    )


def _ends_at(comparison: MismatchCheck, end: int, ends: Sequence[int]) -> bool:
    """Make a token the likeliest and see whether the engine stops at it.

    Its row of the output embedding, which an adapter leaves as it is, becomes that of the likeliest token, made longer
    or shorter. The prompt is free of such tokens, because in a tied embedding they would change with it.
    """
    learner, engine = comparison.learner, comparison.engine
    prompt = tuple(token for token in comparison.requests[0].prompt_ids if token not in ends)

    def likelier(head_VD: Tensor) -> Tensor:
        logits_V = learner.model(torch.tensor([prompt], device=head_VD.device), use_cache=False).logits[0, -1]
        changed_VD = head_VD.clone()
        changed_VD[end] = head_VD[logits_V.argmax()] * (2.0 if logits_V.max() > 0 else 0.5)
        return changed_VD

    with _changed([_head(comparison)], likelier):
        engine.load_weights(learner.weights(), learner.policy_version)
        greedy = SamplingParams(max_new_tokens=2, temperature=0.0)
        (completion,) = sample_all(engine, [Request(prompt_ids=prompt, seed=0, params=greedy)])
    return completion.token_ids == (end,) and completion.finish_reason == "stop"


def _stop_string_stops(comparison: MismatchCheck, components: RunComponents) -> Check:
    """A string from the middle of a completion, given as a stop string, must end it at the token that completes it."""
    request, decode = comparison.requests[0], components.tokenizer.decode
    (free,) = sample_all(comparison.engine, [request])
    middle = str(decode(list(free.token_ids[: 1 + len(free.token_ids) // 2])))
    string = middle.rstrip(UNFINISHED)[-3:] or middle
    stopping = replace(request, params=replace(request.params, stop=(string,)))
    (stopped,) = sample_all(comparison.engine, [stopping])
    text, before = decode(list(stopped.token_ids)), decode(list(stopped.token_ids[:-1]))
    return Check(
        "a stop string ends a completion",
        string in text and string not in before and stopped.finish_reason == "stop",
        f"{string!r} in {text!r}, finish reason {stopped.finish_reason}",
        "The engine reads tokens as other text than the tokenizer here, or does not repeat its samples.",
    )


def _learn_nothing(
    components: RunComponents, batches: Iterable[Batch], comparison: MismatchCheck | None
) -> Iterator[Check]:
    """Take real steps at learning rate 0: the weights, the ratio and the mismatch must stay what they are."""
    before = {name: value.detach().clone() for name, value in components.learner.weights()}
    measured = [_step(components, batch) for batch in batches]
    yield _same_weights(components, before)
    if any(math.isnan(step.get("policy/grad_norm", 0.0)) for step in measured):
        yield Check("gradients are finite", False, "one is not", "Look for rewards or products that overflow.")
        return
    if all("ratio/max" in step for step in measured):
        yield _ratio_is_one(measured)
        dtype = comparison.dtype if comparison else components.dtype
        yield from _mismatch(measured, dtype, MISMATCH_LIMITS[dtype] if comparison else SHARED_MODULE_LIMITS[dtype])
    else:
        yield Check("completions reach the learner", False, "a step had none", "Raise rollout.max_new_tokens.")


def _step(components: RunComponents, batch: Batch) -> Mapping[str, float]:
    """Learn from every completion of a batch, also where all have one reward: advantages are 1 and -1 in turn."""
    alternating = tuple(tuple(1.0 - 2.0 * (index % 2) for index in range(len(row))) for row in batch.results)
    learner = components.learner
    components.engine.sleep()
    measured = learner.update(components.step.credit.samples(batch, Estimates(advantages=alternating)))
    components.engine.load_weights(learner.weights(), learner.policy_version)
    return measured


def _same_weights(components: RunComponents, before: Mapping[str, torch.Tensor]) -> Check:
    """Compare every parameter bit for bit."""
    moved = [name for name, value in components.learner.weights() if not torch.equal(value, before[name])]
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


def _mismatch(measured: Sequence[Mapping[str, float]], dtype: torch.dtype, limits: MismatchLimits) -> Iterator[Check]:
    """Sampler and learner must agree on every token's probability, and keep agreeing."""
    largest = max(step["mismatch/max"] for step in measured)
    means = [step["mismatch/mean"] for step in measured]
    yield Check(
        "sampler and learner agree",
        largest < limits.largest and max(means) < limits.mean,
        f"log-probabilities differ by at most {largest:.2g} nats and by {max(means):.2g} in the mean of a step; limits "
        f"of {str(dtype).removeprefix('torch.')} are {limits.largest:g} and {limits.mean:g}",
        "They see different tokens, positions, masks or temperatures, or round too coarsely: try "
        "model.compute_dtype=float32; if that does not help, the model needs inputs that one of them does not give.",
    )
    yield Check(
        "their difference stays",
        means[-1] <= max(GROWTH * means[0], ROUNDING),
        f"mean {means[0]:.2g} nats in the first step, {means[-1]:.2g} in the last",
        "The sampler's weights drift away from the learner's though neither learns: weights are handed on wrongly.",
    )


def _same_tokens(sampler: RolloutSampler, first: Batch) -> Iterator[Check]:
    """The first step, sampled again with its seeds, must give the same tokens."""
    again = sampler.sample(first.step, [group.problem for group in first.groups])
    pairs = [
        (one.token_ids, other.token_ids)
        for group, repeated in zip(first.groups, again, strict=True)
        for one, other in zip(group.trajectories, repeated.trajectories, strict=True)
    ]
    differ = sum(one != other for one, other in pairs)
    yield Check(
        "the same seeds give the same tokens",
        not differ,
        f"{len(pairs) - differ} of {len(pairs)} completions came out again",
        "Sampling is not reproducible here, so a resumed run will differ: look for randomness in the model's forward "
        "pass, or set CUBLAS_WORKSPACE_CONFIG=:4096:8.",
    )
