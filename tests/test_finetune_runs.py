"""Runs of SFT, DPO and KTO: TRL's training in our directories, with the promises of any other run."""

# Parts of transformers, TRL and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import killing
import pytest
import torch
from builders import VOCABULARY, small_llama, untimed
from conversations import chat_tokenizer, conversations, sums, write_rows, write_run
from test_resume import IMPORTED

from reasonrl.config.finetune import DPORunConfig, SFTRunConfig
from reasonrl.config.kinds import KindName
from reasonrl.errors import ConfigError, DataError, RunError
from reasonrl.finetune.training import Finetuning, build_finetuning
from reasonrl.models.load import load_model
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.checkpoints import checkpoint_of
from reasonrl.run.events import AlarmRaised, Event, StepFinished, SuiteEvaluated
from reasonrl.run.files import RunDirectory
from reasonrl.run.finetune.data import load_finetune_data
from reasonrl.run.metric_names import describe
from reasonrl.run.start import fork_run, resume_run, start_run

trl = pytest.importorskip("trl", reason="trains with TRL, which is not installed: pip install 'reasonrl[trl]'")

pytestmark = [
    pytest.mark.slow,
    # What TRL and its trainer warn about is not ours to mend.
    pytest.mark.filterwarnings("default"),
]

STATE = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
"""Files of a checkpoint that a run goes on from."""
CPU = torch.device("cpu")


def go(path: Path, method: KindName, *overrides: str, observers: Sequence[Callable[[Event], None]] = ()) -> str:
    return start_run(path, overrides, observers, argv=["reasonrl", method], kind=method)


