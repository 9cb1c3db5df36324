"""The Python API without training: settings, runs that are there, evaluations, comparisons, tables."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import results
from loops import in_a_loop
from reported_runs import BASE, TRAINED, policy_config, policy_run, rollout

import reasonrl
from reasonrl import ConfigError, DataError, PluginError, ReasonRLError, RunConfig, RunError
from reasonrl.api import notebook_view
from reasonrl.api.evaluating import evaluation_request
from reasonrl.api.html import Html
from reasonrl.api.settings import as_overrides, read_run
from reasonrl.api.table import MAX_ROWS, Table
from reasonrl.config.kinds import kind_of
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.events import Message, RunEnded, RunStarted, StepFinished, StepMetrics, SuiteEvaluated
from reasonrl.run.interrupt import Interrupt
from reasonrl.system.event_loop import run_until_complete

RUN_FILE = """\
name: sums
model: tiny
task: arithmetic
rewards: [numeric_answer]
run: {steps: 7, checkpoint_every: 7}
"""
MAPPING = {"name": "mine", "model": "tiny", "task": "arithmetic", "rewards": ["numeric_answer"], "run": {"steps": 7}}
HOSTILE = "<script>alert(1)</script>\x1b[31m red \u202eeman"


# Settings.


def test_a_section_sets_what_it_names_and_leaves_the_rest(in_folder: Path) -> None:
    Path("run.yaml").write_text(RUN_FILE)
    config = read_run("run.yaml", as_overrides({"run": {"steps": 20}, "seed": 3})).config
    assert isinstance(config, RunConfig)
    assert (config.run.steps, config.run.checkpoint_every, config.seed) == (20, 7, 3)


def test_keys_may_have_dots_and_lists_replace_what_was_there() -> None:
    given = as_overrides({"run.steps": 4, "evaluation": {"suites.0.num_samples": 8}, "rewards": ["a", "b"]})
    assert given == ["run.steps=4", "evaluation.suites.0.num_samples=8", 'rewards=["a", "b"]']


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1e-5, 1e-5),
        ("1e-5", "1e-5"),
        ("yes", "yes"),
        (None, None),
        (True, True),
        ("a: b # c", "a: b # c"),
        ("zwölf \N{GRINNING FACE}", "zwölf \N{GRINNING FACE}"),
        (Path("a/b.jsonl"), "a/b.jsonl"),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        ((1, 2), [1, 2]),
        ({}, {}),
    ],
)
def test_a_value_arrives_as_it_was_given(value: object, read: object) -> None:
    settings = {"task": {"name": "arithmetic", "params": {"this": value}}}
    found = read_run({key: MAPPING[key] for key in MAPPING if key != "task"}, as_overrides(settings))
    assert isinstance(found.config, RunConfig)
    assert found.config.tasks[0].ref.params == {"this": read}


def test_a_function_of_a_module_is_named_and_one_of_a_session_is_refused() -> None:
    from reasonrl_rewards.answer import numeric_answer

    (given,) = as_overrides({"rewards": [numeric_answer]})
    assert given == 'rewards=["reasonrl_rewards.answer:numeric_answer"]'
    with pytest.raises(ConfigError, match=r"rewards: '<lambda>' is a function of this session alone.*writefile"):
        as_overrides({"rewards": [lambda rollout: 1.0]})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_a_value_that_no_run_file_holds_is_refused_with_its_key(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^learner\.learning_rate: "):
        as_overrides({"learner": {"learning_rate": value}})


def test_recipes_run_files_settings_and_mappings_are_runs(in_folder: Path) -> None:
    Path("run.yaml").write_text(RUN_FILE)
    reward_model = {"name": "rm", "model": "tiny", "data": {"path": "pairs.jsonl"}}
    assert read_run("quickstart", []).config.name == "quickstart"
    assert read_run(Path("run.yaml"), []).source == RUN_FILE
    assert read_run(RunConfig.model_validate(MAPPING), ["run.steps=3"]).config.run.steps == 3
    assert read_run(MAPPING, ["name=other"]).config.name == "other"
    assert MAPPING["name"] == "mine"
    assert kind_of(read_run(reward_model, []).config).name == "reward_model"


@pytest.mark.parametrize(
    ("run", "settings", "says"),
    [
        ("quikstart", {}, "Did you mean 'quickstart'?"),
        ("absent.yaml", {}, "absent.yaml"),
        ("quickstart", {"rnu": {"steps": 4}}, "override 'rnu.steps=4'  rnu: unknown setting"),
        ("quickstart", {"run": {"stepz": 4}}, "Did you mean 'steps'"),
        ({"name": "a", "modle": "tiny"}, {}, "the settings  modle: unknown setting"),
        (7, {}, "not a value of type int"),
    ],
)
def test_mistakes_are_one_message_with_the_nearest_name(run: Any, settings: Any, says: str, in_folder: Path) -> None:
    with pytest.raises(ReasonRLError) as caught:
        reasonrl.train(run, **settings)
    assert says in str(caught.value)
    assert not list(in_folder.iterdir())


def test_a_mistake_in_a_notebook_is_one_line_without_a_traceback() -> None:
    assert ConfigError("run.yaml:2  run.stepz: unknown key.")._render_traceback_() == [
        "ConfigError: run.yaml:2  run.stepz: unknown key."
    ]


def test_an_unknown_option_of_an_evaluation_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no option 'num_sample'.*num_samples"):
        reasonrl.evaluate("tiny", "arithmetic", num_sample=3)  # type: ignore[call-overload]  # the mistake


def test_options_of_an_evaluation_are_those_of_the_command() -> None:
    request = evaluation_request("tiny", ["arithmetic"], num_samples=4, stop=("</a>",), metric_timeout_s=3.0, ks=(4, 2))
    (ref,) = request.suites
    assert (ref.num_samples, ref.stop, request.scoring.metric_timeout_s, request.ks) == (4, ("</a>",), 3.0, (2, 4))


def test_importing_reasonrl_and_looking_at_a_run_needs_no_torch(tmp_path: Path) -> None:
    run = policy_run(tmp_path)
    code = (
        "import sys, reasonrl\n"
        "assert 'pydantic' not in sys.modules\n"
        f"run = reasonrl.load_run({str(run.path)!r})\n"
        "run._repr_html_(), str(run.metrics()), run.rollouts(1)\n"
        "reasonrl.RunConfig, reasonrl.train, reasonrl.evaluate\n"
        "print([name for name in ('torch', 'transformers', 'pandas', 'datasets', 'IPython') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_can_be_imported() -> None:
    assert set(reasonrl.__all__) <= set(dir(reasonrl))
    for name in reasonrl.__all__:
        assert getattr(reasonrl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        reasonrl.trian  # type: ignore[attr-defined]  # noqa: B018


# A run.


@pytest.fixture
def run(tmp_path: Path) -> reasonrl.Run:
    directory = policy_run(tmp_path)
    for step, value in ((0, 2 / 6), (6, 4 / 6)):
        directory.append_metrics(step, {"heldout/sums": value})
    return reasonrl.load_run(directory.path)


def test_metrics_are_one_row_a_step_with_held_out_figures_in_it(run: reasonrl.Run) -> None:
    table = run.metrics("reward/mean", "heldout/*")
    assert table.key == "step"
    assert [row["step"] for row in table] == list(range(7))
    assert table.column("reward/mean")[1:] == pytest.approx([0.1 + 0.1 * step for step in range(1, 7)])
    assert [row["step"] for row in table if row.get("heldout/sums") is not None] == [0, 6]


def test_a_metric_that_a_run_has_not_is_named_with_the_nearest(run: reasonrl.Run) -> None:
    with pytest.raises(DataError, match=r"has no metric 'reward/maen'.*reward/mean"):
        run.metrics("reward/maen")
    with pytest.raises(DataError, match="loss/"):
        run.curves("loss/*")


def test_rollouts_have_scores_and_reasons_of_each_reward(run: reasonrl.Run) -> None:
    table = run.rollouts(1)
    assert {row["step"] for row in table} == {1}
    assert table[0]["reward/exact"] in (0.0, 1.0)
    assert table[0]["why/exact"] == "answered '2', wanted '2'"
    assert len(run.rollouts()) == len(list(run.records())) > len(table)
    with pytest.raises(RunError, match="Steps with rollouts"):
        run.rollouts(99)


def test_a_run_tells_one_moment_until_it_is_looked_at_again(tmp_path: Path) -> None:
    directory = policy_run(tmp_path, steps=2)
    run = reasonrl.load_run(directory.path)
    assert run.steps == 2
    directory.append_metrics(3, {"reward/mean": 0.5})
    assert (run.steps, run.reload().steps) == (2, 3)


def test_evaluations_have_a_figure_with_an_interval(run: reasonrl.Run) -> None:
    first, last = run.evaluations
    assert (first.step, last.step) == (0, 6)
    assert [first.value, last.value] == pytest.approx([2 / 6, 4 / 6])
    assert last.interval == (last.figure.lower, last.figure.upper)
    assert last.interval[0] < last.value < last.interval[1]
    assert last.figures["truncated"].value == 0
    assert str(last.figure) in repr(last)
    assert len(last.samples()) == 6
    assert "value [95 % interval]" in str(last)


def test_a_run_is_compared_with_its_beginning_or_with_another(tmp_path: Path) -> None:
    run = reasonrl.load_run(policy_run(tmp_path).path)
    other = reasonrl.load_run(
        policy_run(tmp_path, "second", evaluations={0: results.result(BASE), 6: results.result(BASE)}).path
    )
    gained = run.compare()
    assert gained.difference == pytest.approx(2 / 6)
    assert gained.interval[0] < gained.difference < gained.interval[1]
    assert 0 < gained.p_value <= 1
    assert run.compare(other).difference == pytest.approx(-2 / 6)
    same = reasonrl.compare(other.evaluations[-1], run.evaluations[-1])
    assert same.difference == pytest.approx(2 / 6)
    assert same.to_json()["pairs"]
    assert "B - A (paired, 95 %)" in str(same)
    assert "B - A (paired, 95 %)" in same._repr_html_()


def test_of_several_comparisons_no_one_is_the_figure(tmp_path: Path) -> None:
    folders = [
        results.written(results.result(values), tmp_path / name / "sums")
        for name, values in (("a", BASE), ("b", TRAINED), ("c", BASE))
    ]
    comparison = reasonrl.compare(*folders)
    assert len(comparison.pairs) == 2
    with pytest.raises(DataError, match="2 comparisons"):
        _ = comparison.difference


def test_a_run_is_shown_with_its_figures_and_curves(run: reasonrl.Run) -> None:
    shown = run._repr_html_()
    assert str(run.evaluations[-1].figure) in shown
    assert 'aria-label="reward/mean: 0.2 at step 1, 0.7 at step 6"' in shown
    assert "<script" not in shown
    assert repr(run) == f"<Run first at {run.path}: {run.status}, step 6>"
    assert str(run.curves("reward/mean")) == str(run.metrics("reward/mean"))


def test_what_a_model_wrote_is_text_in_a_notebook_and_on_a_terminal(tmp_path: Path) -> None:
    records = {1: [rollout(1, completion=HOSTILE, why=HOSTILE, task=HOSTILE)]}
    table = reasonrl.load_run(policy_run(tmp_path, rollouts=records).path).rollouts(1)
    shown = table._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert not any(sign in str(table) for sign in ("\x1b", "\u202e"))
    assert table[0]["completion"] == HOSTILE


class Output:
    """An output of a notebook that keeps what it was renewed with."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def update(self, shown: Html) -> None:
        self.pages.append(shown._repr_html_())


