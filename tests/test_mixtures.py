"""A mixture of tasks: shares that are exact, and rewards, templates and limits that are each task's own."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from builders import batch, completion, group, logprob_model, problem, run_config, small_llama
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from reasonrl.algorithms.losses import policy_gradient
from reasonrl.commands import app
from reasonrl.config.runfile import load_run
from reasonrl.config.settings import RewardRef, RunConfig, ScoringSettings
from reasonrl.errors import ConfigError, ReasonRLError, RunError
from reasonrl.learner.controller import EntropyController, KLController
from reasonrl.learner.credit import Credit, Estimates, estimator_arguments
from reasonrl.learner.objectives import PolicyObjective
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.mixture import MixedOrder, TaskTurns, interleaved
from reasonrl.rollout.order import DataOrder
from reasonrl.run.inputs import load_inputs
from reasonrl.run.metric_names import describe
from reasonrl.run.metrics import step_metrics
from reasonrl.run.start import fork_run, resume_run, start_run
from reasonrl.run.tasks import problem_order
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.applying import TaskRewards
from reasonrl.scoring.contract import bind
from reasonrl.scoring.penalties import OverlongPenalty
from reasonrl.types import Batch, Group, RewardResult, Rollout, Score, StepRecord

WEIGHTS = st.lists(st.integers(1, 30).map(lambda n: n / 10), min_size=1, max_size=5)
RUN = """\
name: mixed
model: tiny
template: plain
task:
- {name: arithmetic, label: easy, weight: 2, params: {num_problems: 20, min_terms: 2, max_terms: 2}}
- name: arithmetic
  label: hard
  params: {num_problems: 16, min_terms: 3, max_terms: 3}
  max_new_tokens: 20
  stop: ["7"]
  rewards: [{name: ./mine.py:long, isolated: false}, {name: numeric_answer, label: right, isolated: false}]
- {name: ./mine.py:words, template: bare, rewards: [{name: ./mine.py:word, isolated: false}]}
rewards: [{name: numeric_answer, isolated: false}]
algorithm: dr_grpo
rollout: {prompts_per_step: 8, samples_per_prompt: 2, max_new_tokens: 12}
learner: {learning_rate: 5e-4}
evaluation: {suites: [{name: arithmetic, params: {num_problems: 4}, template: plain, max_new_tokens: 12}], every: 9}
run: {steps: 2, checkpoint_every: 1}
"""
MINE = """\
from pathlib import Path

from reasonrl import Problem

ASKED = []

def words(*, split, seed):
    count = int(Path("num").read_text())
    return [Problem(id=f"w{n}", task="words", prompt=f"word {n}", answer="x") for n in range(count)]

def long(rollout):
    ASKED.append(("long", rollout.problem.task))
    return len(rollout.text) / 100

def word(rollout):
    ASKED.append(("word", rollout.problem.task))
    return float("e" in rollout.text)
