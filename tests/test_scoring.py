"""Rewards may do anything; what they did is typed, counted and named, and costs nobody else anything."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from builders import group, reward, run_config, scorer

from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.errors import PluginError, ReasonRLError, RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import RewardFn
from reasonrl.run.build import build_components
from reasonrl.run.inputs import load_inputs
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.contract import Reward, bind, load_reward
from reasonrl.scoring.functions import num_workers
from reasonrl.types import Group, RewardResults, Rollout


def score(*rewards: Reward | RewardFn, texts: Sequence[str] = ("a", "bb"), **settings: Any) -> RewardResults:
    """Score one group. Any: settings of ``scoring``."""
    with closing(scorer(*rewards, **{"max_failure_rate": 1.0, **settings})) as subject:
        (results,) = subject.score([group(texts)], 1)
        return results


def length(text: str) -> float:
    return float(len(text))


def test_a_group_reward_scores_all_members_at_once() -> None:
    def best(texts: Sequence[str]) -> list[float]:
        longest = max(map(len, texts))
        return [float(len(text) == longest) for text in texts]

    assert [result.total.value for result in score(best)] == [0.0, 1.0]


def test_a_batch_reward_scores_a_whole_step_at_once() -> None:
    def share(batch: Sequence[Rollout]) -> dict[str, float]:
        return {rollout.id: len(rollout.text) / len(batch) for rollout in batch}

    groups = [group(["a", "bb"]), group(["ccc"], text="other?")]
    found = scorer(share).score(groups, 1)
    assert [[result.total.value for result in members] for members in found] == [[1 / 3, 2 / 3], [1.0]]
    assert scorer(share).score([], 1) == ()


def raising(text: str) -> float:
    if text == "bb":
        raise ValueError("no good")
    return 1.0


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (raising, "ValueError: no good (test_scoring.py:"),
        (lambda text: math.nan if text == "bb" else 1.0, "not a finite number"),
        (lambda text: "1.0" if text == "bb" else 1.0, "TypeError: returned '1.0'"),
        (lambda text: [1.0] if text == "bb" else 1.0, "TypeError: returned [1.0]"),
        (lambda text: exit(3) if text == "bb" else 1.0, "SystemExit"),
    ],
)
def test_a_reward_that_fails_costs_its_sample_the_score_and_nothing_else(bad: RewardFn, why: str) -> None:
    good, failed = score(reward(bad, name="bad"), reward(length, name="length"))
    assert good.total.value == 2.0
    assert (failed.total.value, failed.total.outcome) == (None, "error")
    assert why in failed.rewards["bad"].why
    assert failed.rewards["length"].value == 2.0


def test_a_group_reward_with_the_wrong_number_of_values_fails_as_a_whole() -> None:
    results = score(lambda group: [1.0])
    assert {result.total.outcome for result in results} == {"error"}
    assert "1 values for 2 rollouts" in results[0].total.why


def test_none_is_unscorable_and_leaves_the_baseline() -> None:
    first, second = score(lambda text: None if text == "a" else 1.0)
    assert first.total.outcome == "unscorable"
    assert second.total.value == 1.0
    assert first.value is None


def test_too_many_failures_stop_the_run_with_reward_and_commonest_cause() -> None:
    def bad(text: str) -> float:
        raise KeyError("column" if text == "a" else "other")

    with pytest.raises(RunError, match=r"'bad' failed on 3 of 3 .*max_failure_rate = 0.4 .*error: KeyError: 'column'"):
        score(reward(bad, name="bad"), texts=["a", "b", "a"], max_failure_rate=0.4)


def test_unscorable_samples_are_no_failures() -> None:
    assert score(lambda text: None, max_failure_rate=0.0)


def test_a_reward_under_two_labels_is_scored_twice() -> None:
    found = score(reward(length, label="one"), reward(length, label="two", weight=0.5))
    assert [result.total.value for result in found] == [1.5, 3.0]


# As completions arrive.


class Counted:
    """A reward that counts its calls, run in this process but begun as if it were not."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def __call__(self, text: str) -> float:
        self.calls.append(text)
        return float(len(text))


