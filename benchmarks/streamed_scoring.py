"""How much of a slow reward hides behind sampling, when completions are scored as they arrive.

The same steps are drawn in two ways, in turn: the scorer is told of completions as they arrive, or when all are there.
The reward only sleeps, in worker processes, so that it takes time and no processor; one that computes competes with
the sampling for cores and gains less. Which way comes first changes from pair to pair.

  python benchmarks/streamed_scoring.py
  python benchmarks/streamed_scoring.py --sleep-s 0.2 --workers 8

The gain depends on the machine and on these settings alone: scoring that takes no longer than sampling disappears, but
for the completions that end last; scoring that takes very much longer hardly gets shorter.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from measuring import machine, row, spread

from reasonrl.config.settings import PluginRef, RewardRef, ScoringSettings
from reasonrl.engines import SamplingParams
from reasonrl.engines.local import LocalEngine
from reasonrl.models.load import load_model, load_tokenizer
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.rollout.environment import SingleTurn
from reasonrl.rollout.groups import GroupSampler
from reasonrl.rollout.order import DataOrder
from reasonrl.rollout.sampler import RolloutSampler
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.tasks import load_problems
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.contract import load_reward
from reasonrl.types import Batch, Group, RewardResults, Rollout

PROMPTS, SAMPLES = 8, 8

REWARD = """\
import time


def slow(rollout, *, sleep_s):
    time.sleep(sleep_s)
    return len(rollout.text) % 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    model: str
    max_new_tokens: int
    sleep_s: float
    workers: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Afterwards:
    """Scores what was sampled when all of it is there."""

    scorer: RewardScorer

    def submit_rollout(self, rollout: Rollout, step: int) -> None:
        """Wait."""

    def submit_group(self, group: Group, step: int) -> None:
        """Wait."""

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        """Score everything."""
        return self.scorer.score(groups, step)


@dataclass(frozen=True, slots=True)
class Pair:
    """One step, drawn in both ways."""

    streamed: Batch
    afterwards: Batch

    @property
    def ratio(self) -> float:
        """How many times longer it takes to score afterwards."""
        return total(self.afterwards) / total(self.streamed)


def total(batch: Batch) -> float:
    """Return the seconds until a step is sampled and scored."""
    return sum(batch.seconds.values())


def benchmark(options: Options) -> Iterator[str]:
    """Measure and tell."""
    yield from machine()
    yield (
        f"{options.model}, local engine: {PROMPTS} prompts x {SAMPLES} completions of at most {options.max_new_tokens} "
        f"tokens;"
    )
    yield f"a reward that sleeps {options.sleep_s:g} s, {options.workers} workers; medians over {options.pairs} pairs"
    pairs = measure(options)
    assert all(pair.streamed.results == pair.afterwards.results for pair in pairs), "the ways differ in their scores"
    yield row("seconds", "sampling", "scoring beyond it", "both")
    yield told("as completions arrive", [pair.streamed for pair in pairs])
    yield told("after sampling", [pair.afterwards for pair in pairs])
    yield f"{median(pair.ratio for pair in pairs):.1f}x"


def told(name: str, batches: Sequence[Batch]) -> str:
    """Lay out how long one way takes."""
    phases = [[batch.seconds[phase] for batch in batches] for phase in ("sampling", "scoring")]
    return row(name, *map(spread, phases), spread([total(batch) for batch in batches]))


def measure(options: Options) -> list[Pair]:
    """Draw every step in both ways, after a warm-up."""
    with TemporaryDirectory() as folder, closing(slow_scorer(options, Path(folder) / "slow.py")) as scorer:
        streamed, afterwards = (sampler(options, scorer) for scorer in (scorer, Afterwards(scorer)))
        drawn = [draw(streamed, afterwards, step) for step in range(1, options.pairs + 2)]
    return drawn[1:]


def draw(streamed: RolloutSampler, afterwards: RolloutSampler, step: int) -> Pair:
    """Draw one step in both ways; which comes first changes from step to step."""
    ways = [streamed, afterwards] if step % 2 else [afterwards, streamed]
    batches = [next(way.batches(range(step, step + 1), PROMPTS * step)) for way in ways]
    return Pair(*(batches if step % 2 else reversed(batches)))


def slow_scorer(options: Options, file: Path) -> RewardScorer:
    """Start workers with the slow reward."""
    file.write_text(REWARD)
    ref = RewardRef(name=f"{file}:slow", label="slow", params={"sleep_s": options.sleep_s})
    return RewardScorer([load_reward(ref, installed_plugins())], ScoringSettings(workers=options.workers))


def sampler(options: Options, scorer: RewardScorer | Afterwards) -> RolloutSampler:
    """Return what samples, and has it scored."""
    tokenizer = load_tokenizer(options.model)
    engine = LocalEngine(load_model(options.model, torch.device("cpu")), tokenizer)
    renderer = Renderer(tokenizer, find_template("plain", installed_plugins()))
    params = SamplingParams(max_new_tokens=options.max_new_tokens)
    return RolloutSampler(
        order=DataOrder(load_problems(PluginRef(name="arithmetic"), installed_plugins()), 0),
        groups=GroupSampler(environment=SingleTurn(renderer=renderer, params=params), engine=engine),
        scorer=scorer,
        prompts_per_step=PROMPTS,
        samples_per_prompt=SAMPLES,
        refill_attempts=0,
        seed=0,
    )


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="tiny", help="a name from `reasonrl models list`, or a folder (%(default)s)")
    add("--max-new-tokens", type=int, default=128, help="longest completion (%(default)s)")
    add("--sleep-s", type=float, default=0.05, help="what the reward takes (%(default)s)")
    add("--workers", type=int, default=4, help="processes that rewards run in (%(default)s)")
    add("--pairs", type=int, default=8, help="measured pairs, after a warm-up (%(default)s)")
    for line in benchmark(Options(**vars(parser.parse_args()))):
        print(line, flush=True)


if __name__ == "__main__":
    main()
