"""The index of rollouts: what is found, in which order, and that it follows a run that trains and goes back."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reported_runs import rollout, step_of_rollouts
from viewed_runs import HOSTILE, append_step, run_of

from reasonrl.errors import ConfigError, RunError
from reasonrl.run.files.directory import RunDirectory
from reasonrl.view import index as indexes
from reasonrl.view.index import RolloutIndex
from reasonrl.view.search import PAGE, Filters, Page, facets, find

UNICODE = "Ünïcode \N{GRINNING FACE} line\nbreak"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONRL_CACHE", str(tmp_path / "cache"))


def index_of(run: RunDirectory) -> RolloutIndex:
    index = RolloutIndex(run.path, run.manifest.run_id)
    index.update()
    index.wait()
    return index


def found(index: RolloutIndex, offset: int = 0, **filters: Any) -> Page:
    index.update()
    with index.connection() as db:
        return find(db, Filters.parse({name: str(value) for name, value in filters.items()}), offset)


def texts(index: RolloutIndex, **filters: Any) -> list[str]:
    return [row["excerpt"] for row in found(index, **filters).rows]


def steps(index: RolloutIndex, **filters: Any) -> list[int]:
    return [row["step"] for row in found(index, **filters).rows]


def run_of_mixed(folder: Path) -> RunDirectory:
    """Rollouts that differ in everything that can be filtered by."""
    first = [
        rollout(1, 0, 0, 1.0, completion="The CAT sat", values={"exact": 1.0, "form": 0.25}, completion_tokens=3),
        rollout(1, 0, 1, 0.0, completion="the dog, 100% sure", values={"exact": 0.0, "form": 0.75}, advantage=-0.5),
        rollout(1, 1, 0, None, completion="slow", values={"exact": None, "form": 0.5}, advantage=0.0),
        rollout(1, 2, 0, 1.0, completion="cut", finish_reason="length", task="other", completion_tokens=9),
    ]
    second = [
        rollout(2, 0, 0, -2.5, completion="a 100 x sure", unused="no_signal", advantage=None),
        rollout(2, 1, 0, 3.5, completion=UNICODE, unused="stale", prompt="Who is Ada?"),
    ]
    return run_of(folder, {1: first, 2: second})


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolloutIndex]:
    """Their index."""
    folder = tmp_path_factory.mktemp("mixed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONRL_CACHE", str(folder / "cache"))
        index = index_of(run_of_mixed(folder))
    yield index
    index.close()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (
            {},
            [
                "The CAT sat",
                "the dog, 100% sure",
                "slow",
                "cut",
                "a 100 x sure",
                UNICODE,
            ],
        ),
        ({"step_from": 2}, ["a 100 x sure", UNICODE]),
        ({"step_to": 1, "task": "other"}, ["cut"]),
        ({"problem": "p1", "step_to": 1}, ["slow"]),
        ({"outcome": "timeout"}, ["slow"]),
        ({"outcome": "failed"}, ["slow"]),
        ({"reward": "exact", "outcome": "timeout"}, ["slow"]),
        ({"reward": "form", "outcome": "timeout"}, []),
        ({"reward": "form", "low": 0.5, "high": 0.75}, ["the dog, 100% sure", "slow"]),
        ({"low": -3, "high": 0}, ["the dog, 100% sure", "a 100 x sure"]),
        ({"truncated": "yes"}, ["cut"]),
        ({"truncated": "no", "task": "other"}, []),
        ({"unused": "yes"}, ["a 100 x sure", UNICODE]),
        ({"unused": "stale"}, [UNICODE]),
        ({"unused": "no", "low": 1}, ["The CAT sat", "cut"]),
        ({"text": "cat s"}, ["The CAT sat"]),
        ({"text": "0% s"}, ["the dog, 100% sure"]),
        ({"text": "0_ s"}, []),
        ({"text": "og"}, ["the dog, 100% sure"]),
        ({"text": "line\nb"}, [UNICODE]),
        ({"text": "sure", "unused": "no_signal"}, ["a 100 x sure"]),
        ({"sort": "-tokens", "step_to": 1, "truncated": "yes"}, ["cut"]),
    ],
)
def test_filters_find_what_they_say(mixed: RolloutIndex, filters: dict[str, Any], expected: list[str]) -> None:
    assert texts(mixed, **filters) == expected
    assert found(mixed, **filters).total == len(expected)


def test_prompts_and_reasons_are_searched_too(mixed: RolloutIndex) -> None:
    assert texts(mixed, text="ada?", within="prompt") == ["Who is Ada?"]
    assert len(found(mixed, text="wanted '2'", within="reason").rows) == 6


def test_rollouts_are_sorted_and_those_without_a_value_stand_at_an_end(mixed: RolloutIndex) -> None:
    assert [row["reward"] for row in found(mixed, sort="-reward").rows] == [3.5, 1.0, 1.0, 0.0, -2.5, None]
    assert [row["tokens"] for row in found(mixed, sort="tokens").rows][:2] == [3, 5]
    assert steps(mixed, sort="latest") == [2, 2, 1, 1, 1, 1]
    assert texts(mixed, sort="-reward", text="sure") == ["the dog, 100% sure", "a 100 x sure"]


def test_many_rollouts_come_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [rollout(1, group, 0, completion=f"number {group:03} of many") for group in range(2 * PAGE + 3)]
    index = index_of(run_of(tmp_path, {1: members}))
    assert [len(found(index, offset).rows) for offset in (0, PAGE, 2 * PAGE, 3 * PAGE)] == [PAGE, PAGE, 3, 0]
    assert found(index, PAGE).rows[0]["excerpt"] == "number 050 of many"
    monkeypatch.setattr("reasonrl.view.search.FEW", 1)
    monkeypatch.setattr("reasonrl.view.search.MAX_COUNTED", 60)
    by_text = found(index, 10, text="of many")
    assert (by_text.total, by_text.is_capped, by_text.rows[0]["excerpt"]) == (60, True, "number 010 of many")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"taks": "a"}, r"no filter 'taks'.*task"),
        ({"outcome": "good"}, "'good' is none of scored"),
        ({"low": "many"}, "low: 'many' is not a number"),
        ({"sort": "reward; DROP TABLE rollout"}, "is none of step"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Filters.parse(given)


def test_what_is_looked_for_is_never_a_query(mixed: RolloutIndex) -> None:
    for text in ("'; DROP TABLE rollout; --", '" OR 1=1', "%", "cat\x00", "x" * 900):
        found(mixed, text=text, task=text, problem=text, reward=text)
    assert found(mixed).total == 6


def test_any_text_can_be_indexed(tmp_path: Path) -> None:
    said = [HOSTILE, "", "half \ud83d a pair", "\x00", "x" * 3_000_000 + "needle" + "y" * 2_000_000]
    members = [rollout(1, number, 0, completion=text) for number, text in enumerate(said)]
    index = index_of(run_of(tmp_path, {1: members}))
    assert found(index).total == len(said)
    assert found(index, text="<script>").total == 1
    assert "needle" in found(index, text="needle").rows[0]["excerpt"]
    assert found(index, text="needle").rows[0]["length"] == 5_000_006


def test_facets_say_what_there_is_to_filter_by(mixed: RolloutIndex) -> None:
    with mixed.connection() as db:
        told = facets(db)
    assert sorted(told["tasks"]) == ["arithmetic", "other"]
    assert told["rewards"] == ["exact", "form"]
    assert told["steps"] == {"first": 1, "last": 2, "count": 2}


# While a run trains.


def test_new_steps_are_found_as_soon_as_they_are_written(tmp_path: Path) -> None:
    run = run_of(tmp_path, {1: step_of_rollouts(1)})
    index = index_of(run)
    assert set(steps(index)) == {1}
    append_step(run, 2, step_of_rollouts(2))
    assert set(steps(index)) == {1, 2}


def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path, {step: step_of_rollouts(step) for step in (1, 2, 3)})
    index_of(run).close()
    read = []
    monkeypatch.setattr(indexes, "_index_file", lambda db, step, path: read.append(step))
    again = index_of(run)
    append_step(run, 4, step_of_rollouts(4))
    again.update()
    assert read == [4]


def test_steps_that_a_run_goes_back_over_are_dropped_and_found_anew(tmp_path: Path) -> None:
    run = run_of(tmp_path, {step: step_of_rollouts(step) for step in (1, 2, 3)})
    index = index_of(run)
    run.rewind(None)
    assert found(index).total == 0
    append_step(run, 1, [rollout(1, completion="another way")])
    assert texts(index) == ["another way"]
    assert found(index, text="says sample").total == 0


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    run = run_of(tmp_path, {1: [rollout(1, completion="before")], 2: [rollout(2, completion="second")]})
    index = index_of(run)
    append_step(run, 1, [rollout(1, completion="after!")])
    assert texts(index) == ["after!", "second"]


def test_a_run_of_the_same_name_has_an_index_of_its_own(tmp_path: Path) -> None:
    run = run_of(tmp_path, {1: [rollout(1, completion="the old run")]})
    index_of(run).close()
    again = RolloutIndex(run.path, "another")
    with again.connection() as db:
        assert db.execute("SELECT count(*) FROM rollout").fetchone()[0] == 0


@pytest.mark.parametrize("damage", [b"no database", b""])
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    run = run_of(tmp_path, {1: [rollout(1)]})
    index_of(run).close()
    (file,) = (tmp_path / "cache" / "view").glob("*.sqlite")
    file.write_bytes(damage)
    assert found(index_of(run)).total == 1


def test_a_step_that_cannot_be_read_is_named_and_the_others_are_found(tmp_path: Path) -> None:
    run = run_of(tmp_path, {1: [rollout(1)], 2: [rollout(2)]})
    (run.path / "rollouts" / "step_000001.jsonl").write_text('{"completion": "whole"}\nno json\n')
    index = index_of(run)
    assert steps(index) == [2]
    errors = index.update().errors
    assert list(errors) == [1]
    assert "step_000001.jsonl:2" in errors[1]


def test_much_is_indexed_beside_the_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "SOON_BYTES", 0)
    run = run_of(tmp_path, {step: step_of_rollouts(step) for step in range(1, 6)})
    index = RolloutIndex(run.path, run.manifest.run_id)
    assert index.update().total == 5
    index.wait()
    assert index.update().done == 5
    assert found(index).total == 60


def test_two_programs_index_one_run(tmp_path: Path) -> None:
    run = run_of(tmp_path, {step: step_of_rollouts(step) for step in (1, 2)})
    one, other = (RolloutIndex(run.path, run.manifest.run_id) for _ in range(2))
    waiting = one._waiting()
    other.update()
    one._index(waiting)
    assert found(one).total == 24


def test_nothing_is_written_into_the_run(tmp_path: Path) -> None:
    run = run_of(tmp_path, {1: step_of_rollouts(1)})
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    index_of(run)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REASONRL_CACHE", str(tmp_path / "file"))
    run = run_of(tmp_path, {1: [rollout(1)]})
    with pytest.raises(RunError, match="REASONRL_CACHE"):
        RolloutIndex(run.path, run.manifest.run_id)


def test_a_search_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasonrl.view.search.LIMIT_S", -1.0)
    with index_of(run_of_mixed(tmp_path)).connection() as db:
        db.executemany("INSERT INTO file VALUES (?, '', NULL)", ((step,) for step in range(10, 3000)))
        db.execute("UPDATE rollout SET step = 1")
        many = "INSERT INTO rollout SELECT id + ?, first, step, offset, length, place, problem, task, sample, reward, "
        many += "outcome, advantage, tokens, logprob, finish, unused FROM rollout WHERE id < ?"
        least = db.execute("SELECT max(id) + 1 FROM rollout").fetchone()[0]
        for number in range(1, 600):
            db.execute(many, (number * least, least))
        with pytest.raises(RunError, match="takes longer"):
            find(db, Filters(step_from=0, step_to=5), 0)


def test_an_index_is_not_left_locked_by_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path, {1: [rollout(1)]})
    index = RolloutIndex(run.path, run.manifest.run_id)
    with monkeypatch.context() as broken:
        broken.setattr(indexes, "score_rows", lambda line: [("exact", "no", "such", "row", "shape")])
        with pytest.raises(sqlite3.Error):
            index.update()
    assert index.update().done == 1
    assert os.listdir(tmp_path / "cache" / "view")
