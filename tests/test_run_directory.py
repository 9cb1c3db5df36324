"""What a run directory promises: whole files after a kill at any moment, errors that say what to do."""

import errno
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from builders import batch

from reasonrl.config.settings import RunConfig
from reasonrl.errors import RunError
from reasonrl.run.files import RunDirectory
from reasonrl.run.files.claim import next_name
from reasonrl.system import jsonl
from reasonrl.system.disk import disk_errors
from reasonrl.types import Group, Problem, RewardResult, Score, StepRecord, Trajectory, UnusedGroup

FORK = multiprocessing.get_context("fork")
DISK_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def config_for(root: Path, name: str = "first", model: str = "tiny") -> RunConfig:
    """Return a small run under a root."""
    data = {"name": name, "model": model, "task": "arithmetic", "rewards": ["exact"]}
    return RunConfig.model_validate({**data, "run": {"steps": 100, "root": str(root)}})


def new_run(root: Path, name: str = "first", *, overwrite: bool = False, model: str = "tiny") -> RunDirectory:
    """Create a run directory."""
    environment = {"reasonrl": "0.1.0", "device": "cpu"}
    return RunDirectory.create(
        config_for(root, name, model),
        "name: first\n",
        environment=environment,
        argv=["train", "a.yaml"],
        overwrite=overwrite,
    )


def record_of(step: int, text: str = "4", logprob: float = -0.5) -> StepRecord:
    """Return a step with one group of two completions, one right and one that could not be scored."""
    problem = Problem(id="p1", task="arithmetic", prompt="2 + 2 = ?", answer="4")
    completions = tuple(
        Trajectory.single_turn(
            token_ids=(5, 6),
            text=text,
            logprobs=(logprob, -0.25),
            finish_reason="stop",
            policy_version=step - 1,
            sample_index=index,
            seed=7 + index,
        )
        for index in range(2)
    )
    right, failed = Score(1.0, "as wanted"), Score(None, "ran out of time", "timeout")
    group = Group(problem=problem, prompt="Q: 2 + 2 = ?", prompt_ids=(1, 2), trajectories=completions)
    results = tuple(RewardResult(total=score, rewards={"exact": score}) for score in (right, failed))
    return StepRecord(
        batch=batch([group], [results], step=step),
        advantages=((0.5, 0.0),),
        policy_version=step - 1,
        measured={},
        seconds={},
        metrics={"reward/mean": 1.0},
    )


def weights_of(step: int) -> Callable[[Path], None]:
    """Return a function that writes a checkpoint of two files, each of which names the step many times."""

    def write(folder: Path) -> None:
        (folder / "tokenizer").mkdir()
        (folder / "model.bin").write_text(f"{step}\n" * 5000)
        (folder / "tokenizer" / "vocabulary.txt").write_text(f"{step}\n" * 5000)

    return write


def is_complete(step: int, folder: Path) -> bool:
    """Tell whether a checkpoint has all that :func:`weights_of` writes."""
    files = [folder / "model.bin", folder / "tokenizer" / "vocabulary.txt"]
    return all(file.is_file() and file.read_text() == f"{step}\n" * 5000 for file in files)


def train(run: RunDirectory, first: int, last: int, *, checkpoint_every: int = 2) -> None:
    """Write what a loop writes."""
    for step in range(first, last + 1):
        run.append_metrics(step, {"reward/mean": step / 10})
        run.write_rollouts(record_of(step))
        if step % checkpoint_every == 0:
            (run.eval_folder(step, "heldout") / "results.json").write_text(f"{step}")
            run.append_event("note", f"after {step}", step)
            run.save_checkpoint(step, step, weights_of(step), keep=2)


def content(run: RunDirectory) -> dict[str, object]:
    """Return every file a loop writes by name, without times and notes of having been resumed."""
    files = [path for path in run.path.rglob("*") if path.is_file() and path.parent != run.path]
    files += [run.path / "metrics.jsonl", run.path / "events.jsonl"]
    return {str(path.relative_to(run.path)): _timeless(path) for path in files}


