"""`reasonrl rm serve` and the reward `preference_server`: real HTTP, wrong replies, killed servers, several clients."""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from builders import group
from reward_models import (
    QUESTION,
    SCALES,
    TEXTS,
    Script,
    evaluation,
    in_thread,
    model_folder,
    rm_serve,
    scores,
    scoring,
    served,
    step,
    values,
)
from test_preference_reward import LONG, RUN

from reasonrl.engines.vllm.replica import _free_port
from reasonrl.errors import ConfigError, ModelError, ReasonRLError, RunError, UnreachableError
from reasonrl.preference import serve
from reasonrl.preference.card import RewardModelCard, read_card, write_card
from reasonrl.preference.clients import card_digest
from reasonrl.preference.model import RewardModel
from reasonrl.run.events import Event, StepFinished
from reasonrl.run.start import resume_run, start_run
from reasonrl.system.access import is_loopback, read_token, shows_token
from reasonrl.types import TrainingSample

SERVER = "preference_server"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two heads."""
    return model_folder(tmp_path_factory.mktemp("two") / "model", heads=(0, 1))


@pytest.fixture(scope="module")
def model(folder: Path) -> RewardModel:
    """The same, in memory."""
    return RewardModel.load(folder, torch.device("cpu"))


@pytest.fixture(scope="module")
def url(model: RewardModel) -> Iterator[str]:
    """A server that runs it."""
    with served(model) as address:
        yield address


def ask(url: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Send a request; return status and JSON. Any: JSON."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    connection.request("GET" if body is None else "POST", path, None if body is None else content, sent)
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    return reply.status, json.loads(text)


def items(*completions: str, prompt: str = QUESTION) -> dict[str, Any]:
    """A request to score completions. Any: JSON."""
    listed = [{"id": f"c{number}", "prompt": prompt, "completion": text} for number, text in enumerate(completions)]
    return {"schema_version": 1, "items": listed}


# The protocol.


def test_scores_come_back_under_the_ids_that_were_sent(url: str, model: RewardModel) -> None:
    status, reply = ask(url, "/score", items(*TEXTS, LONG))
    assert (status, reply["schema_version"]) == (200, 1)
    asked = step()[0].problem
    for score, text in zip(reply["scores"], TEXTS, strict=False):
        (raw,) = model.scores([(asked, text)])
        assert raw is not None
        assert score["raw"] == pytest.approx(raw, abs=1e-4)
        members = [(one - scale.mean) / scale.std for one, scale in zip(raw, SCALES, strict=True)]
        assert score["value"] == pytest.approx(sum(max(-5.0, min(5.0, one)) for one in members) / 2, abs=1e-4)
    assert [score["id"] for score in reply["scores"]] == [f"c{number}" for number in range(len(TEXTS) + 1)]
    assert reply["scores"][-1] == {
        "id": f"c{len(TEXTS)}",
        "value": None,
        "raw": None,
        "outcome": "unscorable",
        "error": "prompt and completion are more than the 256 tokens of the reward model",
    }


def test_openrlhfs_trainers_are_answered_in_their_protocol(url: str, model: RewardModel) -> None:
    """Request and reply as OpenRLHF's serve_rm.py has them: whole texts, with or without an end token."""
    prompt, end = f"Question: {QUESTION}\nAnswer:", model.tokenizer.eos_token
    status, reply = ask(
        url,
        "/get_reward",
        {"query": [f"{prompt} 2", f"{prompt} 2{end}"], "prompts": [prompt, prompt], "labels": ["2", "2"]},
    )
    _, ours = ask(url, "/score", items(" 2"))
    assert status == 200
    assert reply["rewards"] == pytest.approx([ours["scores"][0]["value"]] * 2, abs=1e-5)
    assert reply["scores"] == reply["rewards"]
    assert reply["extra_logs"] == {"out_of_range": [0.5, 0.5]}
    status, reply = ask(url, "/get_reward", {"query": [f"{prompt} 2"]})  # older trainers do not send the prompts
    assert (status, math.isfinite(reply["rewards"][0])) == (200, True)


def test_a_text_without_a_score_is_no_number_for_openrlhf_either(url: str) -> None:
    status, reply = ask(url, "/get_reward", {"query": ["a", LONG]})
    assert (status, reply["error"]) == (
        422,
        "query.1: prompt and completion are more than the 256 tokens of the reward model.",
    )


