"""How fast samplers and a learner are together, and how many of each a length of completion needs.

    python benchmarks/pipeline_simulator.py --lengths 1000,4000,16000 --samplers 1,2,4,8 --learners 1,2,4
    python benchmarks/pipeline_simulator.py --from-run runs/my-run --samplers 1,2,4 --depths 0,1,3

Rates are stated, or those of a finished run, whose lengths are taken too unless ``--lengths`` is given. The defaults
are worked out from data sheets, for a model of 7 B parameters in bfloat16 on H100s: measure yours. docs/sizing.md says
how, and what is left out.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, product
from pathlib import Path
from random import Random

from pipeline_measured import MeasuredRun, read_run
from pipeline_model import Cpus, LearnerRates, Outcome, Pipeline, simulate
from pipeline_sampler import Draw, SamplerRates

from reasonrl.errors import ReasonRLError


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long completions are: lognormal about a mean, and those of a few problems about a longer one."""

    mean: float
    spread: float = 0.0
    """Standard deviation of the logarithm; 0 makes all equal."""
    long_share: float = 0.0
    """Share of problems whose completions are long."""
    long_mean: float = 0.0
    max_tokens: float = math.inf
    """Longer ones are cut."""

    @property
    def overall_mean(self) -> float:
        """Mean of all completions, before any is cut."""
        return (1 - self.long_share) * self.mean + self.long_share * self.long_mean

    def completions(self, random: Random, count: int) -> tuple[int, ...]:
        """Draw the lengths of one problem's completions."""
        mean = self.long_mean if random.random() < self.long_share else self.mean
        return tuple(self._one(random, mean) for _ in range(count))

    def _one(self, random: Random, mean: float) -> int:
        # The mean of a lognormal is exp(location + spread**2 / 2).
        drawn = mean * math.exp(random.gauss(-(self.spread**2) / 2, self.spread))
        return max(1, round(min(drawn, self.max_tokens)))


def stated_draws(lengths: Lengths, *, prompt: int, samples_per_prompt: int, seed: int) -> Iterator[Draw]:
    """Yield problems without end."""
    random = Random(seed)
    while True:
        yield Draw(prompt, lengths.completions(random, samples_per_prompt))


def main() -> None:
    """Print a table for each length: every number of samplers and learners, at every depth."""
    options = _options()
    try:
        run = read_run(options.from_run, _cpus(options)) if options.from_run else None
    except ReasonRLError as error:
        raise SystemExit(str(error)) from None
    base = run.pipeline if run else stated_pipeline(options)
    print("\n".join([*described(base), ""]))
    if run:
        print("\n".join([*checked(run, options.steps), ""]))
    for name, lengths in _lengths(options, run):
        draws = _Draws(options, run, lengths)
        print("\n".join([*sizing(name, _with_room(base, lengths, options), draws, options), ""]))


def _with_room(base: Pipeline, lengths: Lengths | None, options: argparse.Namespace) -> Pipeline:
    """Take no more slots than there is memory for, where each has a prompt and a completion of the mean length."""
    if lengths is None:
        return base
    slots = max(1, int(options.kv_tokens / (options.prompt_tokens + lengths.overall_mean)))
    return replace(base, sampler=replace(base.sampler, slots=min(base.sampler.slots, slots)))


@dataclass(frozen=True, slots=True)
class _Draws:
    """Makes the same stream of problems for every simulation."""

    options: argparse.Namespace
    run: MeasuredRun | None
    lengths: Lengths | None

    def stream(self) -> Iterator[Draw]:
        """Return the stream from its beginning."""
        if self.lengths is None and self.run is not None:
            return cycle(self.run.draws)
        assert self.lengths is not None, "without a run there are stated lengths"
        asked = self.options
        return stated_draws(
            self.lengths, prompt=asked.prompt_tokens, samples_per_prompt=asked.samples_per_prompt, seed=asked.seed
        )


