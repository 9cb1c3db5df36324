"""The examples of a reward model: from a file or a data set, or sampled once and kept in the run directory."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reasonrl.config.reward_model import RewardModelConfig, SampledPairs
from reasonrl.errors import RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.data import PreferenceData, load_data, split_by_prompt
from reasonrl.preference.schema import examples_of
from reasonrl.run.check import check_reward_model
from reasonrl.run.files.directory import RunDirectory
from reasonrl.system import jsonl

PAIRS: Final = "pairs.jsonl"
"""The file of sampled pairs in a run directory, in TRL's schema."""
SECONDS_BETWEEN_LINES: Final = 10.0
"""Time between two words about the progress of sampling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModelData:
    """Examples, and the files of the run directory that hold them."""

    data: PreferenceData
    files: Mapping[str, bytes]
    """Empty where the examples stand in a file or a data set of the user's."""


def load_reward_model_data(
    config: RewardModelConfig, plugins: Plugins, say: Callable[[str], None], earlier: RunDirectory | None
) -> RewardModelData:
    """Load the examples; sample them where the run file asks for that and no earlier run has them.

    Args:
        config: the run.
        plugins: where task, template and gold reward come from.
        say: told of what takes long.
        earlier: the run that this one continues or is forked from.

    Raises:
        DataError: the examples cannot be used.
    """
    check_reward_model(config, plugins)
    sampled = config.data.sampled
    if sampled is None:
        return RewardModelData(data=load_data(config.data, config.objective.kind), files={})
    is_kept = earlier is not None and _samples_alike(config, earlier)
    content = _kept(earlier) if earlier and is_kept else _sampled(sampled, config, plugins, say)
    return RewardModelData(data=_split(content, config), files={PAIRS: content})


def _kept(run: RunDirectory) -> bytes:
    """Return the file of the examples of a run.

    Raises:
        RunError: it is gone.
    """
    path = run.path / PAIRS
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read: {error.strerror}. It holds what the run learns from; without it, start a new run."
        ) from None


def _samples_alike(config: RewardModelConfig, earlier: RunDirectory) -> bool:
    """Say whether an earlier run has the examples that this one would sample."""
    other = earlier.config
    return isinstance(other, RewardModelConfig) and _decisive(other) == _decisive(config)


def _decisive(config: RewardModelConfig) -> tuple[SampledPairs | None, int, str]:
    return config.data.sampled, config.seed, config.objective.kind


def _sampled(sampled: SampledPairs, config: RewardModelConfig, plugins: Plugins, say: Callable[[str], None]) -> bytes:
    """Sample completions and label them; return the file of the examples."""
    from reasonrl.run.pairs import sampled_pairs

    count = f"{sampled.num_problems} problems, {sampled.samples_per_prompt} completions each"
    say(f"sampling the data: {count}, from {sampled.model}, labeled by {sampled.gold.key}")
    made = sampled_pairs(
        sampled,
        plugins,
        seed=config.seed,
        form="pairs" if config.objective.kind == "bradley_terry" else "outcome",
        device=config.model.device,
        tell=_seldom(say),
    )
    say(made.summary)
    return jsonl.encode(made.rows)


def _seldom(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Return what says now and then how many problems are sampled."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            say(f"sampled {done} of {total} problems")
            last = time.monotonic()

    return tell


def _split(content: bytes, config: RewardModelConfig) -> PreferenceData:
    """Read sampled examples and split them by prompt."""
    kind = config.objective.kind
    examples = [one for where, row in _rows(content) for one in examples_of(where, row, kind)]
    return split_by_prompt(examples, heldout_share=config.data.heldout_share, source=f"sampled ({PAIRS})")


def _rows(content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the rows of a file with their places. Any: JSON values."""
    for number, line in enumerate(content.rstrip(b"\n").split(b"\n"), start=1):
        try:
            yield f"{PAIRS}:{number}", json.loads(line)
        except ValueError as error:
            raise RunError(f"{PAIRS}:{number}: not a JSON record ({error}): the file was changed.") from None