def test_card_and_health(url: str, model: RewardModel) -> None:
    assert ask(url, "/health") == (200, {"status": "ok"})
    status, card = ask(url, "/card")
    assert (status, RewardModelCard.model_validate(card)) == (200, model.card)


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/score", b"{", 400, "the request: Invalid JSON"),
        ("/score", {"items": []}, 400, "items: Tuple should have at least 1 item"),
        ("/score", {"items": [{"id": "a", "completion": "x"}]}, 400, "items.0: has neither prompt nor messages"),
        ("/score", {"items": items("a", "b")["items"][:1] * 2}, 400, "the request: two items have one id"),
        ("/score", {**items("a"), "texts": []}, 400, "texts: Extra inputs are not permitted"),
        ("/score", {**items("a"), "schema_version": 2}, 400, "schema_version: Input should be 1"),
        ("/score", items(*["a"] * 5000), 400, "items: Tuple should have at most 4096 items"),
        ("/get_reward", {"query": ["a"], "prompts": []}, 400, "there are 1 in query, but 0 in prompts"),
        ("/get_reward", {"query": [""]}, 422, "query.0: the text is empty"),
        ("/nowhere", {}, 404, "Not Found"),
    ],
)
def test_wrong_requests_are_refused_with_what_is_wrong(
    url: str, path: str, body: object, status: int, said: str
) -> None:
    got, reply = ask(url, path, body)
    assert (got, said in reply["error"]) == (status, True), reply