def stated_pipeline(options: argparse.Namespace) -> Pipeline:
    """Return the pipeline that the options state."""
    sampler = SamplerRates(
        token_s=options.token_ms / 1e3,
        sequence_s=options.sequence_us / 1e6,
        context_s=options.context_ns / 1e9,
        prefill_s=1 / options.prefill_tokens_per_s,
        slots=options.slots,
    )
    return Pipeline(
        sampler=sampler,
        learner=LearnerRates(step_s=options.learner_step_s, token_s=1 / options.learner_tokens_per_s),
        push_s=options.push_s,
        scoring_s=options.scoring_ms / 1e3,
        groups_per_step=options.prompts_per_step,
        max_staleness=options.max_staleness,
        cpus=_cpus(options),
    )


def _cpus(options: argparse.Namespace) -> Cpus:
    return Cpus(count=options.cores, others=options.others, of_sampler=options.sampler_threads)


def described(pipeline: Pipeline) -> Iterator[str]:
    """Say every rate."""
    sampler, learner = pipeline.sampler, pipeline.learner
    yield (
        f"sampler: {1e3 * sampler.token_s:.3g} ms a token, {1e6 * sampler.sequence_s:.3g} us more for each sequence, "
        f"{1e9 * sampler.context_s:.3g} ns for each token of context, {1e3 * sampler.request_s:.3g} ms a request, "
        f"{1e6 * sampler.prefill_s:.3g} us a token of prefill, {sampler.slots} slots"
    )
    yield f"learner: {learner.step_s:.3g} s a step and {1e6 * learner.token_s:.3g} us a token of completions"
    cpus = pipeline.cpus
    shared = "" if math.isinf(cpus.count) else f", all on {cpus.count:g} CPUs with {cpus.others:g} others"
    yield (
        f"push {pipeline.push_s:.3g} s, scoring {1e3 * pipeline.scoring_s:.3g} ms a problem, "
        f"{pipeline.groups_per_step} problems a step{shared}"
    )


def checked(run: MeasuredRun, steps: int) -> Iterator[str]:
    """Compare the simulation of a run's own setup with the run."""
    outcome = simulate(run.pipeline, cycle(run.draws), steps)
    yield (
        f"this run, async_steps {run.pipeline.async_steps}: {run.steps_per_hour:.0f} steps/hour measured, "
        f"{outcome.steps_per_hour:.0f} simulated"
    )


def _lengths(options: argparse.Namespace, run: MeasuredRun | None) -> Iterator[tuple[str, Lengths | None]]:
    if run and not options.lengths:
        tokens = list(chain.from_iterable(draw.completions for draw in run.draws))
        yield f"lengths of the run: mean {sum(tokens) / len(tokens):.0f}, longest {max(tokens)}", None
    for mean in options.lengths or ([] if run else [1000.0, 4000.0, 16000.0]):
        lengths = Lengths(
            mean=mean,
            spread=options.spread,
            long_share=options.long_share,
            long_mean=options.long_factor * mean,
            max_tokens=options.max_factor * mean,
        )
        yield f"completions of {mean:.0f} tokens{_said_long(lengths)}", lengths


def _said_long(lengths: Lengths) -> str:
    return f", of one problem in {1 / lengths.long_share:.0f} {lengths.long_mean:.0f}" if lengths.long_share else ""


def sizing(name: str, base: Pipeline, draws: _Draws, options: argparse.Namespace) -> Iterator[str]:
    """Return the table of one length, and which row has the most steps an hour for each device."""
    yield name
    yield (
        f"{'samplers':>8} {'learners':>8} {'ahead':>5} {'steps/hour':>10} {'of sync':>7} {'a device':>8} "
        f"{'sampler busy':>12} {'sequences':>9} {'learner busy':>12} {'staleness mean':>14} {'max':>4}"
    )
    rates = {}
    for samplers, learners in product(options.samplers or [base.samplers], options.learners):
        sized = replace(base, samplers=samplers, learners=learners)
        outcomes = {
            depth: simulate(replace(sized, async_steps=depth), draws.stream(), options.steps)
            for depth in options.depths
        }
        for depth, outcome in outcomes.items():
            rates[samplers, learners, depth] = outcome.steps_per_hour / (samplers + learners)
            yield _row(samplers, learners, depth, outcome, outcomes[options.depths[0]])
    yield from _answers(rates, options.depths)


