"""``reasonrl sample``: completions with their scores, in a file that a kill at any moment leaves fit to continue."""

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openai_server import serving
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.runfile import load_run
from reasonrl.errors import ModelError
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.samples import SampleRow, read_sample_rows
from reasonrl.run.sample import SampleRequest, policy_sampler
from reasonrl.run.tasks import load_problems
from reasonrl.types import sample_seed

RUN = """\
name: one
seed: 5
model: tiny
task: {name: arithmetic, params: {num_problems: 40, min_terms: 2, max_terms: 2, max_value: 99}}
template: plain
rewards:
- {name: numeric_answer, isolated: false}
- {name: ./rewards.py:picky, label: picky, weight: 0.5, isolated: false}
algorithm: {preset: grpo, kl_coefficient: 0.1}
rollout: {prompts_per_step: 4, samples_per_prompt: 3, max_new_tokens: 12}
evaluation: {suites: [{name: arithmetic, params: {num_problems: 4}, template: plain}]}
alarms: {gold: arithmetic}
run: {steps: 3}
"""
REWARDS = """
from reasonrl import Score

def picky(text, step):
    if step:
        return len(text) / 10
    return Score.unscorable("too long") if len(text) > 12 else Score(1.0, "short", parts={"half": 0.5})
"""


def sample(*words: str) -> tuple[int, str]:
    """Sample the run with some options; return the exit code and what was said."""
    result = CliRunner().invoke(app, ["sample", "run.yaml", "--out", "s.jsonl", "--num-problems", "10", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 2, str(result.exception)
    return result.exit_code, result.output


@pytest.fixture
def folder(in_folder: Path) -> Path:
    """A run file and its reward."""
    Path("run.yaml").write_text(RUN)
    Path("rewards.py").write_text(REWARDS)
    return in_folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of ten problems, written in one go."""
    with contextlib.chdir(tmp_path_factory.mktemp("whole")):
        Path("run.yaml").write_text(RUN)
        Path("rewards.py").write_text(REWARDS)
        code, said = sample()
        assert code == 0, said
        return Path("s.jsonl").read_bytes()


def rows(content: bytes) -> list[SampleRow]:
    """The rows of a file."""
    return [SampleRow.model_validate_json(line) for line in content.splitlines()]


def test_a_row_has_problem_prompt_completion_and_what_every_reward_said(whole: bytes, folder: Path) -> None:
    found = rows(whole)
    assert len(found) == 30
    assert [row.sample_index for row in found] == [0, 1, 2] * 10
    assert len({row.problem_id for row in found}) == 10
    problems = {p.id: p for p in load_problems(load_run(Path("run.yaml")).tasks[0].ref, Plugins())}
    for row in found:
        assert row.seed == sample_seed(5, 0, row.problem_id, row.sample_index)
        assert (row.prompt, row.answer) == (problems[row.problem_id].prompt, problems[row.problem_id].answer)
        assert row.prompt in row.rendered_prompt
        picky = row.rewards["picky"]
        assert picky.outcome == ("unscorable" if len(row.completion) > 12 else "scored")
        right = row.rewards["numeric_answer"].value
        assert right is not None
        if picky.value is None:
            assert row.outcome == "unscorable" or row.score == right
        else:
            assert (row.score, picky.why, picky.parts) == (right + 0.5, "short", {"half": 0.5})


@pytest.mark.parametrize(("num_samples", "problems"), [(None, 4), (1, 12), (6, 4)])
def test_as_many_completions_as_in_a_step_of_the_run_are_sampled_at_once(
    folder: Path, num_samples: int | None, problems: int
) -> None:
    request = SampleRequest(config=load_run(Path("run.yaml")), num_samples=num_samples)
    with policy_sampler(request, Plugins()) as policy:
        assert policy.part_size == problems


@pytest.mark.parametrize("share", [0.0, 0.5001, 0.93])
def test_a_file_that_was_cut_anywhere_is_continued_to_the_same_bytes(whole: bytes, folder: Path, share: float) -> None:
    assert sample()[0] == 0
    Path("s.jsonl").write_bytes(whole[: int(share * len(whole))])
    code, said = sample()
    assert code == 0, said
    assert Path("s.jsonl").read_bytes() == whole
    assert "30 completions of 10 problems" in said


KILLED = """
import os, signal
import reasonrl.run.sample_file as sample
append, parts = sample._append, []

def dies(file, rows, out):
    parts.append(rows)
    if len(parts) == 2:
        half = sample.jsonl.encode(row.model_dump(mode="json") for row in rows)
        file.write(half[: len(half) * 2 // 3])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    append(file, rows, out)

sample._append = dies
from reasonrl.commands import main
main()
"""


@pytest.mark.slow
def test_a_process_that_was_killed_while_it_wrote_is_continued_to_the_same_bytes(whole: bytes, folder: Path) -> None:
    words = ["sample", "run.yaml", "--out", "s.jsonl", "--num-problems", "10"]
    ended = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    left = Path("s.jsonl").read_bytes()
    assert whole.startswith(left)
    assert 0 < len(left) < len(whole)
    assert not left.endswith(b"\n")
    code, said = sample()
    assert code == 0, said
    assert Path("s.jsonl").read_bytes() == whole


def test_more_problems_are_added_to_a_file_and_a_finished_one_stays(whole: bytes, folder: Path) -> None:
    assert sample("--num-problems", "4")[0] == 0
    few = Path("s.jsonl").read_bytes()
    assert whole.startswith(few)
    assert sample()[0] == 0
    assert Path("s.jsonl").read_bytes() == whole
    assert sample("--num-problems", "4")[0] == 0
    assert Path("s.jsonl").read_bytes() == whole


def test_a_file_with_other_settings_or_from_elsewhere_is_refused_and_stays(folder: Path) -> None:
    assert sample("--num-problems", "2", "rollout.max_new_tokens=4")[0] == 0
    before = Path("s.jsonl").read_bytes()
    code, said = sample("--num-problems", "2", "rollout.max_new_tokens=4", "--num-samples", "2", "seed=6")
    assert code == 2
    assert "num_samples was 3 and is 2 now; seed was 5 and is 6 now" in said
    code, said = sample("--num-problems", "2", "rollout.max_new_tokens=4", "rewards.1.weight=1.0")
    assert "rewards.1.weight was 0.5 and is 1.0 now" in said
    # what decides no row may change
    assert sample("--num-problems", "2", "rollout.max_new_tokens=4", "scoring.timeout_s=3", "run.steps=9")[0] == 0
    assert Path("s.jsonl").read_bytes() == before
    Path("s.jsonl").write_text("{}\n")
    code, said = sample("--num-problems", "2", "rollout.max_new_tokens=4")
    assert "s.jsonl:1" in said
    Path("s.jsonl.settings.json").unlink()
    assert "was not made by reasonrl sample" in sample()[1]
    assert Path("s.jsonl").read_text() == "{}\n"
    assert "was not made by reasonrl sample" in sample("--overwrite")[1]
    assert Path("s.jsonl").read_text() == "{}\n"


def test_rows_that_are_not_in_their_place_are_named(whole: bytes, folder: Path) -> None:
    assert sample("--num-problems", "4")[0] == 0
    lines = whole.splitlines(keepends=True)
    Path("s.jsonl").write_bytes(b"".join([lines[1], lines[0]]))
    code, said = sample()
    assert code == 2
    assert "s.jsonl:1: is sample 1 of problem" in said


def test_only_one_process_writes_a_file(folder: Path) -> None:
    import fcntl

    assert sample("--num-problems", "1", "rollout.max_new_tokens=2")[0] == 0
    with Path("s.jsonl").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another process is writing it" in sample("--num-problems", "1", "rollout.max_new_tokens=2")[1]


def test_held_out_problems_are_others_and_one_sample_of_each_is_enough(folder: Path) -> None:
    fast = ["--num-problems", "5", "rollout.max_new_tokens=2", "--num-samples", "1"]
    code, said = sample("--split", "heldout", *fast)
    assert code == 0, said
    heldout = list(read_sample_rows(Path("s.jsonl")))
    assert len(heldout) == 5
    train = {p.id for p in load_problems(load_run(Path("run.yaml")).tasks[0].ref, Plugins())}
    assert not train & {row.problem_id for row in heldout}
    assert sample("--overwrite", *fast)[0] == 0
    assert train >= {row.problem_id for row in read_sample_rows(Path("s.jsonl"))}


def test_more_problems_than_there_are_and_a_run_that_is_none_are_refused(folder: Path) -> None:
    assert "num_problems is 1000, but task 'arithmetic' has 40 train problems" in sample("--num-problems", "1000")[1]
    assert "rollout.temperatur" in sample("rollout.temperatur=1")[1]
    Path("folder").mkdir()
    result = CliRunner().invoke(app, ["sample", "run.yaml", "--out", "folder"])
    assert "that is a folder" in str(result.exception)
    assert not Path("s.jsonl").exists()


def test_a_checkpoint_of_a_run_can_be_sampled(folder: Path) -> None:
    from reasonrl.run.start import start_run

    changes = ["rollout.max_new_tokens=4", "run.checkpoint_every=1", "learner.learning_rate=0.01", "alarms={}"]
    start_run(Path("run.yaml"), changes, [], argv=["test"])
    said: dict[str, Any] = {}
    for model in ("runs/one@2", "runs/one"):
        code, told = sample("--num-problems", "4", "--overwrite", "rollout.max_new_tokens=4", f"model.name={model}")
        assert code == 0, told
        said[model] = [row.completion for row in read_sample_rows(Path("s.jsonl"))]
    assert len({json.dumps(texts) for texts in said.values()}) == 2
    options = ["--num-problems", "4", "rollout.max_new_tokens=4"]
    for run, completions in said.items():  # the run itself names its own settings, and its model
        result = CliRunner().invoke(app, ["sample", run, "--out", "t.jsonl", "--overwrite", *options])
        assert result.exit_code == 0, result.output
        assert [row.completion for row in read_sample_rows(Path("t.jsonl"))] == completions


# Rows to learn from.


def read(file: str) -> list[dict[str, Any]]:
    """The rows of a file. Any: JSON values."""
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def test_rows_of_a_schema_hold_the_prompt_as_the_model_saw_it_and_stand_beside_all_samples(
    whole: bytes, folder: Path
) -> None:
    code, said = sample("--schema", "sft", "--keep", "all")
    assert code == 0, said
    assert Path("s.samples.jsonl").read_bytes() == whole
    of_samples = {row.id: row for row in rows(whole)}
    kept = read("s.jsonl")
    assert len(kept) == len(
        {
            (row.problem_id, " ".join(row.completion.split()).casefold())
            for row in of_samples.values()
            if row.finish_reason != "length"
        }
    )
    for row in kept:
        sampled = of_samples[row["id"]]
        assert row["prompt"] == sampled.rendered_prompt
        assert (row["completion"], row["template"]) == (sampled.completion, "plain")
    assert f"{len(kept)} rows of" in said


def test_other_rows_of_the_same_samples_need_no_model(
    whole: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("all.jsonl").write_bytes(whole)
    assert sample("--schema", "kto", "--samples", "all.jsonl")[1].endswith("Give another --samples.")
    Path("all.jsonl").unlink()
    assert sample("--schema", "kto", "--samples", "all.jsonl")[0] == 0
    labels = {row["id"]: row["label"] for row in read("s.jsonl")}
    assert labels == {row.id: row.score >= 1 for row in rows(whole) if row.id in labels and row.score is not None}

    def refuse(*_: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("reasonrl.run.build.build_components", refuse)
    code, said = sample("--schema", "sft", "--keep", "best", "--samples", "all.jsonl")
    assert "selection.schema was" in said
    code, said = sample("--schema", "sft", "--keep", "best", "--samples", "all.jsonl", "--overwrite")
    assert code == 0, said
    assert Path("all.jsonl").read_bytes() == whole
    assert len(read("s.jsonl")) == len({row["problem_id"] for row in read("s.jsonl")})


def test_what_is_kept_of_samples_has_their_form(whole: bytes, folder: Path) -> None:
    code, said = sample("--keep", "best", "--json")
    assert code == 0, said
    assert json.loads(said[said.index("{") :])["kept"]["keep"] == "best"
    best = list(read_sample_rows(Path("s.jsonl")))
    assert len(best) == len({row.problem_id for row in best})
    of_problem = [row for row in rows(whole) if row.problem_id == best[0].problem_id and row.finish_reason != "length"]
    assert best[0].score == max(row.score for row in of_problem if row.score is not None)


def test_a_model_that_does_not_load_leaves_nothing_in_the_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("no such model")

    with monkeypatch.context() as patched:
        patched.setattr("reasonrl.run.build.build_components", refuse)
        assert "no such model" in sample("--num-problems", "1")[1]
    code, said = sample("--num-problems", "1", "rollout.max_new_tokens=2", "seed=7")
    assert code == 0, said


def test_a_model_at_an_endpoint_is_sampled_and_a_chat_makes_rows_of_messages(folder: Path) -> None:
    with serving() as server:
        served = ["--engine", server.url, "model.name=echo-3", "--num-problems", "2", "rollout.max_new_tokens=8"]
        code, said = sample(*served)
        assert code == 0, said
        assert {row.completion.split()[0] for row in read_sample_rows(Path("s.jsonl"))} == {"Question:"}
        Path("s.jsonl").unlink()
        code, said = sample(*served, "--schema", "sft", "--keep", "all", "template=chat", "--overwrite")
        assert code == 0, said
        (message,) = read("s.jsonl")[0]["prompt"]
        assert message["role"] == "user"
        assert read("s.jsonl")[0]["completion"][0]["role"] == "assistant"
        assert "no address of an API" in sample("--engine", "ftp://here")[1]


@pytest.mark.vllm
def test_another_engine_continues_a_file_to_the_same_bytes(folder: Path) -> None:
    vllm = ["rollout.engine=vllm", "vllm.cpu_kv_cache_gib=0.2"]
    code, said = sample("--num-problems", "6", *vllm)
    assert code == 0, said
    whole = Path("s.jsonl").read_bytes()
    Path("s.jsonl").write_bytes(whole[: len(whole) // 3])
    code, said = sample("--num-problems", "6", *vllm)
    assert code == 0, said
    assert Path("s.jsonl").read_bytes() == whole
    assert len(rows(whole)) == 18