def test_requests_of_other_types_and_sizes_are_refused(
    url: str, model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(url, "/score", items("a"), Content_Type="text/plain")[0] == 415
    assert ask(url, "/score", items("a"), Content_Encoding="gzip")[0] == 415
    monkeypatch.setattr(serve, "MAX_WAITING", 2)
    status, reply = ask(url, "/score", items("a", "b", "c"))
    assert (status, reply["error"]) == (429, "0 completions wait here already; come back later.")
    monkeypatch.setattr(serve, "MAX_BODY", 1000)
    with served(model) as address:
        assert ask(address, "/score", items("a"))[0] == 200
        assert ask(address, "/score", items("a" * 1000))[0] == 413


def test_a_token_is_asked_for_everywhere_but_for_health(model: RewardModel, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    with served(model, token="secret") as address:
        assert ask(address, "/health")[0] == 200
        for path, body in (("/card", None), ("/score", items("a")), ("/get_reward", {"query": ["a"]})):
            assert ask(address, path, body)[0] == 401
            assert ask(address, path, body, Authorization="Bearer wrong")[0] == 401
            assert ask(address, path, body, Authorization="Bearer secret")[0] == 200
        with pytest.raises(ConfigError, match="HTTP status 401: give the server's token"):
            scores(SERVER, step(), url=address)
        assert all(value is not None for value in values(scores(SERVER, step(), url=address, token_file=str(token))))


def test_addresses_and_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.2", "gpu1")] == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert read_token(None, "SOME_TOKEN") is None
    monkeypatch.setenv("SOME_TOKEN", " a ")
    assert read_token(None, "SOME_TOKEN") == "a"
    with pytest.raises(ConfigError, match="--token-file"):
        read_token(tmp_path / "nowhere", "SOME_TOKEN")
    monkeypatch.setenv("SOME_TOKEN", "\n")
    with pytest.raises(ConfigError, match="SOME_TOKEN: the token is empty"):
        read_token(None, "SOME_TOKEN")
    assert shows_token("Bearer a", "a")
    assert not shows_token("Basic a", "a")


def test_requests_that_arrive_together_are_scored_together(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, original = list[int](), RewardModel.sample_scores

    def slow(self: RewardModel, samples: list[TrainingSample], **settings: Any) -> list[tuple[float, ...]]:
        sizes.append(len(samples))
        time.sleep(0.3)
        return original(self, samples, **settings)

    monkeypatch.setattr(RewardModel, "sample_scores", slow)
    with served(model) as address, ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda n: ask(address, "/score", items(f" {n}", f" {n}{n}")), range(8)))
    assert sum(sizes) == 16
    assert len(sizes) < 5
    expected = model.scores([(step()[0].problem, text) for n in range(8) for text in (f" {n}", f" {n}{n}")])
    got = [score["raw"] for _, reply in replies for score in reply["scores"]]
    assert [list(one) for one in expected if one] == [pytest.approx(one, abs=1e-4) for one in got]


def test_a_model_that_fails_costs_its_requests_their_scores_and_not_the_server(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RewardModel.sample_scores

    def failing(self: RewardModel, samples: list[TrainingSample], **settings: Any) -> list[tuple[float, ...]]:
        if len(samples) == 2:
            raise RuntimeError("out of memory")
        return original(self, samples, **settings)

    monkeypatch.setattr(RewardModel, "sample_scores", failing)
    with served(model) as address:
        assert ask(address, "/score", items("a", "b")) == (
            500,
            {"error": "the model failed: RuntimeError: out of memory"},
        )
        assert ask(address, "/score", items("a"))[0] == 200


# The reward.


def test_a_server_and_this_process_give_the_same(url: str, folder: Path) -> None:
    groups = step("1 + 1?", "What is 7?", texts=(*TEXTS, LONG))
    for settings in ({}, {"aggregate": "min"}, {"clip": None, "standardize": False}):
        here = scores("preference", groups, model=str(folder), **settings)
        there = scores(SERVER, groups, url=url, **settings)
        assert [score.outcome for score in there] == [score.outcome for score in here]
        for one, other in zip(there, here, strict=True):
            assert one.value == other.value is None or one.value == pytest.approx(other.value, abs=1e-4)
            assert one.parts.keys() == other.parts.keys()


def test_several_servers_are_an_ensemble(url: str, tmp_path: Path) -> None:
    single = RewardModel.load(model_folder(tmp_path / "single", heads=(0,)), torch.device("cpu"))
    with served(single) as other, scoring(SERVER, urls=[url, other], aggregate="min") as scorer:
        (results,) = scorer.score(step(), 1)
        assert results[0].rewards[SERVER].parts.keys() >= {"raw_1", "raw_2", "raw_3", "std"}
        assert scorer.notes[SERVER].count("held-out accuracy 80.0%") == 2


def test_a_server_of_openrlhfs_protocol(url: str, folder: Path) -> None:
    ours = scores(SERVER, step(), url=url)
    theirs = scores(SERVER, step(), url=url, protocol="openrlhf", standardize=False, clip=None, force=True, end="<end>")
    # The rendered prompt of these rollouts is the question alone, so the server reads another text.
    assert all(score.outcome == "scored" for score in theirs)
    assert values(ours) != values(theirs)


def test_an_openrlhf_server_whose_model_is_here_is_asked_in_the_models_template(url: str, tmp_path: Path) -> None:
    single = model_folder(tmp_path / "single", heads=(0,))
    with served(RewardModel.load(single, torch.device("cpu"))) as address:
        theirs = scores(
            SERVER, step(), url=address, protocol="openrlhf", model=str(single), standardize=False, clip=None
        )
        ours = scores(SERVER, step(), url=address)
    assert values(theirs) == pytest.approx(values(ours), abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give url: http://HOST:PORT, or urls"),
        ({"url": "http://a", "urls": ["http://b"]}, "give url: http://HOST:PORT, or urls"),
        ({"url": "localhost:5000"}, "'localhost:5000' is no address"),
        ({"url": "http://a", "model": "b"}, "`reasonrl rm serve` tells by itself what it serves"),
        ({"url": "http://a", "model": "b", "models": ["c"]}, "model and models are both set"),
        ({"url": "http://a", "protocol": "vllm"}, "set model to the folder that vLLM serves"),
        ({"urls": ["http://a", "http://b"], "protocol": "vllm", "model": "c"}, "there are 2 servers, but 1 models"),
        ({"url": "http://a", "end": "</s>"}, "end is set, but it is for protocol openrlhf"),
        ({"url": "http://a", "protocol": "ollama"}, "parameter 'protocol'"),
        ({"url": "http://a", "token_file": "nowhere"}, "token_file nowhere: cannot be read"),
    ],
)
def test_mistakes_are_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ReasonRLError, match=said):
        scores(SERVER, step(), **settings)


def test_a_server_that_is_not_there_refuses_the_run() -> None:
    with pytest.raises(UnreachableError, match=r"reward model server http://127\.0\.0\.1:9 does not answer"):
        scores(SERVER, step(), url="http://127.0.0.1:9")


def test_a_server_of_another_kind_refuses_the_run(url: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"/v1/models: HTTP status 404.*in the protocol 'vllm'"):
        scores(SERVER, step(), url=url, protocol="vllm", model=str(folder))