def _timeless(path: Path) -> object:
    """Return a file's content; of records all but the time."""
    if path.suffix != ".jsonl":
        return path.read_text()
    records = [{**record, "wall": None} for record in jsonl.read(path)]
    return [record for record in records if record.get("kind") != "resumed"]


def killed_before(operation: int, work: Callable[[], object]) -> bool:
    """Run work in a process that is killed before its nth change of the disk; tell whether it was."""

    def worker() -> None:
        changes = count()

        def kill_at_last(event: str, details: tuple[Any, ...]) -> None:
            changing = event in DISK_CHANGES or (event == "open" and details[2] & WRITING)
            if changing and next(changes) == operation:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill_at_last)
        work()

    process = FORK.Process(target=worker)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def killed_after(seconds: float, work: Callable[[], object]) -> None:
    """Run work in a process and kill it after a while."""
    process = FORK.Process(target=work)
    process.start()
    time.sleep(seconds)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_new_run_says_what_it_is_and_where_it_came_from(tmp_path: Path) -> None:
    run = RunDirectory.create(
        config_for(tmp_path),
        "name: first  # as typed\n",
        environment={"torch": "2.9", "device": "cuda"},
        argv=["train", "first.yaml"],
        parent={"run": "runs/zero", "step": 40},
    )
    manifest = json.loads((run.path / "manifest.json").read_text())
    expected = {
        "schema_version": 2,
        "kind": "policy",
        "name": "first",
        "argv": ["train", "first.yaml"],
        "environment": {"torch": "2.9"},
        "device": "cuda",
        "seed": 0,
        "parent": {"run": "runs/zero", "step": 40},
        "status": "running",
        "cause": None,
        "attempts": 1,
        "rollbacks": 0,
        "changes": [],
    }
    assert expected.items() <= manifest.items()
    assert manifest.keys() - expected.keys() == {"run_id", "created", "config_sha", "control", "settings", "compute"}
    assert (run.path / "config.input.yaml").read_text() == "name: first  # as typed\n"


def test_the_run_read_back_is_the_run_that_was_created(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    again = RunDirectory.open(run.path)
    assert again.config == run.config
    assert again.manifest == run.manifest


def test_two_runs_of_one_configuration_differ_in_their_id_only(tmp_path: Path) -> None:
    first, second = new_run(tmp_path / "a").manifest, new_run(tmp_path / "a", name="second").manifest
    assert first.run_id != second.run_id


def test_an_existing_run_is_refused_with_the_commands_that_continue(tmp_path: Path) -> None:
    train(run := new_run(tmp_path), 1, 1)
    with pytest.raises(RunError) as without_checkpoint:
        new_run(tmp_path)
    said = str(without_checkpoint.value)
    assert f"reasonrl train --resume {run.path}" in said
    assert "add --overwrite" in said
    assert "add name=first-2" in said
    assert "--fork" not in said
    train(run, 2, 4)
    with pytest.raises(RunError, match=f"reasonrl train --fork {run.path}@4 name=first-2"):
        new_run(tmp_path)
    run.set_status("finished")
    with pytest.raises(RunError) as finished:
        new_run(tmp_path)
    assert "--resume" not in str(finished.value)


def test_a_run_that_ended_before_its_first_step_leaves_its_folder_to_the_next_one(tmp_path: Path) -> None:
    first = new_run(tmp_path)
    first.append_metrics(0, {"heldout/a": 0.5})
    first.set_status("failed", "the model is gone")
    again = new_run(tmp_path)
    assert again.manifest.run_id != first.manifest.run_id
    assert RunDirectory.open(again.path).manifest == again.manifest
    assert again.read_metrics() == []
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_a_run_is_replaced_where_the_user_says_so(tmp_path: Path) -> None:
    train(first := new_run(tmp_path), 1, 4)
    again = new_run(tmp_path, overwrite=True)
    assert again.manifest.run_id != first.manifest.run_id
    assert again.checkpoints() == {}
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_what_is_no_run_or_holds_the_model_or_is_training_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="not a run directory, so --overwrite does not replace it"):
        new_run(tmp_path, overwrite=True)
    (folder / "thesis.tex").unlink()
    train(run := new_run(tmp_path), 1, 4)  # an empty folder is nobody's
    with pytest.raises(RunError, match="holds the model that the new run begins with"):
        new_run(tmp_path, overwrite=True, model=str(folder / "checkpoints" / "step_000004"))

    def elsewhere() -> None:
        with pytest.raises(RunError, match="another process is training in this run"):
            new_run(tmp_path, overwrite=True)

    process = FORK.Process(target=elsewhere)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert RunDirectory.open(folder).checkpoints() == run.checkpoints()


