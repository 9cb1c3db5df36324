"""`reasonrl view` over HTTP: what it shows, what it refuses, and that it follows a run that trains."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote
from urllib.request import urlopen

import pytest
import results
from reported_runs import BASE, policy_run, reward_model_run, rollout, step_of_rollouts, write_evaluation
from starlette.testclient import TestClient
from starlette.types import Message
from typer.testing import CliRunner
from viewed_runs import HOSTILE, append_step, asked, client_of, run_of, served, with_tokens

from reasonrl.commands import app
from reasonrl.errors import ConfigError, RunError
from reasonrl.plugins.loading import PluginSet
from reasonrl.system.extras import MissingExtraError
from reasonrl.view.runs import RunFolder
from reasonrl.view.serve import _listen


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONRL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a run of a policy and one of a reward model."""
    folder = tmp_path / "runs"
    policy_run(folder, "first", steps=3)
    reward_model_run(folder)
    return folder


@pytest.fixture
def client(runs: Path) -> Iterator[TestClient]:
    with client_of(runs) as client:
        yield client


# What is shown.


def test_the_list_says_what_each_run_achieved(client: TestClient) -> None:
    entries = {entry["name"]: entry for entry in asked(client, "runs")["runs"]}
    first = entries["first"]
    assert (first["status"], first["steps_done"], first["num_steps"], first["task"]) == ("finished", 3, 3, "arithmetic")
    assert first["headline"]["before"] == pytest.approx(2 / 6)
    assert first["headline"]["value"] == pytest.approx(4 / 6)
    assert first["headline"]["low"] < first["headline"]["value"] < first["headline"]["high"]
    assert first["spark"]["values"] == pytest.approx([0.2, 0.3, 0.4])
    assert entries["rm"]["headline"] == {"name": "held-out accuracy", "before": 0.5, "value": 0.84, "step": 10}


def test_a_run_has_its_curves_events_and_settings(client: TestClient) -> None:
    run = asked(client, "runs/first")
    curves = {chart["title"]: chart["lines"][0] for chart in run["charts"]}
    assert curves["Reward"]["x"] == [1, 2, 3]
    assert curves["Reward"]["y"] == pytest.approx([0.2, 0.3, 0.4])
    assert curves["Held-out: sums"]["low"][1] < curves["Held-out: sums"]["y"][1]
    assert "prompts_per_step" in run["settings"]
    assert [one["step"] for one in run["evaluations"]] == [0, 3]


def test_a_run_is_sent_again_only_when_there_is_something_new(runs: Path, client: TestClient) -> None:
    version = asked(client, "runs/first")["version"]
    assert client.get("/api/runs/first", params={"unless": version}).status_code == 204
    append_step(RunFolder(runs).open("first").directory, 4, step_of_rollouts(4))
    fresh = asked(client, "runs/first", unless=version)
    assert fresh["steps_done"] == 4
    assert fresh["charts"][0]["lines"][0]["x"] == [1, 2, 3, 4]


def test_a_run_that_begins_while_the_server_runs_is_shown(runs: Path, client: TestClient) -> None:
    policy_run(runs, "second", steps=1)
    assert {entry["name"] for entry in asked(client, "runs")["runs"]} == {"first", "second", "rm"}


def test_a_run_that_cannot_be_read_says_why_and_hides_no_other(runs: Path, client: TestClient) -> None:
    (runs / "first" / "metrics.jsonl").write_text("no json\n")
    entries = {entry["name"]: entry for entry in asked(client, "runs")["runs"]}
    assert "metrics.jsonl:1" in entries["first"]["error"]
    assert entries["rm"]["status"] == "finished"
    assert client.get("/api/runs/first").status_code == 422


def test_rollouts_are_shown_of_a_run_whose_settings_another_version_wrote(runs: Path, client: TestClient) -> None:
    (runs / "first" / "config.resolved.yaml").write_text("name: first\nno_such_setting: 1\n")
    reply = client.get("/api/runs/first")
    assert reply.status_code == 422
    assert "no_such_setting" in reply.json()["error"]
    assert asked(client, "runs/first/rollouts")["total"] == 36


