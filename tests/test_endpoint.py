"""Evaluations at an endpoint with OpenAI's API: what is sent, what is sent again, and what ends one."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from openai_server import KEY, OpenAIServer, serving

from reasonrl import Measurement, Problem, Rollout, Suite
from reasonrl.engines.batch import run_sampling
from reasonrl.engines.endpoint.address import api_url
from reasonrl.engines.endpoint.client import EndpointClient, EndpointError
from reasonrl.errors import ConfigError, EngineError, ModelError, ReasonRLError
from reasonrl.evaluation.sources import SampleSource
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.evaluation_source import open_source, require_engine
from reasonrl.types import Trajectory


@pytest.fixture(scope="module")
def running() -> Iterator[OpenAIServer]:
    with serving() as server:
        yield server


@pytest.fixture
def server(running: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> OpenAIServer:
    """The endpoint without a script, and an environment without keys."""
    running.script()
    for variable in ("REASONRL_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    return running


def metric(rollout: Rollout) -> Measurement:
    return Measurement(0.0)


def suite(num_problems: int = 1, **changes: Any) -> Suite:
    """Problems that ask for words. Any: fields of a suite."""
    problems = [
        Problem(id=f"p{number}", task="words", prompt=f"{number} two three four five", answer="")
        for number in range(num_problems)
    ]
    fields = {"template": "chat", "max_new_tokens": 50, "metric": metric, "role": "valid", "name": "words"}
    return Suite(**{**fields, "version": 1, "problems": problems, **changes})


def opened(server: OpenAIServer, measured: Suite, model: str = "echo-3", **settings: Any) -> SampleSource:
    """Open the endpoint as `reasonrl eval` does. Any: what ``open_source`` takes."""
    return open_source(model, server.url, [measured], plugins=Plugins(), **settings)


def sample(source: SampleSource, measured: Suite, num_samples: int = 1) -> list[Trajectory]:
    """Sample every problem as an evaluation does."""
    environment = source.environment(measured, measured.template)

    async def work() -> list[Trajectory]:
        prompts = [environment.prompt(problem) for problem in measured.problems]
        return await asyncio.gather(
            *(
                environment.run(prompt, source.engine.generate, seed=10 * number + index, sample_index=index)
                for number, prompt in enumerate(prompts)
                for index in range(num_samples)
            )
        )

    return run_sampling(work(), source.engine)


def test_a_chat_is_sent_as_messages_and_the_answer_is_the_completion(server: OpenAIServer) -> None:
    measured = suite(temperature=0.7, top_p=0.9)
    source = opened(server, measured)
    server.script()
    (answer,) = sample(source, measured)
    assert (answer.text, answer.finish_reason, len(answer.token_ids)) == ("0 two three", "stop", 5)
    (body,) = server.bodies
    assert body == {
        "model": "echo-3",
        "messages": [{"role": "user", "content": body["messages"][0]["content"]}],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 50,
        "seed": 0,
    }
    assert "0 two three four five" in body["messages"][0]["content"]
    assert source.name == server.url
    assert source.facts["prompts"] == "messages"


def test_a_text_is_sent_as_a_text(server: OpenAIServer) -> None:
    measured = suite(template="plain")
    source = opened(server, measured)
    (answer,) = sample(source, measured)
    assert answer.text == "Question: 0 two"
    assert server.bodies[-1]["prompt"].startswith("Question: 0 two three four five")
    assert source.facts["prompts"] == "text"


def test_whatever_passes_is_tried_again_and_every_sample_comes_once(server: OpenAIServer) -> None:
    measured = suite(12)
    source = opened(server, measured)
    server.script(
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"status": 500, "reply": {"error": {"message": "out of memory"}}},
        {"torn": True},
        {"drop": True},
        {"status": 503},
        {"sleep": 0.2},
    )
    got = sample(source, measured, 2)
    assert [answer.text for answer in got] == [f"{number} two three" for number in range(12) for _ in range(2)]
    assert [answer.seed for answer in got] == [10 * number + index for number in range(12) for index in range(2)]
    seen = server.seen()
    assert seen["answered"] == 24
    assert len(seen["bodies"]) == 24 + 5


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (
            {"status": 401, "reply": {"error": {"message": f"Incorrect API key {KEY}"}}},
            r"401.*Incorrect API key \*\*\*",
        ),
        ({"status": 404, "reply": {"error": {"message": "The model does not exist"}}}, "404: The model does not exist"),
        ({"status": 400, "reply": {"detail": "context length exceeded"}}, "400: context length exceeded"),
        ({"status": 429, "reply": {"error": {"message": "no money", "code": "insufficient_quota"}}}, "no money"),
    ],
)
def test_what_does_not_pass_ends_the_evaluation_at_once(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch, step: dict[str, Any], says: str
) -> None:
    monkeypatch.setenv("REASONRL_API_KEY", KEY)
    measured = suite()
    source = opened(server, measured)
    server.script(step)
    with pytest.raises(EngineError, match=says) as raised:
        sample(source, measured)
    assert KEY not in str(raised.value)
    assert len(server.bodies) == 1


def test_the_key_of_the_environment_is_shown_and_is_in_nothing_that_is_written(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("REASONRL_API_KEY", KEY)
    source = opened(server, suite())
    assert server.seen()["keys"] == [f"Bearer {KEY}"]
    assert KEY not in f"{source.name} {source.facts}"
    for bad in (
        f"http://user:{KEY}@host/v1",
        f"http://host/v1?key={KEY}",
        "http://host/v1/chat/completions",
        "ftp://x",
    ):
        with pytest.raises(ConfigError, match="--engine"):
            require_engine(bad, Plugins())
    assert str(api_url("http://host:8000")) == str(api_url("http://host:8000/v1/")) == "http://host:8000/v1"


def test_no_more_requests_are_open_than_asked_for(server: OpenAIServer) -> None:
    measured = suite(12)
    source = opened(server, measured, max_concurrent=3)
    server.script(*[{"sleep": 0.02}] * 12)
    sample(source, measured)
    assert server.seen()["most_open"] == 3


def test_an_endpoint_that_does_not_answer_in_time_is_given_up(server: OpenAIServer) -> None:
    measured = suite()
    source = opened(server, measured, request_timeout_s=0.1)
    server.script(*[{"sleep": 5}] * 3)
    with pytest.raises(EngineError, match=r"0\.1 s, 3 times"):
        sample(source, measured)


def test_an_endpoint_that_is_down_is_waited_for_and_then_given_up(server: OpenAIServer) -> None:
    client = EndpointClient(api_url(server.url), None, max_concurrent=1, tries=3, outage_s=0.0)

    async def ask() -> Any:
        return await client.post(client.url / "chat" / "completions", {"model": "echo-1"})

    server.script(*[{"status": 503, "reply": "warming up"}] * 4)
    with pytest.raises(EndpointError, match="503: warming up"):
        asyncio.run(ask())
    assert len(server.bodies) == 3
    assert client.num_retries == 2


def test_an_endpoint_that_is_not_there_says_so() -> None:
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9/v1 does not answer"):
        open_source("m", "http://127.0.0.1:9", [suite()], plugins=Plugins())


def test_another_thread_can_abort(server: OpenAIServer) -> None:
    measured = suite(4)
    source = opened(server, measured)
    server.script(*[{"sleep": 30}] * 4)
    timer = threading.Timer(0.3, source.engine.abort)
    timer.start()
    with pytest.raises(EngineError, match="aborted"):
        sample(source, measured)
    timer.join()


def test_another_name_for_the_limit_and_a_refused_seed_are_found_out_before_anything_is_sampled(
    server: OpenAIServer,
) -> None:
    server.script(
        {"refuses": "max_tokens", "message": "'max_tokens' is not supported. Use 'max_completion_tokens' instead."},
        {"refuses": "seed", "message": "Unsupported parameter: 'seed'"},
        {"refuses": "top_p", "message": "Unsupported parameter: 'top_p'"},
    )
    measured = suite()
    source = opened(server, measured)
    assert source.facts["left_out"] == ["seed", "top_p"]
    sample(source, measured)
    assert server.bodies[-1].keys() == {"model", "messages", "temperature", "max_completion_tokens"}


def test_a_parameter_that_decides_the_figure_is_never_left_out(server: OpenAIServer) -> None:
    server.script({"refuses": "temperature", "message": "Unsupported value: only the default (1) is supported."})
    with pytest.raises(EngineError, match=r"temperature 0\.5; 1\.0 can be left out"):
        opened(server, suite(temperature=0.5))
    server.script({"refuses": "temperature", "message": "Unsupported value: only the default (1) is supported."})
    assert opened(server, suite(temperature=1.0)).facts["left_out"] == ["temperature"]


def test_why_a_completion_ended_is_kept_and_a_stop_string_ends_one_behind_itself(server: OpenAIServer) -> None:
    measured = suite(stop=("</answer>", "END"))
    source = opened(server, measured)
    server.script(
        {"text": "so <answer>4</answer> and on END", "finish_reason": "length"},
        {"text": "so <answer>", "finish_reason": "length"},
        {"text": "", "finish_reason": "content_filter"},
        {"text": "no string", "finish_reason": "stop"},
    )
    got = [sample(source, measured)[0] for _ in range(4)]
    assert [(answer.text, answer.finish_reason) for answer in got] == [
        ("so <answer>4</answer>", "stop"),
        ("so <answer>", "length"),
        ("", "content_filter"),
        ("no string", "stop"),
    ]
    assert all("stop" not in body for body in server.bodies)


def test_a_vllm_server_of_another_model_is_refused_by_name(server: OpenAIServer) -> None:
    server.script({"models": {"data": [{"id": "org/other", "owned_by": "vllm", "root": "org/other"}]}})
    with pytest.raises(ReasonRLError, match=r"404|does not serve"):  # this server has no route /version
        opened(server, suite(), "org/mine")
    server.script({"models": {"error": "who are you?"}, "status": 401})
    with pytest.raises(EngineError, match=r"401: who are you\?.*REASONRL_API_KEY or OPENAI_API_KEY\) is not set"):
        opened(server, suite())


def test_an_engine_that_is_none_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"no 'vlm'.*vllm"):
        require_engine("vlm", Plugins())
    with pytest.raises(ModelError, match="no-such-folder"):
        open_source("./no-such-folder", "local", [suite()], plugins=Plugins())


def test_settings_that_an_engine_would_ignore_are_refused() -> None:
    from reasonrl.config.settings import VLLMSettings

    with pytest.raises(ConfigError, match="ignored by --engine local"):
        open_source("tiny", "local", [suite()], plugins=Plugins(), vllm=VLLMSettings(replicas=2))
    with pytest.raises(ConfigError, match=r"vllm\.urls.*--engine"):
        open_source("tiny", "vllm", [suite()], plugins=Plugins(), vllm=VLLMSettings(urls=["http://h:1"]))


def test_prompts_are_those_of_the_template_whoever_samples(server: OpenAIServer) -> None:
    measured = replace(suite(), problems=[Problem(id="a", task="words", prompt="1 2 3", answer="")], template="plain")
    local = open_source("tiny", "local", [measured], plugins=Plugins())
    here, there = (
        source.environment(measured, measured.template).prompt(measured.problems[0])
        for source in (local, opened(server, measured))
    )
    assert here.text == there.text
