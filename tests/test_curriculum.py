"""The online curriculum: problems that the model sometimes solves stay, others are passed over, and none is lost."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import batch, group, problem, run_config
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.config.curriculum import CurriculumSettings
from reasonrl.config.rewards import passing_total
from reasonrl.config.settings import RewardRef
from reasonrl.errors import ConfigError, RunError
from reasonrl.rollout.curriculum import CurriculumOrder, CurriculumTask, PassCounts, probabilities_between
from reasonrl.rollout.order import DataOrder
from reasonrl.run.files.checkpoint import load_order
from reasonrl.run.metric_names import describe
from reasonrl.run.start import fork_run, resume_run, start_run
from reasonrl.types import Group, Problem, RewardResult, RewardResults, Score

SIZE = 4
"""Problems of a step, and completions of a problem."""


def order(
    sizes: Sequence[int] = (10,), weights: Sequence[float] = (1.0,), seed: int = 0, **given_settings: Any
) -> CurriculumOrder:
    """A curriculum over tasks of so many problems each. Any: settings of the curriculum."""
    tasks = []
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        problems = [problem(f"{number}/{n}?", task=str(number)) for n in range(size)]
        tasks.append(
            CurriculumTask(
                label=str(number),
                problems=problems,
                order=DataOrder(problems, f"{seed}/{number}"),
                weight=weight,
                pass_at=lambda _: 1.0,
            )
        )
    return CurriculumOrder(tasks, CurriculumSettings(**given_settings), seed)


def scored(asked: Problem, totals: Sequence[float | None]) -> tuple[Group, RewardResults]:
    """A group of a problem with these totals."""
    members = group(["x"] * len(totals), id=asked.id, task=asked.task)
    scores = [Score.unscorable("no") if total is None else Score(total) for total in totals]
    return members, tuple(RewardResult(total=score, rewards={}) for score in scores)


def taken(stream: CurriculumOrder, steps: range, passes: Callable[[str], int]) -> list[str]:
    """Take some steps; ``passes`` says how many of a problem's completions pass. Return the ids of the problems."""
    ids: list[str] = []
    for step in steps:
        asked = stream.at(SIZE * (step - 1), SIZE)
        stream.observe(step, [scored(each, [float(n < passes(each.id)) for n in range(SIZE)]) for each in asked])
        ids += [each.id for each in asked]
    return ids


def test_a_posterior_counts_passes_and_failures_that_fade() -> None:
    seen = PassCounts(6.0, 2.0, step=10)
    assert seen.mean == 6.5 / 9
    assert seen.at(60, 50.0) == PassCounts(3.0, 1.0, 60)
    assert PassCounts().mean == 0.5
    assert probabilities_between([PassCounts(), PassCounts(4, 4)], 0.0, 1.0) == pytest.approx([1, 1])
    never, sometimes, always = probabilities_between(
        [PassCounts(0, 32), PassCounts(16, 16), PassCounts(32, 0)], 0.1, 0.9
    )
    assert never == pytest.approx(always)
    assert never < 0.02 < 0.99 < sometimes


@given(seed=st.integers(0, 50), solved=st.sets(st.integers(0, 9)))
def test_the_first_epoch_takes_every_problem_once(seed: int, solved: set[int]) -> None:
    ids = taken(order(seed=seed), range(1, 3), lambda name: SIZE * (int(name[2:-1]) in solved))
    assert len(set(ids)) == 8, "what was never seen is taken when its turn comes"


def test_problems_that_are_never_or_always_solved_come_seldom_and_all_of_them_come_back() -> None:
    def passes(name: str) -> int:
        return {"0": SIZE, "1": SIZE, "2": 2, "3": 1}.get(name[2:-1], 0)

    counts = Counter(taken(order(half_life=1e9), range(1, 301), passes))
    sometimes = [counts["0/2?"], counts["0/3?"]]
    others = [count for name, count in counts.items() if name not in ("0/2?", "0/3?")]
    assert len(counts) == 10, "nothing is lost for ever"
    assert min(sometimes) > 3 * max(others)
    assert sum(others) / 8 < 0.2 * sum(sometimes) / 2


def test_a_problem_that_was_hopeless_comes_back_into_play_as_what_was_seen_fades() -> None:
    fading = order(half_life=2.0)
    taken(fading, range(1, 11), lambda _: 0)
    early = fading.observe(10, [])["curriculum/in_play"]
    for step in range(11, 40):
        late = fading.observe(step, [])
    assert early < 0.55 < late["curriculum/in_play"]


def test_without_passing_over_the_stream_is_the_uniform_one() -> None:
    stream = order(revisit=1.0)
    plain = DataOrder([problem(f"0/{n}?", task="0") for n in range(10)], "0/0")
    assert taken(stream, range(1, 11), lambda _: 0) == [each.id for each in plain.at(0, 40)]