def test_a_notebook_has_one_output_of_a_run_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook_view, "SECONDS_BETWEEN", 0.0)
    view, output = notebook_view.NotebookView(), Output()
    view._output = output
    config = policy_config(tmp_path, "first", 4)
    view(RunStarted(config=config, path=tmp_path / "first", steps_done=0, num_steps=4))
    view(SuiteEvaluated(step=0, result=results.result(BASE), metrics={}))
    for step in range(1, 4):
        view(StepFinished(record=StepMetrics(step=step, metrics={"reward/mean": step / 10, "seconds/step": 60.0})))
    view(Message(text=HOSTILE))
    view(RunEnded(status="interrupted", message="Stopped. Go on with: reasonrl train --resume runs/first"))
    last = output.pages[-1]
    assert "step 3/4, 0:01:00 left" in last
    assert '<progress value="3" max="4"' in last
    assert "step 0: sums 33.3% [" in last
    assert 'aria-label="reward/mean: 0.1 at step 1, 0.3 at step 3"' in last
    assert "Go on with: reasonrl train --resume" in last
    assert "<script" not in last
    assert len(output.pages) == 7


# Tables.


def test_a_table_is_a_sequence_of_rows_that_knows_its_columns() -> None:
    table = Table([{"step": 1, "a": 0.5}, {"step": 2, "b": "x"}], key="step")
    assert table.columns == ("step", "a", "b")
    assert table.column("a") == [0.5, None]
    assert table[1] == {"step": 2, "b": "x"}
    assert table[:1].columns == ("step", "a")
    with pytest.raises(DataError, match="no column 'c'"):
        table.column("c")