def test_a_run_directory_itself_can_be_shown(runs: Path) -> None:
    with client_of(runs / "first") as client:
        assert [entry["id"] for entry in asked(client, "runs")["runs"]] == ["first"]
        assert asked(client, "runs/first/rollouts")["total"] == 36


def test_rollouts_are_filtered_and_paged(client: TestClient) -> None:
    page = asked(client, "runs/first/rollouts", text="sample 2", step_from=2, low=1, sort="-tokens")
    assert page["total"] == len(page["rows"]) == 2
    assert page["index"] == {"done": 3, "total": 3, "errors": {}}
    assert client.get("/api/runs/first/rollouts", params={"low": "x"}).status_code == 400
    assert client.get("/api/runs/first/rollouts", params={"offset": "-1"}).status_code == 400


def test_new_rollouts_appear_while_a_run_trains(runs: Path, client: TestClient) -> None:
    assert asked(client, "runs/first/rollouts")["total"] == 36
    append_step(RunFolder(runs).open("first").directory, 4, step_of_rollouts(4))
    assert asked(client, "runs/first/rollouts")["total"] == 48
    assert asked(client, "runs/first/facets")["steps"]["last"] == 4


def test_a_group_has_its_siblings_with_their_advantages_and_reasons(client: TestClient) -> None:
    row = asked(client, "runs/first/rollouts", step_from=2)["rows"][5]
    group = asked(client, f"runs/first/groups/{row['id']}")
    assert [one["sample_index"] for one in group["members"]] == [0, 1, 2, 3]
    assert {one["group_id"] for one in group["members"]} == {row["problem"]} == {"p1"}
    assert group["members"][0]["advantage"] == 0.5
    assert group["members"][0]["rewards"]["exact"]["why"] == "answered '2', wanted '2'"
    assert group["prompt"]["text"] == "What is 1 + 1?"
    before = asked(client, f"runs/first/groups/{group['previous']}")
    assert (before["members"][0]["group_id"], before["next"]) == ("p0", group["members"][0]["id"])


def test_a_rollout_has_its_tokens_beside_what_is_known_of_them(tmp_path: Path) -> None:
    run_of(tmp_path, {1: [with_tokens("a\N{GRINNING FACE}c"), with_tokens("xy", entropies=False, sample=1)]})
    with client_of(tmp_path) as client:
        first, second = asked(client, "runs/first/rollouts")["rows"]
        tokens = asked(client, f"runs/first/rollouts/{first['id']}")["completion"]["tokens"]
        assert tokens["texts"] == ["a", "\N{GRINNING FACE}", "c", ""]
        assert tokens["logprobs"] == [0.0, -0.25, -0.5, -0.75]
        assert tokens["entropies"] == [0.0, 0.125, 0.25, 0.375]
        assert asked(client, f"runs/first/rollouts/{second['id']}")["completion"]["tokens"]["entropies"] == []


@pytest.mark.parametrize("has_tokens", [True, False])
def test_a_long_text_comes_in_pieces_that_join_to_the_whole(tmp_path: Path, has_tokens: bool) -> None:
    text = "".join(chr(97 + number % 26) for number in range(45_000)) + "\N{GRINNING FACE} end"
    record = with_tokens(text) if has_tokens else rollout(completion=text)
    run_of(tmp_path, {1: [record]})
    with client_of(tmp_path) as client:
        (row,) = asked(client, "runs/first/rollouts")["rows"]
        piece = asked(client, f"runs/first/rollouts/{row['id']}")["completion"]
        joined, logprobs = piece["text"], piece.get("tokens", {}).get("logprobs", [])
        assert len(joined) == 20_000
        assert piece["length"] == len(text)
        while len(joined) < len(text):
            query = {"field": "completion", "start": len(joined), "count": 7_000}
            piece = asked(client, f"runs/first/texts/{row['id']}", **query)
            joined += piece["text"]
            logprobs += piece.get("tokens", {}).get("logprobs", [])
        assert joined == text
        assert len(logprobs) == (len(text) + 1 if has_tokens else 0)