def _row(samplers: int, learners: int, depth: int, outcome: Outcome, first: Outcome) -> str:
    rate = outcome.steps_per_hour
    return (
        f"{samplers:>8} {learners:>8} {depth:>5} {rate:>10.1f} {rate / first.steps_per_hour:>6.2f}x "
        f"{rate / (samplers + learners):>8.2f} {outcome.sampler_busy:>12.0%} {outcome.sequences:>9.1f} "
        f"{outcome.learner_busy:>12.0%} {outcome.staleness_mean:>14.2f} {outcome.staleness_max:>4}"
    )


def _answers(rates: dict[tuple[int, int, int], float], depths: Sequence[int]) -> Iterator[str]:
    for depth in depths:
        of_depth = {key: rate for key, rate in rates.items() if key[2] == depth}
        samplers, learners, _ = max(of_depth, key=lambda key: of_depth[key])
        yield f"most steps an hour for each device, {depth} ahead: samplers : learners = {samplers} : {learners}"


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--from-run", type=Path, help="run directory whose rates, lengths and setup are taken")
    add("--samplers", type=_numbers, help="numbers of samplers, such as 1,2,4 (default: the run's, or 1)")
    add("--learners", type=_numbers, default=[1], help="numbers of devices that share the learner's step (1)")
    add("--depths", type=_numbers, default=[0, 1, 3], help="steps that sampling is ahead (0,1,3)")
    add("--max-staleness", type=int, help="most updates between sampling and learning, where depths are 2 or more")
    add("--steps", type=int, default=30, help="steps that are simulated (30)")
    add("--seed", type=int, default=0, help="of the lengths (0)")
    work = parser.add_argument_group("work, where it is stated")
    add = work.add_argument
    add("--lengths", type=lambda text: [float(part) for part in text.split(",")], help="mean tokens of a completion")
    add("--spread", type=float, default=0.6, help="standard deviation of the logarithm of a length; 0: all equal (0.6)")
    add("--long-share", type=float, default=0.0, help="share of problems with long completions (0)")
    add("--long-factor", type=float, default=8.0, help="how much longer these are (8)")
    add("--max-factor", type=float, default=8.0, help="completions are cut at this many times the mean (8)")
    add("--prompt-tokens", type=int, default=200, help="tokens of a prompt (200)")
    add("--prompts-per-step", type=int, default=64, help="problems of a step (64)")
    add("--samples-per-prompt", type=int, default=8, help="completions of a problem (8)")
    rates = parser.add_argument_group("rates, where there is no run")
    add = rates.add_argument
    add("--token-ms", type=float, default=8.0, help="a decoding step of an empty server (8)")
    add("--sequence-us", type=float, default=30.0, help="more of that for each running sequence (30)")
    add("--context-ns", type=float, default=17.0, help="more of that for each token of their contexts (17)")
    add("--prefill-tokens-per-s", type=float, default=25_000.0, help="tokens of prompts a second (25000)")
    add("--slots", type=int, default=256, help="most sequences side by side in a server: vllm.max_num_seqs (256)")
    add("--kv-tokens", type=float, default=900_000.0, help="tokens that a server has memory for (900000)")
    add("--learner-tokens-per-s", type=float, default=5000.0, help="completion tokens a second of one device (5000)")
    add("--learner-step-s", type=float, default=1.0, help="further seconds of a step, however many devices (1)")
    add("--push-s", type=float, default=3.0, help="weights to all samplers (3)")
    add("--scoring-ms", type=float, default=0.0, help="scoring a problem's completions (0)")
    shared = parser.add_argument_group("machines without devices")
    shared.add_argument("--cores", type=float, default=math.inf, help="cores that samplers and learner share")
    shared.add_argument("--others", type=float, default=0.0, help="threads of others that want them too, mean (0)")
    shared.add_argument("--sampler-threads", type=float, default=1.0, help="threads that a sampler works with (1)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