def test_a_long_table_shows_its_beginning_and_says_so() -> None:
    table = Table([{"text": "x" * 1000}] * (MAX_ROWS + 5))
    assert len(str(table)) < 200 * (MAX_ROWS + 2)
    assert str(table).endswith("... and 5 more rows")
    assert str(Table([])) == "no rows"


def test_a_table_becomes_a_data_frame_and_a_data_set() -> None:
    table = Table([{"step": 1, "a": 0.5}, {"step": 2, "b": "x"}], key="step")
    frame = table.to_pandas()
    assert list(frame.index) == [1, 2]
    assert frame.loc[1, "a"] == 0.5
    data = table.to_dataset()
    assert data.column_names == ["step", "a", "b"]
    assert data[1] == {"step": 2, "a": None, "b": "x"}


# Where a program runs it.


async def answer() -> tuple[int, str]:
    await asyncio.sleep(0)
    return await asyncio.to_thread(lambda: 42), threading.current_thread().name


def test_work_runs_to_its_end_with_and_without_a_loop_around_it() -> None:
    before = threading.active_count()
    assert run_until_complete(answer()) == (42, "MainThread")
    assert in_a_loop(lambda: run_until_complete(answer())) == (42, "reasonrl-work")
    assert threading.active_count() == before


def test_an_interrupt_inside_a_loop_ends_the_work_and_is_raised() -> None:
    ended: list[str] = []
    begun = threading.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    def press() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    stopping = threading.Thread(target=press)
    stopping.start()
    with pytest.raises(KeyboardInterrupt):
        in_a_loop(lambda: run_until_complete(endless()))
    stopping.join()
    assert ended == ["cancelled"]