@pytest.mark.parametrize(
    ("taken", "free"), [(["a"], "a-2"), (["a", "a-2"], "a-3"), (["a-2"], "a-3"), (["run-7b"], "run-7b-2")]
)
def test_the_next_name_is_one_that_nothing_has(tmp_path: Path, taken: list[str], free: str) -> None:
    for name in taken:
        (tmp_path / name).mkdir()
    assert next_name(tmp_path / taken[0]) == free


def test_the_commands_quote_a_path_with_spaces(tmp_path: Path) -> None:
    train(run := new_run(tmp_path / "my runs"), 1, 4)
    with pytest.raises(RunError, match=f"--resume '{run.path}'"):
        new_run(tmp_path / "my runs")


def test_a_folder_that_is_no_run_is_refused_without_offering_to_remove_it(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "thesis.tex").touch()
    with pytest.raises(RunError, match="is not a run directory") as refused:
        new_run(tmp_path)
    assert "rm -r" not in str(refused.value)


@pytest.mark.parametrize("part", ["manifest.json", "config.input.yaml", "config.resolved.yaml"])
def test_opening_names_the_missing_part(tmp_path: Path, part: str) -> None:
    run = new_run(tmp_path)
    (run.path / part).unlink()
    with pytest.raises(RunError, match=f"it has no {part}"):
        RunDirectory.open(run.path)


def test_opening_a_misspelt_run_names_the_nearest(tmp_path: Path) -> None:
    new_run(tmp_path, name="arithmetic-7")
    new_run(tmp_path, name="code")
    with pytest.raises(RunError, match=r"no such folder. Did you mean 'arithmetic-7'\? Known: arithmetic-7, code"):
        RunDirectory.open(tmp_path / "arithmetik-7")


