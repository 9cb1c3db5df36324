"""The reward lab: verdicts on pasted completions, from processes that can be killed, for its own page alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from reported_runs import policy_run
from starlette.testclient import TestClient
from viewed_runs import ADDRESS, HOSTILE, asked, client_of

RIGHT = {"name": "numeric_answer", "label": "right", "params": {"sources": ["answer_tag"]}}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONRL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "hang.py").write_text("def hang(text):\n    while True:\n        pass\n")
    settings = {"rewards": [RIGHT, {"name": f"{folder}/hang.py:hang", "label": "hang", "timeout_s": 0.3}]}
    policy_run(folder, "hanging", steps=1, settings=settings)
    policy_run(folder, "first", steps=1, settings={"rewards": [RIGHT]})
    with client_of(folder) as client:
        yield client


def scored(client: TestClient, *rewards: str, run: str | None = "first", **changes: Any) -> Any:
    """Ask the lab. Any: fields of a request, and JSON values."""
    source = "installed" if run is None else "run"
    body = {
        "run": run,
        "rewards": [{"source": source, "name": name} for name in rewards],
        "completions": ["so <answer> 6 </answer>"],
        "answer": "6",
        **changes,
    }
    return client.post("/api/lab", json=body, headers={"Origin": ADDRESS})


def test_the_rewards_of_a_run_and_installed_ones_are_offered(client: TestClient) -> None:
    offered = asked(client, "lab/rewards", run="first")
    assert [one["label"] for one in offered["run"]] == ["right"]
    assert {"numeric_answer", "length"} <= set(offered["installed"])
    assert asked(client, "lab/rewards")["run"] == []
    assert asked(client, "lab/rewards", run="hanging")["run"][1]["file"]


def test_every_verdict_comes_with_its_reason_and_the_sum(client: TestClient) -> None:
    found = scored(client, "right", completions=["<answer> 6 </answer>", "<answer> 7 </answer>"]).json()
    (right,) = found["rewards"]
    assert [one["value"] for one in right["scores"]] == [1.0, 0.0]
    assert "wanted '6'" in right["scores"][1]["why"]
    assert [one["value"] for one in found["totals"]] == [1.0, 0.0]


def test_an_installed_reward_can_be_asked_without_a_run(client: TestClient) -> None:
    found = scored(client, "numeric_answer", run=None, completions=["\\boxed{6}"]).json()
    assert found["rewards"][0]["scores"][0]["value"] == 1.0
    assert found["totals"] is None


def test_a_reward_that_hangs_is_ended_and_costs_the_others_nothing(client: TestClient) -> None:
    found = scored(client, "right", "hang", run="hanging").json()
    verdicts = {one["name"]: one["scores"][0] for one in found["rewards"]}
    assert verdicts["right"]["value"] == 1.0
    assert verdicts["hang"]["outcome"] == "timeout"
    assert "0.3 s" in verdicts["hang"]["why"]


def test_hostile_texts_are_scored_as_texts(client: TestClient) -> None:
    found = scored(client, "right", completions=[HOSTILE, "x" * 1_000_000, ""], prompt=HOSTILE, meta={"a": HOSTILE})
    assert [one["value"] for one in found.json()["rewards"][0]["scores"]] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"rewards": [{"source": "run", "name": "rihgt"}]}, 400, "right"),
        ({"rewards": [{"source": "installed", "name": "os:system"}]}, 400, "no reward 'os:system'"),
        ({"rewards": [{"source": "installed", "name": "./x.py:f"}]}, 400, "no reward './x.py:f'"),
        ({"rewards": []}, 400, "rewards"),
        ({"completions": []}, 400, "completions"),
        ({"run": "../../etc/passwd"}, 404, "no run"),
        ({"surprise": 1}, 400, "surprise"),
        ({"completions": ["x" * 2_000_001]}, 400, "characters"),
    ],
)
def test_what_makes_no_sense_is_refused(
    client: TestClient, changes: Mapping[str, Any], status: int, message: str
) -> None:
    reply = scored(client, "right", **changes)
    assert reply.status_code == status
    assert message in reply.json()["error"]


def test_a_parameter_that_does_not_fit_is_named_and_costs_that_reward_alone(client: TestClient) -> None:
    rewards = [
        {"source": "run", "name": "right"},
        {"source": "installed", "name": "length", "params": {"lmit": 3}},
    ]
    right, wrong = scored(client, rewards=rewards).json()["rewards"]
    assert right["scores"][0]["value"] == 1.0
    assert "lmit" in wrong["refused"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"X-Reasonrl-Token": "guessed"}, 403),
        ({"X-Reasonrl-Token": ""}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Host": "evil.example"}, 421),
        ({}, 200),
    ],
)
def test_only_the_page_of_this_server_may_ask(client: TestClient, headers: Mapping[str, str], status: int) -> None:
    body = '{"run": "first", "rewards": [{"source": "run", "name": "right"}], "completions": ["6"]}'
    sent = {"Origin": ADDRESS, "Content-Type": "application/json", **headers}
    assert client.post("/api/lab", content=body, headers=sent).status_code == status


def test_the_token_stands_in_the_page_and_is_another_one_at_every_start(client: TestClient, tmp_path: Path) -> None:
    token = client.headers["X-Reasonrl-Token"]
    assert f'content="{token}"' in client.get("/").text
    with client_of(tmp_path) as other:
        assert other.headers["X-Reasonrl-Token"] != token


def test_a_get_scores_nothing(client: TestClient) -> None:
    assert client.get("/api/lab").status_code == 405