@settings(max_examples=20)
@given(
    seed=st.integers(0, 20),
    weights=st.lists(st.integers(1, 5).map(float), min_size=1, max_size=3),
    cut=st.integers(1, 11),
    hard=st.integers(1, 5),
)
def test_a_stream_that_is_restored_goes_on_to_the_last_bit(
    seed: int, weights: list[float], cut: int, hard: int
) -> None:
    def passes(name: str) -> int:
        return 0 if int(name[2:-1]) % hard == 0 else 2

    sizes = [3, 5, 4][: len(weights)]
    whole = order(sizes, weights, seed)
    ids = taken(whole, range(1, 13), passes)
    first, second = order(sizes, weights, seed), order(sizes, weights, seed)
    begun = taken(first, range(1, cut + 1), passes)
    second.restore(json.loads(json.dumps(first.state())))
    assert begun + taken(second, range(cut + 1, 13), passes) == ids
    assert second.state() == whole.state()
    assert second.observe(13, []) == whole.observe(13, [])


def test_shares_of_a_mixture_stay_exact_whatever_is_passed_over() -> None:
    ids = taken(order([6, 4], [3.0, 1.0]), range(1, 41), lambda name: 0 if name[0] == "0" else 2)
    assert Counter(name[0] for name in ids) == {"0": 120, "1": 40}


def test_only_completions_with_a_score_count_and_refills_see_what_the_step_saw_at_its_start() -> None:
    stream = order([4], half_life=1e9)
    first = stream.at(0, 2)
    metrics = stream.observe(1, [scored(first[0], [1.0, None, 0.0, 1.0 - 1e-12]), scored(first[1], [None] * 4)])
    state = stream.state()
    assert state["tasks"]["0"]["seen"] == {first[0].id: [2, 1, 1], first[1].id: [0, 0, 1]}
    assert metrics["curriculum/seen"] == 0.5
    assert metrics["curriculum/passed_over"] == 0
    assert all(describe(name) for name in metrics)


def test_what_passes_is_a_total_of_1_or_what_the_rewards_can_add_up_to() -> None:
    def rewards(*weights: Any) -> list[RewardRef]:
        return [RewardRef(name=f"r{n}", weight=weight) for n, weight in enumerate(weights)]

    assert passing_total(rewards(1.0, 0.2), 1) == 1.0
    assert passing_total(rewards(0.5, 0.25, -1.0), 1) == 0.75
    assert passing_total(rewards({"start": 0.0, "end": 0.5, "steps": 11}), 6) == 0.25


# In a run.

RUN = """\
name: judged
model: tiny
template: plain
task:
- {name: arithmetic, label: easy, params: {num_problems: 6, min_terms: 2, max_terms: 2}}
- {name: arithmetic, label: hard, params: {num_problems: 6, min_terms: 3, max_terms: 3}}
rewards: [{name: ./mine.py:mine, isolated: false}]
curriculum: {}
rollout: {prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 4}
run: {steps: 8, checkpoint_every: 4}
"""
MINE = """\
def mine(rollout):
    return float(rollout.problem.task == "easy" and rollout.trajectory.seed % 2)
"""


@pytest.fixture
def judged(in_folder: Path) -> Path:
    """The run file above, with its reward."""
    (in_folder / "mine.py").write_text(MINE)
    (in_folder / "run.yaml").write_text(RUN)
    return in_folder / "run.yaml"


def test_a_run_passes_over_what_it_never_solves_and_writes_what_it_saw(judged: Path) -> None:
    start_run(judged, (), [], argv=[])
    lines = [json.loads(line) for line in Path("runs/judged/metrics.jsonl").read_text().splitlines()]
    assert sum(line["curriculum/passed_over"] for line in lines) > 0
    assert lines[-1]["task/hard/in_play"] < 0.4 < lines[-1]["task/easy/in_play"]
    assert lines[-1]["task/hard/pass_rate"] < 0.2 < lines[-1]["task/easy/pass_rate"]
    assert [line["task/hard/share"] for line in lines] == [0.5] * 8
    state = load_order(Path("runs/judged/checkpoints/step_000008"))
    assert state["step"] == 8
    rollouts = [
        json.loads(line) for path in Path("runs/judged/rollouts").iterdir() for line in path.read_text().splitlines()
    ]
    assert state["tasks"]["easy"]["seen"].keys() == {row["group_id"] for row in rollouts if row["task"] == "easy"}


def test_a_checkpoint_without_its_state_is_refused_and_a_fork_begins_a_curriculum_of_its_own(judged: Path) -> None:
    start_run(judged, (), [], argv=[])
    run = Path("runs/judged")
    with pytest.raises(ConfigError, match=r"curriculum\.revisit cannot change in a run that is resumed"):
        resume_run(run, ["curriculum.revisit=0.5", "run.steps=9"], [])
    with pytest.raises(ConfigError, match="a curriculum has more to go on from"):
        fork_run("runs/judged", ["name=b"], [], argv=[], order="continue")
    assert fork_run("runs/judged@4", ["name=b", "run.steps=1"], [], argv=[]) == "finished"
    assert load_order(Path("runs/b/checkpoints/step_000001"))["step"] == 1
    folder = run / "checkpoints" / "step_000008"
    (folder / "order.json").unlink()
    with pytest.raises(RunError, match=r"lacks order\.json"):
        resume_run(run, ["run.steps=9"], [])


def test_a_run_without_a_curriculum_has_no_state_of_its_order() -> None:
    assert DataOrder([problem()], 0).state() is None
    assert batch([], []).measured == {}
    assert run_config().curriculum is None