def test_an_error_of_the_work_inside_a_loop_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise RunError("no")

    with pytest.raises(RunError, match="no"):
        in_a_loop(lambda: run_until_complete(fail()))


def test_a_run_may_train_in_any_thread() -> None:
    entered: list[bool] = []

    def work() -> None:
        with Interrupt(lambda: "nothing") as interrupt:
            entered.append(interrupt.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [False]


def test_a_file_of_a_reward_that_was_changed_is_imported_again(in_folder: Path) -> None:
    file = Path("mine.py")
    file.write_text("def brief(rollout):\n    return 1.0\n")
    first = Plugins().find("rewards", "./mine.py:brief").function
    assert Plugins().find("rewards", "./mine.py:brief").function is first
    file.write_text("def brief(rollout):\n    return 0.0\n")
    assert Plugins().find("rewards", "./mine.py:brief").function(None) == 0.0
    file.write_text("def brief(:\n")
    with pytest.raises(PluginError, match=r"mine\.py"):
        Plugins().find("rewards", "./mine.py:brief")


def test_a_run_of_another_kind_is_refused_where_one_is_asked_for(tmp_path: Path) -> None:
    run = policy_run(tmp_path)
    with pytest.raises(ConfigError, match="trains a policy, not a reward model: use reasonrl train --resume"):
        reasonrl.resume(run.path, kind="reward_model")
    with pytest.raises(RunError, match="is finished; there is nothing to resume"):
        reasonrl.resume(run.path)


def test_a_run_of_one_name_is_not_written_over(in_folder: Path) -> None:
    config = policy_config(in_folder, "first", 3)
    policy_run(in_folder)
    with pytest.raises(RunError, match="first"):
        reasonrl.train(config, show="nothing")