def test_a_server_of_a_model_that_does_not_beat_length_is_refused_unless_forced(model: RewardModel) -> None:
    script = Script([{}], model.card.model_copy(update={"evaluation": evaluation(0.5, 0.6)}))
    with in_thread(script.app) as address:
        with pytest.raises(ModelError, match="no better than length alone"):
            scores(SERVER, step(), url=address)
        scores(SERVER, step(), url=address, force=True)


def test_what_is_not_known_of_a_server_is_not_made_up(model: RewardModel) -> None:
    with in_thread(Script([{"rewards": [0.5]}], model.card).app) as address:
        with pytest.raises(ConfigError, match="nothing is known of the scores"):
            scores(SERVER, step(), url=address, protocol="openrlhf")
        with pytest.raises(ConfigError, match="nothing says that the model"):
            scores(SERVER, step(), url=address, protocol="openrlhf", standardize=False, clip=None)


def reply(model: RewardModel, **changes: Any) -> Any:
    """A function of a request that answers it, with something wrong. Any: JSON."""

    def answer(body: Mapping[str, Any]) -> dict[str, Any]:
        given = [
            {"id": item["id"], "value": 1.0, "raw": [1.0, 2.0], "outcome": "scored", "error": None, **changes}
            for item in body["items"]
        ]
        return {"schema_version": 1, "card": card_digest(model.card), "scores": given}

    return answer


def edited(model: RewardModel, edit: Any) -> Any:
    """As ``reply``, with the scores passed through a function. Any: JSON."""

    def answer(body: Mapping[str, Any]) -> dict[str, Any]:
        right = reply(model)(body)
        return {**right, "scores": edit(right["scores"])}

    return answer


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda model: b"not json", "bad reply: Invalid JSON"),
        (lambda model: {"scores": []}, "bad reply: card: Field required"),
        (lambda model: edited(model, lambda given: given[1:]), "gave no score for"),
        (lambda model: edited(model, lambda given: [*given, given[0]]), "gave two scores for one completion"),
        (lambda model: edited(model, lambda given: [{**given[0], "id": "x"}, *given[1:]]), "which was not asked for"),
        (lambda model: reply(model, raw=[1.0]), "gave 1 numbers for a completion; the model has 2 heads"),
        (lambda model: reply(model, raw=None), "does not go with raw None"),
        (lambda model: reply(model, value="high"), "bad reply: scores.0.value"),
        (lambda model: lambda body: {**reply(model)(body), "card": "another"}, "serves another model"),
        (lambda model: 400, "HTTP status 400: scripted"),
        (lambda model: reply(model, value=None, raw=None, outcome="error", error="overflow"), "overflow"),
    ],
)
def test_a_wrong_reply_is_an_error_and_never_a_number(model: RewardModel, wrong: Any, said: str) -> None:
    with in_thread(Script([wrong(model)], model.card).app) as address:
        found = scores(SERVER, step(), url=address)
    assert {(score.value, score.outcome) for score in found} == {(None, "error")}
    assert all(said in score.why for score in found), found[0].why


def test_scores_in_another_order_find_their_completions(model: RewardModel) -> None:
    def numbered(body: Mapping[str, Any]) -> dict[str, Any]:
        right: dict[str, Any] = reply(model)(body)
        right["scores"] = [{**one, "raw": [number, 0.0]} for number, one in enumerate(right["scores"])][::-1]
        return right

    with in_thread(Script([numbered], model.card).app) as address:
        found = scores(SERVER, step(), url=address)
    assert [score.parts["raw_1"] for score in found] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_hidden_columns_of_a_problem_are_not_sent(model: RewardModel) -> None:
    script = Script([reply(model)], model.card)
    with in_thread(script.app) as address:
        scores(SERVER, [group(TEXTS, meta={"tests": "secret"}, answer="secret")], url=address)
    assert "secret" not in json.dumps(script.bodies)


def test_busy_and_dropped_requests_are_sent_again(model: RewardModel) -> None:
    script = Script([503, None, reply(model)], model.card)
    with in_thread(script.app) as address:
        found = scores(SERVER, step(), url=address)
    assert [score.outcome for score in found] == ["scored"] * len(TEXTS)
    assert len(script.bodies) == 3