def rows(run: Path) -> list[dict[str, Any]]:
    """Metrics without what a clock decides. Any: JSON values."""
    return [untimed(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]


def result(run: Path) -> dict[str, Any]:
    """What a run measured and ended in, its last checkpoint byte for byte. Any: JSON values, and bytes."""
    last = run / "checkpoints" / "step_000006"
    suite = json.loads((run / "evals" / "step_000006" / "arithmetic" / "results.json").read_bytes())
    return {"rows": rows(run), "figures": suite["metrics"], **{name: (last / name).read_bytes() for name in STATE}}


def assert_same_run(one: Path, other: Path) -> None:
    expected, found = result(one), result(other)
    assert [name for name in expected if expected[name] != found[name]] == []


def stop_after(last: int) -> Callable[[Event], None]:
    """An observer that presses Ctrl-C once when a step is finished."""

    def observe(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == last:
            os.kill(os.getpid(), signal.SIGINT)

    return observe


@pytest.fixture(scope="module", params=["sft", "dpo", "kto"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[KindName, Path]:
    """A method, and the folder of a run of it that is finished; tests look at it only."""
    folder = tmp_path_factory.mktemp(request.param)
    assert go(write_run(folder, request.param, root=str(folder / "runs")), request.param) == "finished"
    return request.param, folder / "runs" / "one"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of SFT that is finished."""
    folder = tmp_path_factory.mktemp("trained")
    assert go(write_run(folder, "sft", root=str(folder / "runs")), "sft") == "finished"
    return folder / "runs" / "one"


@pytest.fixture
def work(in_folder: Path) -> Path:
    """The current folder, with rows and a run file of SFT; rows of the others too."""
    for method in ("dpo", "kto", "sft"):
        write_run(in_folder, method)
    return in_folder


# What a run leaves.


def test_a_run_leaves_an_ordinary_run_directory(finished: tuple[KindName, Path]) -> None:
    method, run = finished
    directory = RunDirectory.open(run)
    assert (directory.manifest.kind, directory.manifest.status) == (method, "finished")
    assert [line["step"] for line in rows(run) if f"{method}/loss" in line] == [1, 2, 3, 4, 5, 6]
    assert {name for line in rows(run) for name in line if "/" in name and describe(name) is None} == set()
    assert sorted(directory.evaluated_suites(step) == {"arithmetic"} for step in (0, 3, 6)) == [True] * 3
    assert sorted(directory.checkpoints()) == [2, 4, 6]
    assert (run / "report.html").is_file()
    data = json.loads((run / "data.json").read_bytes())
    assert data["summary"]["rows"] == 40
    assert "seconds/step" in directory.read_metrics()[1]


def test_what_a_run_has_made_is_a_model_that_another_run_begins_with(finished: tuple[KindName, Path]) -> None:
    method, run = finished
    made, base = load_model(checkpoint_of(str(run)), CPU), load_model("tiny", CPU)
    changed = [not torch.equal(one, other) for one, other in zip(made.parameters(), base.parameters(), strict=True)]
    assert any(changed)
    assert made.config.to_dict().keys() == base.config.to_dict().keys()
    assert made.generation_config.eos_token_id == base.generation_config.eos_token_id
    next_run = ["name=two", f"model.name={run}@4", "run.steps=2", "evaluation.suites=[]"]
    assert go(run.parent.parent / f"{method}.yaml", method, *next_run) == "finished"
    second = RunDirectory.open(run.parent / "two")
    assert second.manifest.parent == {"run": str(run), "step": 4}
    assert second.config.model.name == str(run / "checkpoints" / "step_000004")


def test_sft_learns_what_it_is_shown(trained: Path) -> None:
    losses = [line["sft/loss"] for line in rows(trained) if "sft/loss" in line]
    assert losses[-1] < losses[0] - 0.5


# Stops and kills.


def test_ctrl_c_stops_after_the_step_and_the_resumed_run_is_as_if_it_had_not_stopped(trained: Path, work: Path) -> None:
    assert go(work / "sft.yaml", "sft", observers=[stop_after(3)]) == "interrupted"
    run = Path("runs/one")
    assert max(RunDirectory.open(run).checkpoints()) == 3
    assert resume_run(run, [], [], kind="sft") == "finished"
    shutil.rmtree(run / "checkpoints" / "step_000003")
    assert_same_run(trained, run)


@pytest.mark.parametrize(
    "places",
    [
        [("finetuning evaluation begun", 1), ("finetuning checkpoint half written", 2), ("metrics", 4)],
        [("checkpoint not sealed", 2), ("checkpoint not listed", 1), ("finetuning evaluation begun", 1)],
    ],
    ids=["half written", "between two files"],
)
def test_a_run_that_is_killed_at_any_moment_goes_on_as_if_nothing_had_happened(
    trained: Path, work: Path, places: Sequence[tuple[str, int]]
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED, "reasonrl.finetune.trainers"])
    run = work / "runs" / "one"
    for attempt, (place, count) in enumerate(places):
        file = None if (run / "manifest.json").is_file() else "sft.yaml"
        child = context.Process(target=killing.finetune, args=(work, "sft", file, place, count))
        child.start()
        child.join(timeout=120)
        assert child.exitcode == -signal.SIGKILL, f"attempt {attempt} did not get to {place}"
    assert resume_run(run, [], [], kind="sft") == "finished"
    assert_same_run(trained, run)


def test_a_run_that_is_made_longer_is_one_that_was_longer_from_the_start(trained: Path, work: Path) -> None:
    assert go(work / "sft.yaml", "sft", "run.steps=4", "evaluation.every=99") == "finished"
    assert resume_run(Path("runs/one"), ["run.steps=6"], [], kind="sft") == "finished"
    of_longer = ["learner.schedule_steps=6", "name=two"]
    assert go(work / "sft.yaml", "sft", "run.steps=4", *of_longer) == "finished"
    assert resume_run(Path("runs/two"), ["run.steps=6"], [], kind="sft") == "finished"
    model = Path("checkpoints/step_000006/model.safetensors")
    assert (Path("runs/two") / model).read_bytes() == (trained / model).read_bytes()
    assert (Path("runs/one") / model).read_bytes() != (trained / model).read_bytes()
    rates = [line["sft/learning_rate"] for line in rows(Path("runs/one")) if "sft/learning_rate" in line]
    assert rates[4] == pytest.approx([line["sft/learning_rate"] for line in rows(trained) if "sft/loss" in line][4])


def test_a_run_whose_rows_have_changed_is_not_resumed(trained: Path, work: Path) -> None:
    assert go(work / "sft.yaml", "sft", "evaluation.suites=[]", "run.steps=2") == "finished"
    write_rows(work / "sft.jsonl", sums("sft", 39))
    with pytest.raises(DataError, match=r"the rows are not those(.|\n)*reasonrl sft --fork runs/one@STEP name=NEW"):
        resume_run(Path("runs/one"), ["run.steps=4"], [], kind="sft")
    with pytest.raises(ConfigError, match=r"trains a policy by SFT, not a policy: use reasonrl sft --resume"):
        resume_run(Path("runs/one"), ["run.steps=4"], [])
    overrides = ["name=two", "run.steps=2"]
    assert fork_run("runs/one@2", overrides, [], argv=["test"], kind="sft") == "finished"


def test_a_gradient_that_is_not_finite_moves_nothing_and_stops_the_run(work: Path) -> None:
    told: list[Event] = []
    settings = ["learner.learning_rate=1e30", "learner.warmup_steps=0", "learner.max_grad_norm=1e30"]
    going_on = ["evaluation.suites=[]", "run.checkpoint_every=1", "alarms.not_finite=warn"]
    go(work / "sft.yaml", "sft", *settings, *going_on, observers=[told.append])
    (first, *_) = [event for event in told if isinstance(event, AlarmRaised)]
    weights = [path / "model.safetensors" for path in RunDirectory.open(Path("runs/one")).checkpoints().values()]
    assert weights[first.step - 1].read_bytes() == weights[-1].read_bytes()  # of no later step either
    with pytest.raises(RunError, match="alarm not_finite stopped the run"):
        go(work / "sft.yaml", "sft", *settings, "evaluation.suites=[]", "name=two")


def test_an_alarm_rolls_the_run_back_with_a_lower_learning_rate(work: Path) -> None:
    alarms = ["alarms.gradient_spike=rollback", "alarms.spike_factor=1.0001", "alarms.max_rollbacks=1"]
    still = ["learner={learning_rate: 1e-9}", "rows_per_step=1", "run.steps=15", "evaluation.suites=[]"]
    told: list[Event] = []
    with pytest.raises(RunError, match=r"rolled back 1 times already (.|\n)*reasonrl sft --resume runs/one"):
        go(work / "sft.yaml", "sft", *alarms, *still, observers=[told.append])
    (alarm, *_) = [event for event in told if isinstance(event, AlarmRaised)]
    rates = [
        (event.step, event.record.metrics["sft/learning_rate"]) for event in told if isinstance(event, StepFinished)
    ]
    again = rates.index((alarm.step, 1e-9)) + 1
    assert 1 < rates[again][0] <= alarm.step  # from a checkpoint, whose schedule had the old rate
    assert {rate for _, rate in rates[again:]} == {0.5e-9}


# TRL's own.


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model with a chat template."""
    folder = tmp_path_factory.mktemp("model")
    small_llama(vocab_size=len(VOCABULARY) + 2).save_pretrained(folder)
    chat_tokenizer().save_pretrained(folder)
    return folder


def built(config: Any) -> Finetuning:
    """A run's trainer, with its rows. Any: settings of any method."""
    data = load_finetune_data(config, Plugins())
    return build_finetuning(config, data.rows, data.source, Plugins())


def steps_of(tuned: Finetuning) -> list[Mapping[str, float]]:
    """Train to the end; what TRL logs of each step."""
    found: list[Mapping[str, float]] = []

    def after_step(step: int, logs: Mapping[str, float]) -> bool:
        found.append(dict(logs))
        return True

    tuned.trainer.train_from(None, after_step)
    tuned.close()
    return found


def losses(tuned: Finetuning) -> list[float]:
    """Train to the end; the loss of each step."""
    return [logs["loss"] for logs in steps_of(tuned)]


def test_masks_and_loss_curve_are_those_of_a_plain_script_of_trls(chat_model: Path, in_folder: Path) -> None:
    talks = conversations(40)
    write_rows(Path("talks.jsonl"), [{"messages": talk} for talk in talks])
    config = SFTRunConfig.model_validate(
        {
            "name": "one",
            "model": str(chat_model),
            "data": {"path": "talks.jsonl", "max_length": 256},
            "rows_per_step": 8,
            "seed": 3,
            "learner": {"learning_rate": 2e-3, "schedule": "cosine", "warmup_steps": 2, "microbatch_rows": 4},
            "run": {"steps": 12},
        }
    )
    from datasets import Dataset

    arguments = trl.SFTConfig(
        "plain",
        seed=3,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        learning_rate=2e-3,
        lr_scheduler_type="cosine",
        warmup_steps=2,
        max_steps=12,
        logging_steps=1,
        assistant_only_loss=True,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    rows = Dataset.from_list([{"messages": talk} for talk in talks])
    plain = trl.SFTTrainer(str(chat_model), arguments, train_dataset=rows, processing_class=chat_tokenizer())
    tuned = built(config)
    for ours, theirs in zip(tuned.trainer.train_dataset, plain.train_dataset, strict=True):
        length = len(ours["input_ids"])
        assert (ours["input_ids"], ours["labels"]) == (theirs["input_ids"][:length], theirs["labels"][:length])
        assert set(theirs["labels"][length:]) <= {-100}
    plain.train()
    curve = [line["loss"] for line in plain.state.log_history if "loss" in line]
    assert losses(tuned) == pytest.approx(curve, rel=1e-5)
    assert curve[-1] < curve[0]


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_the_reference_of_dpo_is_the_model_that_the_run_began_with(in_folder: Path, lora: Any) -> None:
    write_rows(Path("rows.jsonl"), sums("dpo", 16))
    config = DPORunConfig.model_validate(
        {
            "name": "one",
            "model": {"name": "tiny", "lora": lora},
            "data": {"path": "rows.jsonl"},
            "template": "plain",
            "rows_per_step": 8,
            "learner": {"learning_rate": 1e-3},
            "run": {"steps": 4},
        }
    )
    logs = steps_of(built(config))
    assert (logs[0]["rewards/chosen"], logs[0]["rewards/rejected"]) == pytest.approx((0.0, 0.0), abs=1e-5)
    assert logs[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert logs[-1]["rewards/margins"] > 0.05  # against the same reference


def test_a_run_with_an_adapter_saves_it_and_another_goes_on_from_it(work: Path) -> None:
    lora = ["model.lora.rank=4", "evaluation.suites=[]", "run.steps=2"]
    assert go(work / "sft.yaml", "sft", *lora) == "finished"
    checkpoint = Path(checkpoint_of("runs/one"))
    assert (checkpoint / "adapter_model.safetensors").is_file()
    assert not (checkpoint / "model.safetensors").exists()
    told: list[Event] = []
    more = [*lora, "name=two", "model.name=runs/one", "learner.learning_rate=1e-3"]
    assert go(work / "dpo.yaml", "dpo", *more, observers=[told.append]) == "finished"
    (first, *_) = [event.record.metrics for event in told if isinstance(event, StepFinished)]
    assert first["dpo/reward_chosen"] == pytest.approx(0.0, abs=1e-5)  # the reference has the adapter as it began


def test_packed_rows_do_not_see_one_another(in_folder: Path) -> None:
    write_rows(Path("rows.jsonl"), sums("sft", 12))
    settings = {
        "name": "one",
        "model": "tiny",
        "data": {"path": "rows.jsonl", "max_length": 80},
        "template": "plain",
        "rows_per_step": 12,
        "learner": {"microbatch_rows": 12},
        "run": {"steps": 1},
    }
    apart, packed = (built(SFTRunConfig.model_validate({**settings, "sft": {"packing": it}})) for it in (False, True))
    assert packed.num_rows < apart.num_rows == 12
    assert losses(packed) == pytest.approx(losses(apart), rel=1e-5)


def test_suites_are_measured_by_an_engine_that_is_given_the_weights(work: Path) -> None:
    told: list[Event] = []
    engine = ["evaluation.engine=copies:copy_engine", "run.steps=2", "evaluation.every=1", "run.checkpoint_every=9"]
    assert go(work / "sft.yaml", "sft", *engine, observers=[told.append]) == "finished"
    copied = [event.result.rows for event in told if isinstance(event, SuiteEvaluated)]
    told.clear()
    own = ["run.steps=2", "evaluation.every=1", "run.checkpoint_every=9", "name=two"]
    assert go(work / "sft.yaml", "sft", *own, observers=[told.append]) == "finished"
    assert [[row.completion for row in suite] for suite in copied] == [
        [row.completion for row in event.result.rows] for event in told if isinstance(event, SuiteEvaluated)
    ]