def started(one: Group, told: Sequence[Rollout], function: Counted) -> list[float | None]:
    """The totals of a group of which some rollouts were told early."""
    with closing(RewardScorer([bind(RewardRef(name="r"), function)], ScoringSettings())) as subject:
        for rollout in told:
            subject.submit_rollout(rollout, 1)
        subject.submit_group(one, 1)
        return [result.total.value for members in subject.score([one], 1) for result in members]


def test_what_arrives_early_is_scored_once_and_in_any_order() -> None:
    one = group(["a", "bb", "ccc"])
    for told in (one.rollouts(), one.rollouts()[::-1], one.rollouts()[1:2], ()):
        function = Counted()
        assert started(one, told, function) == [1.0, 2.0, 3.0]
        assert sorted(function.calls) == ["a", "bb", "ccc"]


def test_what_was_begun_for_another_text_is_not_taken_for_this_one() -> None:
    """A step that is sampled again, as after an interruption, has the same ids and may have other texts."""
    earlier, function = group(["x", "xx"]), Counted()
    assert started(group(["aaa", "b"]), earlier.rollouts(), function) == [3.0, 1.0]


def test_a_group_reward_begins_when_its_group_is_there() -> None:
    calls = []

    async def best(group: Sequence[Rollout]) -> list[float]:
        calls.append(group)
        return [0.0] * len(group)

    one = group(["a", "bb"])
    with closing(RewardScorer([bind(RewardRef(name="r"), best)], ScoringSettings())) as subject:
        subject.submit_rollout(one.rollouts()[0], 1)
        subject.submit_group(one, 1)
        deadline = time.monotonic() + 20
        while not calls and time.monotonic() < deadline:
            time.sleep(0.01)
        assert calls == [one.rollouts()]
        subject.score([one], 1)
    assert len(calls) == 1


def test_a_reward_in_this_process_waits_until_sampling_is_over() -> None:
    calls: list[str] = []

    def note(text: str) -> float:
        calls.append(text)
        return 1.0

    subject, one = scorer(note), group(["a"])
    subject.submit_rollout(one.rollouts()[0], 1)
    assert not calls
    subject.score([one], 1)
    assert calls == ["a"]


# In worker processes.

MINE = """
import os, time

def slow(text):
    if text == "slow":
        time.sleep(60)
    return 1.0

def crashing(text):
    if text == "bb":
        os.kill(os.getpid(), 9)
    return 1.0

def where(text):
    return {"pid": os.getpid()}

def best(texts):
    time.sleep(60 if "slow" in texts else 0)
    return [float(len(text)) for text in texts]
"""


@pytest.fixture
def mine(tmp_path: Path) -> Any:
    """Load a reward of a local file. Any: a function."""
    (tmp_path / "mine.py").write_text(MINE)

    def load(name: str, **settings: Any) -> Reward:
        return load_reward(RewardRef(name=f"{tmp_path}/mine.py:{name}", label=name, **settings), Plugins())

    return load


def test_rewards_run_in_other_processes_unless_the_run_file_says_otherwise(mine: Any) -> None:
    apart, here = mine("where"), mine("where", isolated=False)
    with RewardCaller([apart], ScoringSettings()) as workers, RewardCaller([here], ScoringSettings()) as inline:
        rollouts = group(["a"]).rollouts()
        (there,), (own,) = (caller.submit("where", rollouts).result() for caller in (workers, inline))
    assert there.parts["pid"] != os.getpid() == own.parts["pid"]
    assert there.run_s > 0
    assert there.queue_s > 0


def test_what_hangs_or_dies_costs_its_own_sample_and_its_own_time(mine: Any) -> None:
    began = time.monotonic()
    slow, crashing = mine("slow", timeout_s=1), mine("crashing")
    results = score(slow, crashing, texts=["a", "slow", "bb", "c"], workers=2)
    assert [result.rewards["slow"].outcome for result in results] == ["scored", "timeout", "scored", "scored"]
    assert [result.rewards["crashing"].outcome for result in results] == ["scored", "scored", "error", "scored"]
    assert [result.total.value for result in results] == [2.0, None, None, 2.0]
    assert "ran longer than 1 s" in results[1].rewards["slow"].why
    assert "SIGKILL" in results[2].rewards["crashing"].why
    assert results[1].rewards["slow"].run_s >= 1
    assert time.monotonic() - began < 40


