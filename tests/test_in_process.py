"""Rewards that need the run's own process: how they say so, what they may keep open, and what is refused."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from builders import group

from reasonrl import Rollout, SharedResource, in_process, keeps_open
from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.errors import ModelError, PluginError
from reasonrl.plugins.lookup import Plugins
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.contract import Reward, bind, load_reward

events: list[str] = []


@contextmanager
def opened(path: str, learner_device: str) -> Iterator[SharedResource]:
    events.append(f"opened {path} on {learner_device}")
    yield SharedResource(note="a note")
    events.append("closed")


@in_process
@keeps_open(opened)
def kept(batch: tuple[Rollout, ...], *, path: str = "here") -> list[int]:
    """The process, which scores a whole step at once."""
    events.append(f"called for {len(batch)}")
    return [os.getpid()] * len(batch)


@in_process
def plain(rollout: Rollout) -> int:
    return os.getpid()


@in_process
async def later(rollout: Rollout) -> int:
    return 0


@keeps_open(opened)
def unmarked(rollout: Rollout, *, path: str = "here") -> int:
    return 0


def reward(function: Any, **settings: Any) -> Reward:
    """As a run file names it. Any: a reward, and settings of a run file."""
    return bind(RewardRef(name="r", **settings), function)


def test_a_marked_reward_is_called_in_this_process_when_all_is_there_with_what_it_keeps_open() -> None:
    events.clear()
    scorer = RewardScorer([reward(kept)], ScoringSettings(), device="cuda:3")
    assert scorer.notes == {"r": "a note"}
    asked = group(["a", "b"])
    scorer.submit_group(asked, 1)
    for rollout in asked.rollouts():
        scorer.submit_rollout(rollout, 1)
    assert events == ["opened here on cuda:3"]
    (results,) = scorer.score([asked], 1)
    assert [result.value for result in results] == [os.getpid()] * 2
    scorer.close()
    assert events == ["opened here on cuda:3", "called for 2", "closed"]


def test_a_file_of_the_users_can_be_marked(in_folder: Path) -> None:
    (in_folder / "mine.py").write_text(
        "import os\nfrom reasonrl import in_process\n\n\n@in_process\ndef here(text):\n    return os.getpid()\n"
    )
    found = load_reward(RewardRef(name="./mine.py:here"), Plugins())
    scorer = RewardScorer([found], ScoringSettings())
    assert scorer.score([group(["a"])], 1)[0][0].value == os.getpid()
    scorer.close()


@pytest.mark.parametrize(
    ("function", "settings", "said"),
    [
        (plain, {"isolated": True}, "isolated is true, but this reward needs the run's own process; leave it out"),
        (plain, {"timeout_s": 3}, "timeout_s is 3.0, but this reward is called in the run's own process"),
        (plain, {"timeout_value": 0}, "timeout_value is 0.0, but this reward is called in the run's own process"),
        (plain, {"retries": 1}, "retries is 1, but it is for async rewards"),
        (later, {}, "is marked by in_process, but an async reward is never run in a worker"),
        (unmarked, {}, "is for async rewards and those marked by in_process"),
        (unmarked, {"isolated": False}, "is for async rewards and those marked by in_process"),
    ],
)
def test_settings_and_marks_that_do_not_fit_are_refused(function: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=said):
        reward(function, **settings)


def test_what_cannot_be_opened_refuses_the_run() -> None:
    @contextmanager
    def missing() -> Iterator[SharedResource]:
        raise ModelError("there is no such model")
        yield SharedResource()

    @contextmanager
    def broken() -> Iterator[SharedResource]:
        raise KeyError("weights")
        yield SharedResource()

    with pytest.raises(ModelError, match="there is no such model"):
        RewardScorer([reward(in_process(keeps_open(missing)(lambda rollout: 0)))], ScoringSettings())
    with pytest.raises(PluginError, match="reward 'r' could not open what it needs: KeyError"):
        RewardScorer([reward(in_process(keeps_open(broken)(lambda rollout: 0)))], ScoringSettings())