def test_a_manifest_changed_by_hand_is_refused_with_the_field(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    path = run.path / "manifest.json"
    path.write_text(path.read_text().replace('"running"', '"runing"'))
    with pytest.raises(RunError, match=r"manifest.json: status: .*changed by hand"):
        RunDirectory.open(run.path)


def test_a_run_of_an_older_version_is_refused_with_the_version_that_reads_it(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    path = run.path / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    (run.path / "config.resolved.yaml").write_text("a_setting_of_old: 1\n")
    said = (
        r"was started by reasonrl 0\.1\.0, whose run directories have version 1; .* Resume or fork it with reasonrl 0"
    )
    for look in (RunDirectory.open, RunDirectory.resume):
        with pytest.raises(RunError, match=said):
            look(run.path)


def test_status_and_attempts_are_kept(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.set_status("failed", "the reward failed")
    opened = RunDirectory.open(run.path)
    assert (opened.manifest.status, opened.manifest.cause) == ("failed", "the reward failed")
    RunDirectory.resume(run.path)
    resumed = RunDirectory.open(run.path).manifest
    assert (resumed.status, resumed.cause, resumed.attempts) == ("failed", "the reward failed", 2)


def test_metrics_that_are_not_finite_are_left_out_and_counted(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.append_metrics(3, {"loss": float("nan"), "reward/mean": 0.5, "ratio": float("inf")})
    (line,) = run.read_metrics()
    del line["wall"]
    assert line == {"schema_version": 1, "step": 3, "reward/mean": 0.5, "dropped_non_finite": 2}


def test_rollouts_hold_every_completion_with_its_scores_and_reasons(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.write_rollouts(record_of(40))
    first, second = jsonl.read(run.path / "rollouts" / "step_000040.jsonl")
    assert first == {
        "schema_version": 2,
        "step": 40,
        "group_index": 0,
        "id": "p1-7",
        "policy_version": 39,
        "segments": [{"num_tokens": 2, "policy_version": 39}],
        "group_id": "p1",
        "sample_index": 0,
        "task": "arithmetic",
        "prompt": "Q: 2 + 2 = ?",
        "completion": "4",
        "completion_tokens": 2,
        "logprob_sum": -0.75,
        "finish_reason": "stop",
        "seed": 7,
        "answer": "4",
        "rewards": {"exact": {"value": 1.0, "outcome": "scored", "why": "as wanted", "parts": {}, "spans": []}},
        "reward": 1.0,
        "outcome": "scored",
        "penalties": {},
        "advantage": 0.5,
        "unused": None,
        "tokens": None,
    }
    assert (second["sample_index"], second["reward"], second["outcome"]) == (1, None, "timeout")
    read = run.read_rollouts(40)
    assert [record.model_dump(mode="json") for record in read] == [first, second]
    assert (read[0].rewards["exact"].why, read[1].outcome) == ("as wanted", "timeout")


def test_advantages_of_tokens_and_groups_that_are_not_learned_from_are_read_back(tmp_path: Path) -> None:
    run, record = new_run(tmp_path), record_of(1)
    (group,), (results,) = record.batch.groups, record.batch.results
    left_out = UnusedGroup(group=group, results=results, reason="stale")
    with_more = replace(record.batch, unused=(left_out,))
    run.write_rollouts(replace(record, batch=with_more, advantages=(((0.5, math.nan), 0.0),)))
    read = run.read_rollouts(1)
    assert [(one.group_index, one.unused) for one in read] == [(0, None)] * 2 + [(1, "stale")] * 2
    assert [one.advantage for one in read] == [(0.5, None), 0.0, None, None]


def test_rollouts_that_are_not_there_or_no_rollouts_are_reported_with_their_place(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.write_rollouts(record_of(3))
    with pytest.raises(RunError, match=r"step_000004.jsonl: there is no such file. Steps with rollouts: 3"):
        run.read_rollouts(4)
    path = run.path / "rollouts" / "step_000003.jsonl"
    path.write_text(path.read_text().replace('"stop"', '"stopped"'))
    with pytest.raises(RunError, match=r"step_000003.jsonl:1: finish_reason: .*Another version of reasonrl wrote it"):
        run.read_rollouts(3)


@pytest.mark.parametrize("text", ["two\nlines\r\n", "\u2028\x85\x00\x1b[31m", "\ud83d alone", "日本", "\\ud83d"])
def test_any_text_survives_in_a_rollout(tmp_path: Path, text: str) -> None:
    run = new_run(tmp_path)
    run.write_rollouts(record_of(1, text))
    assert [record.completion for record in run.read_rollouts(1)] == [text, text]
    assert (run.path / "rollouts" / "step_000001.jsonl").read_bytes().count(b"\n") == 2


def test_a_diverged_policy_can_be_written(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.write_rollouts(record_of(1, logprob=math.nan))
    assert run.read_rollouts(1)[0].logprob_sum is None


def test_a_suite_gets_its_own_folder_and_may_not_leave_it(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    folder = run.eval_folder(40, "arithmetic")
    assert folder.is_dir()
    assert folder == run.eval_folder(40, "arithmetic") == run.path / "evals" / "step_000040" / "arithmetic"
    for name in ("../arithmetic", "a/b", ".."):
        with pytest.raises(RunError, match="without '/'"):
            run.eval_folder(40, name)


def test_only_the_latest_checkpoints_stay(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    for step in (2, 10, 4):
        run.save_checkpoint(step, step, weights_of(step), keep=2)
    assert list(run.checkpoints()) == [4, 10]
    assert run.latest_checkpoint() == (10, run.path / "checkpoints" / "step_000010")
    assert [line["step"] for line in jsonl.read(run.path / "checkpoints" / "index.jsonl")] == [2, 10, 4]


def test_a_checkpoint_that_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    run = new_run(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "model.bin").touch()
        raise KeyError("no such weight")

    with pytest.raises(KeyError):
        run.save_checkpoint(2, 2, fail, keep=1)
    assert run.latest_checkpoint() is None
    assert list((run.path / "checkpoints").iterdir()) == []


@pytest.mark.slow
def test_a_run_killed_while_it_is_created_is_complete_or_not_there(tmp_path: Path) -> None:
    for operation in count():
        root = tmp_path / str(operation)
        if not killed_before(operation, partial(new_run, root)):
            break
        if (root / "first").exists():
            RunDirectory.resume(root / "first")
        else:
            new_run(root)
    assert operation > 10


def test_a_checkpoint_killed_at_any_operation_is_complete_or_not_there(tmp_path: Path) -> None:
    start = new_run(tmp_path)
    train(start, 1, 4)
    for operation in count():
        run = _copy(start, tmp_path / "copies" / str(operation))
        if not killed_before(operation, partial(run.save_checkpoint, 6, 6, weights_of(6), keep=2)):
            break
        resumed = RunDirectory.resume(run.path)
        opened = resumed.checkpoints()
        assert {4} <= opened.keys() <= {2, 4, 6}
        assert all(is_complete(step, folder) for step, folder in opened.items())
        resumed.rewind(max(opened))
        indexed = [line["step"] for line in jsonl.read(run.path / "checkpoints" / "index.jsonl")]
        assert indexed == ([2, 4, 6] if 6 in opened else [2, 4])
        assert not list(run.path.rglob("*.partial"))
    assert operation > 10


@pytest.mark.slow
def test_a_rewind_killed_at_any_operation_can_be_done_again(tmp_path: Path) -> None:
    start = new_run(tmp_path)
    train(start, 1, 5)
    undisturbed = _copy(start, tmp_path / "undisturbed")
    undisturbed.rewind(2)
    expected = content(undisturbed)
    for operation in count():
        run = _copy(start, tmp_path / "copies" / str(operation))
        if not killed_before(operation, partial(run.rewind, 2)):
            break
        again = RunDirectory.resume(run.path)
        assert again.read_metrics()[-1]["step"] >= max(again.checkpoints())
        again.rewind(2)
        assert content(again) == expected
    assert operation > 10


def _copy(run: RunDirectory, path: Path) -> RunDirectory:
    """Return a copy of a run elsewhere."""
    shutil.copytree(run.path, path)
    return RunDirectory(path, run.config, run.manifest)


def test_a_run_killed_at_random_moments_ends_with_the_files_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = new_run(tmp_path / "undisturbed")
    train(undisturbed, 1, 40)
    path = new_run(tmp_path / "killed").path
    moments = random.Random(0)
    for _ in range(10):
        killed_after(moments.uniform(0.01, 0.1), partial(_train_on, path, then_wait=True))
        found = RunDirectory.open(path).checkpoints()
        assert all(is_complete(step, folder) for step, folder in found.items())
    _train_on(path, then_wait=False)
    assert content(RunDirectory.open(path)) == content(undisturbed)


def _train_on(path: Path, *, then_wait: bool) -> None:
    """Resume a run from its latest checkpoint as the command line does, and wait to be killed if told to."""
    run = RunDirectory.resume(path)
    done, _ = run.latest_checkpoint() or (None, path)
    run.rewind(done)
    train(run, (done or 0) + 1, 40)
    while then_wait:
        time.sleep(1)


def test_rewinding_without_a_checkpoint_begins_anew(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.append_metrics(0, {"heldout/accuracy": 0.1})
    run.eval_folder(0, "heldout")
    train(run, 1, 1)
    run.rewind(None)
    assert run.read_metrics() == []
    assert not list((run.path / "evals").iterdir()) + list((run.path / "rollouts").iterdir())
    assert [event["kind"] for event in run.read_events()] == ["resumed"]


def test_a_half_written_line_is_passed_over_and_replaced_wherever_it_was_cut(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    for step in (1, 2):
        run.append_metrics(step, {"reward/mean": 0.5})
    path = run.path / "metrics.jsonl"
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        finished = whole[:end].count(b"\n")
        assert [line["step"] for line in run.read_metrics()] == [1, 2][:finished]
        run.append_metrics(9, {"reward/mean": 0.5})
        assert [line["step"] for line in run.read_metrics()] == [*[1, 2][:finished], 9]


def test_a_damaged_line_in_the_middle_is_reported_with_its_place(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl:2: not a JSON record .* Remove or mend the line"):
        run.read_metrics()


def test_looking_at_a_run_changes_nothing_and_resuming_clears_away(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    leftovers = [run.path / "checkpoints" / ".step_000002.partial", run.path / ".metrics.jsonl.partial"]
    leftovers[0].mkdir()
    (leftovers[0] / "model.bin").touch()
    leftovers[1].touch()
    assert RunDirectory.open(run.path).checkpoints() == {}
    assert all(leftover.exists() for leftover in leftovers)
    RunDirectory.resume(run.path)
    assert not any(leftover.exists() for leftover in leftovers)


def test_a_run_in_training_can_be_looked_at_but_not_resumed(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    before = (run.path / "manifest.json").read_bytes()

    def elsewhere() -> None:
        RunDirectory.open(run.path)
        with pytest.raises(RunError, match="another process is training in this run"):
            RunDirectory.resume(run.path)

    process = FORK.Process(target=elsewhere)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (run.path / "manifest.json").read_bytes() == before


def test_a_full_disk_is_reported_with_what_to_do(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    (run.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"disk full while writing \S+/metrics.jsonl: \d+\.\d GB free in ") as full:
        run.append_metrics(1, {"reward/mean": 0.5})
    assert str(full.value).endswith(f"then resume with: reasonrl train --resume {run.path}")


def test_a_file_that_no_longer_fits_on_the_disk_keeps_its_old_content(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    (run.path / ".manifest.json.partial").symlink_to("/dev/full")
    with pytest.raises(RunError, match="disk full while writing"):
        run.set_status("finished")
    assert RunDirectory.open(run.path).manifest.status == run.manifest.status == "running"


@pytest.mark.parametrize(
    ("error", "free"),
    [
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), 0),
        (ValueError("Error while serializing: I/O error: No space left on device (os error 28)"), 1 << 30),
    ],
)
def test_a_full_disk_is_recognized_in_what_libraries_make_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, free: int
) -> None:
    run = new_run(tmp_path)

    def write(_: Path) -> None:
        raise error

    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RunError, match=r"disk full while writing \S+/step_000002: \d\.\d GB free"):
        run.save_checkpoint(2, 2, write, keep=1)
    assert list((run.path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (
            errno.EACCES,
            "may not write runs/a/metrics.jsonl: Permission denied. Make . writable for this user",
        ),
        (errno.EROFS, "may not write runs/a/metrics.jsonl: Read-only file system"),
        (errno.EDQUOT, "disk quota used up while writing runs/a/metrics.jsonl. Free some of your space in ."),
        (errno.EIO, "cannot write runs/a/metrics.jsonl: [Errno 5] Input/output error. Mend that"),
    ],
)
def test_other_refusals_of_the_disk_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(RunError) as refused,
        disk_errors(Path("runs/a/metrics.jsonl"), "then start again."),
    ):
        raise OSError(number, os.strerror(number))
    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith(", then start again.")


def test_a_root_that_cannot_be_written_is_reported_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(RunError, match=r"cannot write \S+/runs/first: .*or set run.root to another disk"):
        new_run(tmp_path / "runs")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_run_directories_and_views_need_no_torch() -> None:
    code = "import sys, reasonrl.run.files, reasonrl.run.terminal; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