def test_a_call_that_runs_out_of_time_may_have_a_value_of_its_own(mine: Any) -> None:
    results = score(mine("slow", timeout_s=0.5, timeout_value=-1), texts=["slow", "a"], max_failure_rate=0.0)
    assert [result.total.value for result in results] == [-1.0, 1.0]
    assert results[0].rewards["slow"].outcome == "timeout"
    assert "ran longer" in results[0].rewards["slow"].why


def test_a_group_call_that_runs_out_of_time_costs_its_group_only(mine: Any) -> None:
    groups = [group(["a", "slow"]), group(["bb", "c"], text="other?")]
    with closing(RewardScorer([mine("best", timeout_s=0.5)], ScoringSettings(max_failure_rate=0.5))) as subject:
        late, fine = subject.score(groups, 1)
    assert [result.total.outcome for result in late] == ["timeout", "timeout"]
    assert [result.total.value for result in fine] == [2.0, 1.0]


def test_all_kinds_of_rewards_may_be_mixed(mine: Any) -> None:
    async def later(text: str) -> float:
        return 10.0 * len(text)

    best, awaited = mine("best"), bind(RewardRef(name="later"), later)
    found = score(best, awaited, reward(length, name="here", weight=100.0), workers=1)
    assert [result.total.value for result in found] == [111.0, 222.0]


def test_a_function_that_only_this_process_has_is_refused_with_a_way_out() -> None:
    with pytest.raises(PluginError, match=r"'local' cannot be sent to a worker process.*isolated: false"):
        RewardScorer([bind(RewardRef(name="local"), lambda text: 1.0)], ScoringSettings())


def test_there_is_always_a_worker() -> None:
    assert 1 <= num_workers() <= max(1, (os.cpu_count() or 1) - 1)


# In a run.

APART = [{"name": "numeric_answer"}]


def started_processes() -> set[int]:
    """The processes that this one has started and that are still there."""
    return {int(pid) for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()}


@pytest.mark.slow
def test_closing_what_a_run_runs_on_leaves_no_process() -> None:
    before, config = started_processes(), run_config(rewards=APART, evaluation={"suites": ["arithmetic"]})
    components = build_components(config, load_inputs(config, Plugins()), Plugins())
    with closing(components):
        assert len(started_processes() - before) == 1, "rewards and metrics share their processes"
        (results,) = components.rewards.score([group(["2", "3"])], 1)
        assert [result.total.outcome for result in results] == ["scored", "scored"]
    assert started_processes() <= before


@pytest.mark.parametrize(
    "broken", [{"model": "./nowhere"}, {"model": {"name": "tiny", "lora": {"target_modules": ["nothing"]}}}]
)
def test_a_run_that_cannot_start_leaves_no_process(broken: dict[str, Any]) -> None:
    before, config = started_processes(), run_config(rewards=APART, **broken)
    with pytest.raises(ReasonRLError):
        build_components(config, load_inputs(config, Plugins()), Plugins())
    assert started_processes() <= before


def test_nothing_of_the_reward_system_needs_torch() -> None:
    code = "import sys; import reasonrl.scoring, reasonrl.config.runfile; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_reward_imports_late_does_not_count_against_its_deadline(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_folder / "takes_long.py").write_text("import time\ntime.sleep(1)\n")
    (in_folder / "late.py").write_text(
        'WORKER_IMPORTS = ("takes_long",)\n\n\ndef late(text: str) -> float:\n    import takes_long\n\n    return 1.0\n'
    )
    monkeypatch.syspath_prepend(in_folder)
    late = load_reward(RewardRef(name="./late.py:late", timeout_s=0.5), Plugins())
    assert [result.total.value for result in score(late)] == [1.0, 1.0]