"""


@pytest.fixture
def mixed(in_folder: Path) -> Path:
    """The run file above, with what it names."""
    (in_folder / "mine.py").write_text(MINE)
    (in_folder / "num").write_text("8")
    (in_folder / "run.yaml").write_text(RUN)
    return in_folder / "run.yaml"


# Which task a position takes.


@given(tenths=st.lists(st.integers(1, 30), min_size=1, max_size=5), first=st.integers(0, 60))
def test_every_beginning_of_the_stream_has_each_tasks_share_to_less_than_a_position(
    tenths: list[int], first: int
) -> None:
    turns, counts = TaskTurns([tenth / 10 for tenth in tenths]), [0] * len(tenths)
    for position in range(100):
        task, before = turns.at(position)
        assert before == counts[task]
        counts[task] += 1
        for index, tenth in enumerate(tenths):
            assert abs((position + 1) * tenth - counts[index] * sum(tenths)) < sum(tenths)
    again = TaskTurns([tenth / 10 for tenth in tenths])
    assert [again.at(position) for position in range(first, 100)] == [turns.at(n) for n in range(first, 100)]


@given(weights=st.lists(st.integers(1, 6), min_size=1, max_size=4), first=st.integers(0, 10**12))
def test_a_window_as_long_as_the_sum_of_whole_weights_has_exactly_their_numbers(weights: list[int], first: int) -> None:
    turns = TaskTurns([float(weight) for weight in weights])
    taken = Counter(turns.at(position)[0] for position in range(first, first + sum(weights)))
    assert [taken[task] for task in range(len(weights))] == weights


@given(weights=WEIGHTS, sizes=st.lists(st.integers(1, 9), min_size=5, max_size=5), seed=st.integers(0, 9))
def test_every_epoch_of_a_task_is_a_permutation_and_the_stream_a_function_of_the_position(
    weights: list[float], sizes: list[int], seed: int
) -> None:
    def order() -> MixedOrder:
        lists = [[problem(f"{task}/{n}?", task=str(task)) for n in range(sizes[task])] for task in range(len(weights))]
        return MixedOrder([DataOrder(of_task, f"{seed}/{task}") for task, of_task in enumerate(lists)], weights)

    stream = order().at(0, 150)
    assert order().at(60, 90) == stream[60:]
    for task, size in enumerate(sizes[: len(weights)]):
        own = [each.id for each in stream if each.task == str(task)]
        epochs = [own[start : start + size] for start in range(0, len(own) - size + 1, size)]
        assert all(len(set(epoch)) == size for epoch in epochs)


@given(weights=st.lists(st.floats(0.01, 5), min_size=1, max_size=12), seed=st.integers(0, 9), epoch=st.integers(0, 5))
def test_weighed_problems_come_as_often_as_their_share_says(weights: list[float], seed: int, epoch: int) -> None:
    size = len(weights)
    listed = [problem(f"{n}?") for n in range(size)]
    taken = Counter(each.id for each in DataOrder(listed, seed, weights).at(epoch * size, size))
    for each, weight in zip(listed, weights, strict=True):
        assert abs(taken[each.id] - size * weight / sum(weights)) < 1 + 1e-9
    assert taken.total() == size


def test_weighed_problems_come_in_the_mean_as_often_as_their_share_says() -> None:
    listed, weights = [problem(f"{n}?") for n in range(4)], [0.5, 0.25, 0.125, 0.125]
    taken = Counter(each.id for each in DataOrder(listed, 0, weights).at(0, 4 * 2000))
    assert [taken[each.id] / 8000 for each in listed] == pytest.approx(weights, abs=0.01)


def test_problems_of_all_tasks_are_listed_once_each_and_mixed_by_the_weights() -> None:
    many, few = [problem(f"a{n}", task="a") for n in range(6)], [problem(f"b{n}", task="b") for n in range(2)]
    assert [each.id for each in interleaved([many, few], [2, 1])] == ["a0", "a1", "b0", "a2", "a3", "b1", "a4", "a5"]


# What is each task's own.


def trained(path: Path, *overrides: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train a run; return its lines of metrics and its rollouts. Any: JSON values."""
    assert start_run(path, overrides, [], argv=[]) == "finished"
    run = Path("runs") / load_run(path, overrides).name
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    texts = [path.read_text() for path in sorted((run / "rollouts").iterdir())]
    return lines, [json.loads(line) for text in texts for line in text.splitlines()]


def test_each_task_has_its_share_its_rewards_its_template_and_its_limits(mixed: Path) -> None:
    lines, rollouts = trained(mixed)
    assert Counter(row["task"] for row in rollouts) == {"easy": 16, "hard": 8, "./mine.py:words": 8}
    labels = {row["task"]: tuple(row["rewards"]) for row in rollouts}
    assert labels == {
        "easy": ("numeric_answer",),
        "hard": ("./mine.py:long", "right"),
        "./mine.py:words": ("./mine.py:word",),
    }
    for row in rollouts:
        assert row["prompt"].startswith("Question:") == (row["task"] != "./mine.py:words")
        limit = 20 if row["task"] == "hard" else 12
        assert row["completion_tokens"] <= limit
        assert "7" not in row["completion"][:-1] or row["task"] != "hard"
    hard = [row for row in rollouts if row["task"] == "hard"]
    assert any(row["completion_tokens"] > 12 for row in hard) or all("7" in row["completion"] for row in hard)
    (step,) = (line for line in lines if line["step"] == 1 and "reward/mean" in line)
    assert [step[f"task/{task}/share"] for task in ("easy", "hard", "./mine.py:words")] == [0.5, 0.25, 0.25]
    own = [row["reward"] for row in rollouts if row["step"] == 1 and row["task"] == "hard"]
    assert step["task/hard/reward"] == pytest.approx(sum(own) / len(own))
    assert all(describe(name) for name in step if name.startswith("task/"))