@pytest.mark.slow
def test_a_server_that_stays_away_costs_typed_scores_after_a_while(model: RewardModel) -> None:
    port = _free_port()
    with served(model, port=port) as address:
        opened = scoring(SERVER, settings={"max_failure_rate": 1.0}, url=address, outage_timeout_s=0.2)
        scorer = opened.__enter__()
    began = time.monotonic()
    results = scorer.score(step("a", "b", "c"), 1)
    assert {result.rewards[SERVER].outcome for members in results for result in members} == {"error"}
    assert {result.value for members in results for result in members} == {None}
    assert time.monotonic() - began < 15
    opened.__exit__(None, None, None)


def test_a_server_that_comes_back_is_waited_for(model: RewardModel) -> None:
    port = _free_port()
    with served(model, port=port) as address:
        opened = scoring(SERVER, url=address, outage_timeout_s=60, retries=0)
        scorer = opened.__enter__()
        before = scorer.score(step(), 1)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(scorer.score, step(), 2)
        time.sleep(1.0)
        assert not waiting.done()
        with served(model, port=port):
            after = waiting.result(30)
    assert [one.value for one in after[0]] == [one.value for one in before[0]]
    opened.__exit__(None, None, None)


# Processes.


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_end(folder: Path, tmp_path: Path) -> None:
    server = rm_serve(folder, _free_port(), tmp_path / "log").start().wait()
    assert ask(server.url, "/score", items("a"))[0] == 200
    assert server.terminate() == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert "held-out accuracy 80.0% [75.0%, 85.0%], length alone 60.0%" in lines[0]
    assert lines[1] == f"serving on {server.url}"


@pytest.mark.slow
def test_the_command_refuses_what_it_cannot_do(folder: Path, tmp_path: Path) -> None:
    def refused(place: Path, *options: str) -> str:
        server = rm_serve(place, 0, tmp_path / "log", *options).start()
        assert server.process is not None
        assert server.process.wait(60) == 2
        return (tmp_path / "log").read_text()

    assert "others could use the model" in refused(folder, "--host", "0.0.0.0")
    assert "is not a reward model" in refused(tmp_path)


def run_file(folder: Path, url: str, **params: Any) -> Path:
    """A run whose reward is a server. Any: parameters of the reward."""
    reward = {"name": SERVER, "params": {"url": url, **params}, "retries": 0}
    settings = {**RUN, "rewards": [reward], "run": {"steps": 6, "checkpoint_every": 1}}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.slow
def test_a_run_stops_by_name_when_its_server_is_killed_and_goes_on_when_it_is_back(
    folder: Path, in_folder: Path
) -> None:
    server = rm_serve(folder, _free_port(), in_folder / "log").start().wait()
    killer = threading.Timer(0.0, server.kill)

    def kill_after_two_steps(event: Event) -> None:
        if isinstance(event, StepFinished) and event.record.step == 2:
            killer.start()

    try:
        with pytest.raises(RunError, match=r"reward 'preference_server' failed on 8 of 8 samples.*error: "):
            start_run(run_file(in_folder, server.url, outage_timeout_s=0), (), [kill_after_two_steps], argv=["test"])
        killer.join()
        server.start().wait()
        assert resume_run(in_folder / "runs/one", (), []) == "finished"
    finally:
        server.kill()
    lines = [json.loads(line) for line in (in_folder / "runs/one/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(line["scoring/preference_server/failure_rate"] == 0 for line in lines)


@pytest.mark.slow
def test_a_run_waits_for_a_server_that_is_killed_and_started_again(folder: Path, in_folder: Path) -> None:
    server = rm_serve(folder, _free_port(), in_folder / "log").start().wait()

    def restart() -> None:
        assert server.process is not None
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        server.start()

    def restart_after_two_steps(event: Event) -> None:
        if isinstance(event, StepFinished) and event.record.step == 2:
            threading.Thread(target=restart).start()

    try:
        status = start_run(run_file(in_folder, server.url), (), [restart_after_two_steps], argv=["test"])
    finally:
        server.kill()
    assert status == "finished"
    lines = [json.loads(line) for line in (in_folder / "runs/one/metrics.jsonl").read_text().splitlines()]
    assert all(line["scoring/preference_server/failure_rate"] == 0 for line in lines)


def test_a_card_that_was_measured_again_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    write_card(tmp_path, read_card(folder).model_copy(update={"evaluation": evaluation(0.9, 0.1)}))
    assert card_digest(read_card(tmp_path)) == card_digest(read_card(folder))