def test_texts_of_models_arrive_as_they_are_in_json_and_nowhere_else(tmp_path: Path) -> None:
    run_of(tmp_path, {1: [rollout(completion=HOSTILE + "\ud83d", prompt=HOSTILE, why=HOSTILE)]})
    with client_of(tmp_path) as client:
        (row,) = asked(client, "runs/first/rollouts", text="<script>")["rows"]
        reply = client.get(f"/api/runs/first/rollouts/{row['id']}")
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.json()["completion"]["text"] == HOSTILE + "\ud83d"
        assert "<script>document" not in client.get("/").text


def test_requests_that_come_at_once_all_find_the_plugins(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that reads settings while another one still imports the plugins waits for it."""
    fresh, load = PluginSet(tuple(entry_points(group="reasonrl"))), PluginSet._load

    def slowly(self: PluginSet, manager: Any, entry: Any) -> None:
        time.sleep(0.01)
        load(self, manager, entry)

    monkeypatch.setattr(PluginSet, "_load", slowly)
    with ThreadPoolExecutor(4) as threads:
        assert all("dr_grpo" in found for found in threads.map(lambda _: fresh.offers("presets"), range(4)))


# Evaluations.


def test_completions_of_a_measurement_are_filtered(client: TestClient) -> None:
    page = asked(client, "runs/first/evals/3/sums", outcome="wrong")
    assert page["total"] == 2
    assert {row["value"] for row in page["rows"]} == {0.0}
    assert asked(client, "runs/first/evals/3/sums", text="What is 4")["total"] == 1
    assert client.get("/api/runs/first/evals/2/sums").status_code == 404
    assert client.get("/api/runs/first/evals/3/sums", params={"outcome": "good"}).status_code == 400


def test_two_measurements_are_paired_by_problem(client: TestClient) -> None:
    both = {"a": "first@0", "b": "first@3", "suite": "sums"}
    pair = asked(client, "pair", **both)
    assert pair["counts"] == {"won": 3, "lost": 1, "tied": 2}
    assert pair["figures"][0]["difference"]["difference"] == pytest.approx(2 / 6)
    assert [one["change"] for one in asked(client, "pair", **both, change="lost")["problems"]] == ["lost"]
    problem = asked(client, "pair/problem", **both, problem="p4")
    assert [problem[side][0]["value"] for side in "ab"] == [1.0, 0.0]
    assert client.get("/api/pair", params={**both, "b": "first"}).status_code == 400
    assert client.get("/api/pair", params={**both, "b": "other@3"}).status_code == 404


def test_measurements_of_two_runs_are_paired_too(runs: Path, client: TestClient) -> None:
    policy_run(runs, "second", steps=3, evaluations={0: results.result(BASE), 3: results.result(BASE)})
    pair = asked(client, "pair", a="second@3", b="first@3", suite="sums")
    assert pair["counts"] == {"won": 3, "lost": 1, "tied": 2}


def test_a_measurement_that_was_made_anew_is_read_anew(runs: Path, client: TestClient) -> None:
    assert asked(client, "runs/first/evals/3/sums", outcome="right")["total"] == 4
    write_evaluation(RunFolder(runs).open("first").directory, 3, results.result(((1.0,),) * 6))
    assert asked(client, "runs/first/evals/3/sums", outcome="right")["total"] == 6


# What is refused.

UP = ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "%252e%252e%252f", "....//", "..%c0%af", "/", "%2f", "")
NAMES = ("etc/passwd", "etc%2fpasswd", "etc%5cpasswd", "%65tc%2f%70asswd", "etc/passwd%00.js", "etc/passwd/")
STARTS = (
    "/",
    "/static/",
    "/report/",
    "/api/runs/",
    "/api/runs/first/",
    "/api/runs/first/texts/",
    "/api/runs/first/evals/",
)


@pytest.mark.parametrize("start", STARTS)
def test_no_path_leads_out_of_the_folder(client: TestClient, start: str) -> None:
    for up in UP:
        for times in (1, 2, 9):
            for name in NAMES:
                status, body = sent(client, f"{start}{up * times}{name}")
                assert status == 404
                assert b"root:" not in body


def sent(client: TestClient, path: str) -> tuple[int, bytes]:
    """Send a path that no client has tidied up, as a server hands it on; return status and body."""
    replies: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        replies.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": unquote(path, errors="surrogateescape"),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
    }
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    return replies[0]["status"], b"".join(message.get("body", b"") for message in replies)


@pytest.mark.parametrize("name", ["passwd", "link", "..", ".", "rollouts", "first%00", "FIRST"])
def test_a_name_is_that_of_a_run_or_nothing(runs: Path, client: TestClient, name: str) -> None:
    (runs / "link").symlink_to("/etc")
    assert client.get(f"/api/runs/{name}/rollouts").status_code == 404


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path, runs: Path) -> None:
    outside = policy_run(tmp_path / "elsewhere", "secret", steps=1)
    (runs / "secret").symlink_to(outside.path)
    step = runs / "first" / "rollouts" / "step_000001.jsonl"
    step.unlink()
    step.symlink_to(outside.path / "rollouts" / "step_000001.jsonl")
    with client_of(runs) as client:
        assert "secret" not in {entry["name"] for entry in asked(client, "runs")["runs"]}
        assert client.get("/api/runs/secret").status_code == 404
        for path in ("rollouts", "facets", "evals/0/sums"):
            reply = client.get(f"/api/runs/first/{path}")
            assert reply.status_code == 422
            assert "leads out of" in reply.json()["error"]


def test_links_within_the_folder_are_followed(runs: Path) -> None:
    (runs / "again").symlink_to(runs / "first")
    with client_of(runs) as client:
        assert asked(client, "runs/again/rollouts")["total"] == 36


@pytest.mark.parametrize(
    ("host", "is_answered"),
    [
        ("127.0.0.1:8000", True),
        ("localhost:1234", True),
        ("[::1]:8000", True),
        ("LOCALHOST", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("localhost@evil.example", False),
        ("127.0.0.1:8000, evil.example", False),
        ("", False),
        ("0.0.0.0:8000", False),
    ],
)
def test_only_this_machine_by_its_own_names_is_answered(client: TestClient, host: str, is_answered: bool) -> None:
    """DNS rebinding: a page whose own name leads to this machine asks under that name."""
    for path in ("/", "/api/runs", "/static/main.js"):
        assert client.get(path, headers={"host": host}).status_code == (200 if is_answered else 421)


def test_every_reply_forbids_scripts_of_others_and_guessing_at_types(client: TestClient) -> None:
    for path in ("/", "/api/runs", "/static/main.js", "/static/view.css", "/nothing", "/api/runs/none"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_has_nothing_inline(client: TestClient) -> None:
    page = client.get("/").text
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|javascript:", page)
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert client.get(name).status_code == 200


def test_a_report_is_shown_as_a_page_of_no_site(runs: Path, client: TestClient) -> None:
    assert "reasonrl report" in client.get("/report/first").json()["error"]
    (runs / "first" / "report.html").write_text("<!doctype html><p>Report")
    reply = client.get("/report/first")
    assert (reply.status_code, reply.text) == (200, "<!doctype html><p>Report")
    assert reply.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert asked(client, "runs/first")["has_report"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(client: TestClient, method: str) -> None:
    for path in ("/api/runs/first", "/api/lab", "/"):
        assert client.request(method, path).status_code == 405


# The server.


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none: there is no such folder.*reasonrl view runs"):
        RunFolder(tmp_path / "none")


def test_what_to_install_is_said_where_it_is_missing(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"reasonrl view needs .*pip install 'reasonrl\[view\]'"):
        CliRunner().invoke(app, ["view", str(runs)], catch_exceptions=False)


def test_a_port_that_is_taken_is_named() -> None:
    with closing(_listen(0)) as taken:
        host, port = taken.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(ConfigError, match=f"port {port}.*--port"):
            _listen(port)


def test_a_server_on_loopback_says_where_it_is_and_ends_at_ctrl_c(runs: Path) -> None:
    with served(runs) as url:
        assert json.load(urlopen(f"{url}api/runs"))["runs"]
    with pytest.raises(URLError):
        urlopen(f"{url}api/runs")