def test_a_reward_is_not_called_for_problems_of_other_tasks() -> None:
    asked: list[tuple[str, str]] = []

    def noting(label: str) -> Any:
        def score(rollout: Rollout) -> float:
            asked.append((label, rollout.problem.task))
            return 1.0

        return score

    def of_batch(problems: Any) -> list[float]:
        asked.extend(("batch", each.task) for each in problems)
        return [1.0] * len(problems)

    settings = {"isolated": False}
    rewards = [
        *(bind(RewardRef(name=label, **settings), noting(label)) for label in ("both", "a", "b")),
        bind(RewardRef(name="batch", **settings), of_batch),
    ]
    by_task = {"one": frozenset({"both", "a"}), "two": frozenset({"both", "b", "batch"})}
    scorer = RewardScorer(rewards, ScoringSettings(), of_tasks=TaskRewards(by_task=by_task, others=frozenset()))
    groups = [group(["x", "y"], id=task, task=task) for task in ("one", "two", "other")]
    for each in groups:
        scorer.submit_group(each, 1)
    one, two, other = scorer.score(groups, 1)
    scorer.close()
    assert {label for label, task in asked if task == "one"} == {"both", "a"}
    assert {label for label, task in asked if task == "two"} == {"both", "b", "batch"}
    assert [set(result.rewards) for result in (*one, *two)] == [{"both", "a"}] * 2 + [{"both", "b", "batch"}] * 2
    assert [result.total.value for result in (*one, *two)] == [2.0, 2.0, 3.0, 3.0]
    assert {(result.total.outcome, *result.rewards) for result in other} == {("unscorable",)}


def mixture(**changes: Any) -> RunConfig:
    """Two tasks whose rewards differ. Any: whatever a run file may say."""
    tasks = [
        {"name": "arithmetic", "label": "one", "rewards": [{"name": "numeric_answer", "isolated": False}]},
        {
            "name": "arithmetic",
            "label": "two",
            "max_new_tokens": 40,
            "rewards": [{"name": "repetition", "weight": 0.5, "isolated": False}],
        },
    ]
    return run_config(**{"task": tasks, "rewards": [], **changes})


def test_held_out_problems_are_scored_by_the_rewards_of_the_task_of_that_name_where_there_is_one_answer() -> None:
    tasks = TaskRewards.of_run(mixture())
    assert tasks is not None
    assert tasks.labels(problem(task="two")) == {"repetition"}
    assert tasks.labels(problem(task="arithmetic")) == frozenset(), "two tasks of that name have different rewards"
    assert TaskRewards.of_run(run_config()) is None


def mixed_batch() -> Batch:
    """A step with a group of each of two tasks whose rewards differ."""
    config = mixture()
    rewards = [bind(ref, lambda text: float(text)) for ref in config.all_rewards]
    scorer = RewardScorer(rewards, ScoringSettings(), of_tasks=TaskRewards.of_run(config))
    groups = [group(["1", "0"], id="a", task="one"), group(["0", "1"], id="b", task="two")]
    results = scorer.score(groups, 1)
    scorer.close()
    return batch(groups, results)


def test_an_estimator_gets_every_reward_of_every_task_and_nan_where_it_is_another_tasks() -> None:
    given = estimator_arguments(mixed_batch())
    nan = float("nan")
    torch.testing.assert_close(
        given["rewards_RPG"],
        torch.tensor([[[1.0, 0.0], [nan, nan]], [[nan, nan], [0.0, 1.0]]], dtype=torch.float64),
        equal_nan=True,
    )
    assert given["weights_R"].tolist() == [1.0, 0.5]
    assert given["rewards_PG"].tolist() == [[1.0, 0.0], [0.0, 0.5]]


def test_metrics_of_a_reward_are_those_of_its_own_task_and_shares_of_variance_those_of_all() -> None:
    sampled = mixed_batch()
    record = StepRecord(batch=sampled, advantages=(), policy_version=0, measured={}, seconds={})
    metrics = step_metrics(record, tasks=mixture().tasks)
    assert (metrics["reward/numeric_answer"], metrics["reward/repetition"]) == (0.5, 0.5)
    assert (metrics["weight/numeric_answer"], metrics["weight/repetition"]) == (1.0, 0.5)
    assert metrics["variance/numeric_answer"] == metrics["variance/repetition"] == pytest.approx(0.5)
    assert (metrics["task/one/passed"], metrics["task/two/passed"]) == (0.5, 0.5), "0.5 is all that task two can give"
    assert not any(name.startswith("task/") for name in step_metrics(record, tasks=run_config().tasks))


def limited(limit: int | None, tokens: int) -> Group:
    """One completion of so many tokens, sampled under a limit."""
    answer = completion("x", tokens=range(1, tokens + 1), finish_reason="length")
    return Group(problem=problem(), prompt="", prompt_ids=(1,), trajectories=(answer,), max_new_tokens=limit)


def test_penalties_losses_and_samples_know_the_limit_of_the_problem() -> None:
    groups, right = [limited(10, 9), limited(None, 9), limited(40, 9)], RewardResult(total=Score(1.0), rewards={})
    penalized = OverlongPenalty(20, 0.5)(groups, ((right,),) * 3)
    assert [result.penalties["overlong"] for (result,) in penalized] == pytest.approx([0.8, 0.0, 0.0])
    credit = Credit(estimator=torch.zeros_like)
    samples = credit.samples(batch(groups, penalized), Estimates(advantages=((1.0,), (1.0,), (1.0,))))
    assert [sample.max_new_tokens for sample in samples] == [10, None, 40]
    algorithm = run_config(algorithm="dr_grpo").method
    objective = PolicyObjective(
        algorithm=algorithm,
        loss=policy_gradient,
        policy=logprob_model(small_llama()),
        max_new_tokens=20,
        controller=KLController(algorithm),
        entropy=EntropyController(algorithm),
    )
    assert [row.weight for row in objective.rows(samples)] == pytest.approx([1 / 30, 1 / 60, 1 / 120])


# What a run file may say.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("task.1.weight=0", "task.1.weight: input should be greater than 0"),
        ("task.1.label=easy", "task.1: 'easy' is there already; give one of them a label of its own"),
        ("task.1.weigth=2", "task.1.weigth: unknown setting. Did you mean 'weight'?"),
        ("task.1.rewards=[]", "task.1.rewards: list should have at least 1 item"),
        ("task.1.rewards.0.wieght=1", "task.1.rewards.0.wieght: unknown setting. Did you mean 'weight'?"),
        ("task.1.rewards.0.gate=right2", "task.1.rewards.0.gate: no other reward 'right2'. Did you mean 'right'?"),
        ("task.2.rewards.0.weight=0", "task.2.rewards: every weight is 0"),
        ("task.1.rewards.1.label=numeric_answer", "numeric_answer' is at rewards.0 with other settings"),
        ("rewards=[]", "task.0.rewards: this setting is required, as the run has no rewards either"),
        ("task.0.rewards=[repetition]", "rewards: every task has rewards of its own"),
        ("task={name: arithmetic, weight: 2}", "task: weight is for one task of several. Write a list of tasks"),
        ("task=[]", "task: list should have at least 1 item"),
        ("task.0.template=nonesuch", "nonesuch"),
        ("task.1.max_new_tokens=100000", "task.1.max_new_tokens is 100000, but prompt and completion together"),
        ("task.1.stop=['']", "task.1.stop.0: string should have at least 1 character"),
        ("task.2.name=nonesuch", "no 'nonesuch'"),
        ("task.0.params.min_term=2", "min_term"),
    ],
)
def test_a_mistake_in_a_mixture_is_one_error_with_its_place(mixed: Path, change: str, said: str) -> None:
    with pytest.raises(ReasonRLError) as caught:
        start_run(mixed, [change], [], argv=[])
    assert said in str(caught.value)
    assert not Path("runs").exists()


def test_a_mixture_may_be_a_list_of_names_and_leaves_the_rest_to_the_run() -> None:
    config = run_config(task=["arithmetic", "countdown"])
    assert [(task.key, task.label, task.weight, task.template) for task in config.tasks] == [
        ("task.0", "arithmetic", 1.0, "plain"),
        ("task.1", "countdown", 1.0, "plain"),
    ]
    assert [task.rewards for task in config.tasks] == [tuple(config.rewards)] * 2
    assert config.all_rewards == tuple(config.rewards)


@pytest.mark.slow
def test_commands_know_mixtures(mixed: Path) -> None:
    def told(*words: str) -> str:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == 0, result.output
        return result.output

    assert yaml.safe_load(told("config", "show", str(mixed)))["task"][1]["max_new_tokens"] == 20
    assert "Longest completion of its problems" in told("config", "explain", "task")
    planned = told("plan", str(mixed))
    assert "train      16 problems of task 'hard', 25.0% of each step, an epoch is 8 steps" in planned
    assert "2 steps x 8 prompts x 2 completions x at most 14 tokens" in planned
    assert "The first problem's of task 'hard', " in told("doctor", str(mixed))
    assert "16 completions of 8 problems" in told("sample", str(mixed), "--out", "s.jsonl", "--num-problems", "8")
    rows = [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()]
    assert Counter(row["task"] for row in rows) == {"easy": 8, "hard": 4, "./mine.py:words": 4}


@pytest.mark.slow
def test_a_resumed_run_keeps_its_weights_and_a_forks_order_goes_on_only_in_the_same_mixture(mixed: Path) -> None:
    trained(mixed)
    for change in ("task.0.weight=3", "task.1.rewards.0.weight=3", "task.2.template=plain"):
        with pytest.raises(ConfigError, match=f"{change.partition('=')[0]} cannot change in a run that is resumed"):
            resume_run(Path("runs/mixed"), [change, "run.steps=3"], [])
    Path("num").write_text("9")
    with pytest.raises(RunError, match=r"task\.2\.problems: '8 problems"):
        resume_run(Path("runs/mixed"), ["run.steps=3"], [])
    Path("num").write_text("8")
    with pytest.raises(ConfigError, match="the task is another"):
        fork_run("runs/mixed", ["name=b", "task.0.weight=3"], [], argv=[], order="continue")
    assert fork_run("runs/mixed", ["name=b", "task.1.max_new_tokens=9"], [], argv=[], order="continue") == "finished"


def test_the_problems_of_a_run_do_not_depend_on_where_it_began(mixed: Path) -> None:
    config = load_run(mixed)
    loaded = load_inputs(config, Plugins()).tasks
    whole = problem_order(config, loaded).at(0, 60)
    assert problem_order(config, loaded).at(23, 37) == whole[23:]


@pytest.mark.parametrize(
    ("settings", "strings"),
    [
        ([], None),  # the second task alone has one
        (["rollout.stop=['.']"], '[".", "7"]'),
        (["rollout.stop=['.']", "evaluation.suites.0.stop=['.']"], None),
    ],
)
def test_a_suite_whose_completions_do_not_end_where_those_of_all_tasks_do_is_told(
    mixed: Path, settings: list[str], strings: str | None
) -> None:
    warnings = [text for text in load_inputs(load_run(mixed, settings), Plugins()).warnings if "set stop" in text]
    assert [text.partition("set stop: ")[2] for text in warnings] == ([f"{strings} beside its name"] if strings else [])
