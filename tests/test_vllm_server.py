"""vLLM servers: what the conformance suite (test_engine_conformance.py) does not ask of every engine."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import copy
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event, Thread, get_ident
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import divided_push
import pytest
import torch
from builders import letter_tokenizer
from engine_cases import LONG_PROMPT, PROMPTS, Asked, Subject, exact_logprobs, model_for_engines, requests, start
from torch.multiprocessing.spawn import spawn
from transformers import LlamaForCausalLM

from reasonrl.engines.vllm.launch import MODULE, flags, needed_arguments
from reasonrl.engines.vllm.model_folder import write_model_folder
from reasonrl.engines.vllm.replica import Replica, ServerProcess, _free_port
from reasonrl.errors import ConfigError, EngineError
from reasonrl.run.start import start_run
from reasonrl.types import Trajectory

pytestmark = pytest.mark.vllm

ASKED = requests(24, prompts=(*PROMPTS, LONG_PROMPT))
"""Enough to take seconds."""

SAMPLING = {"max_new_tokens": 120, "temperature": 1.0}

served = partial(Subject, "vllm_server", tied=True, positions=1024)
"""Start an engine for the model of these tests' servers, which has room for long completions."""


def _processes(mark: str) -> list[int]:
    """The processes that have a variable in their environment, which children inherit."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:
            continue
    return found


def _engine_core(replica: Replica) -> int:
    """The process in which a server computes."""
    listed = subprocess.run(["ps", "-eo", "ppid,rss,pid"], capture_output=True, text=True, check=True).stdout
    rows = [tuple(map(int, line.split())) for line in listed.splitlines()[1:]]
    return max((size, process) for parent, size, process in rows if parent == _api_server(replica))[1]


def _api_server(replica: Replica) -> int:
    """The process that answers: it leads the server's group."""
    assert replica._process is not None
    return replica._process._group


def _killing(process: int, after_s: float) -> Thread:
    """Kill a process in a while."""

    def kill() -> None:
        time.sleep(after_s)
        os.kill(process, signal.SIGKILL)

    thread = Thread(target=kill)
    thread.start()
    return thread


def _without_logprobs(completion: Trajectory) -> Trajectory:
    return replace(completion, logprobs=(0.0,) * len(completion.logprobs))


def _require_same(got: Sequence[tuple[Trajectory, ...]], expected: Sequence[tuple[Trajectory, ...]]) -> None:
    """Completions are the same but for the last bits of log-probabilities, which depend on what is computed at once."""
    for some, others in zip(got, expected, strict=True):
        assert [*map(_without_logprobs, some)] == [*map(_without_logprobs, others)]
        for one, other in zip(some, others, strict=True):
            torch.testing.assert_close(torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    """An engine with two servers, which every test leaves running."""
    subject = served(replicas=2)
    subject.reset()
    yield subject
    subject.engine.close()


@pytest.fixture
def replicas(subject: Subject) -> list[Replica]:
    """The servers of the engine."""
    found: list[Replica] = subject.engine._replicas  # type: ignore[attr-defined]  # the Protocol has none
    return found


@pytest.fixture(scope="module")
def undisturbed(subject: Subject) -> list[tuple[Trajectory, ...]]:
    """What is sampled when nothing happens."""
    return subject.sample(ASKED, **SAMPLING)


def test_all_completions_of_a_request_come_from_one_server_and_requests_from_all(
    subject: Subject, replicas: list[Replica]
) -> None:
    def prompts_seen() -> list[float]:
        return [_metric(replica, "vllm:request_success_total") for replica in replicas]

    before = prompts_seen()
    subject.sample(requests(5), max_new_tokens=2)
    assert [after - then for after, then in zip(prompts_seen(), before, strict=True)] == [10, 5]


def _metric(replica: Replica, name: str) -> float:
    """Sum up one of vLLM's own counters."""
    with urlopen(f"{replica.url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("victim", [_api_server, _engine_core])
def test_completions_of_a_killed_server_are_those_of_the_undisturbed_one(
    subject: Subject, replicas: list[Replica], undisturbed: list[tuple[Trajectory, ...]], victim: Any
) -> None:
    restarts, told, process = replicas[0].num_restarts, list[tuple[int, int]](), victim(replicas[0])

    def finished(index: int, one: Trajectory) -> None:
        if not told:  # the others are being sampled, however fast the machine is
            os.kill(process, signal.SIGKILL)
        told.append((index, one.sample_index))

    got = subject.sample(ASKED, finished=finished, **SAMPLING)
    assert sorted(told) == [(index, one.sample_index) for index, members in enumerate(got) for one in members]
    _require_same(got, undisturbed)
    _await_restarts(replicas, restarts + 1)
    assert replicas[1].num_restarts == 0


def _await_restarts(replicas: Sequence[Replica], *numbers: int) -> None:
    """Return when servers were restarted so often, beside the sampling, and all have the same weights."""
    until = time.monotonic() + 300
    while any(one.num_restarts < number for one, number in zip(replicas, numbers, strict=False)) or (
        len(set(map(_label, replicas))) > 1
    ):
        assert time.monotonic() < until
        time.sleep(0.1)


def _label(replica: Replica) -> str:
    return str(replica.get("/weight_info")["weight_version"])


def test_a_server_killed_between_steps_is_back_for_new_weights_and_has_them(
    subject: Subject, replicas: list[Replica]
) -> None:
    restarts = replicas[0].num_restarts
    os.kill(_api_server(replicas[0]), signal.SIGKILL)
    subject.perturb(seed=1)
    subject.push(1)
    assert subject.logprob_error(ASKED[:2], subject.sample(ASKED[:2], max_new_tokens=8), 1.0) < 1e-3
    _await_restarts(replicas, restarts + 1)
    assert subject.logprob_error(ASKED[:2], subject.sample(ASKED[:2], max_new_tokens=8), 1.0) < 1e-3
    subject.reset()


# New weights while completions are sampled.

LONG = {"max_new_tokens": 150, "temperature": 0.3}
"""Completions of which some end at the limit alone."""

LONGER = {**LONG, "max_new_tokens": 450}
"""They go on long after weights were replaced, on a busy machine too."""


def _sample_during(subject: Subject, act: Callable[[], None], **params: Any) -> list[tuple[Trajectory, ...]]:
    """Sample in a thread, and act here as soon as the first completion is finished. Any: ``SamplingParams``."""
    began, got = Event(), list[tuple[Trajectory, ...]]()
    thread = Thread(target=lambda: got.extend(subject.sample(ASKED, finished=lambda *_: began.set(), **params)))
    thread.start()
    assert began.wait(300)
    act()
    thread.join()
    assert len(got) == len(ASKED)
    return got


def _largest_error(
    models: Mapping[int, LlamaForCausalLM], asked: Sequence[Asked], got: Sequence[tuple[Trajectory, ...]]
) -> float:
    """The greatest difference between a token's log-probability and what the model of its version says of it."""
    errors = []
    for request, members in zip(asked, got, strict=True):
        for one in members:
            exact_of = {
                version: exact_logprobs(model, request.prompt_ids, one, LONG["temperature"])
                for version, model in models.items()
            }
            versions = [segment.policy_version for segment in one.segments for _ in range(segment.num_tokens)]
            exact = torch.stack(
                [exact_of[version][place] for place, version in enumerate(versions) if version is not None]
            )
            errors.append(float((exact - torch.tensor(one.logprobs)).abs().max()))
    return max(errors)


def _segments(got: Sequence[tuple[Trajectory, ...]]) -> list[list[int]]:
    """The versions of each completion."""
    return [[int(segment.policy_version or 0) for segment in one.segments] for members in got for one in members]


def _await_tokens(replicas: Sequence[Replica]) -> None:
    """Return when more was sampled by any server, which gives a token to all completions that it has begun."""

    def sampled() -> list[float]:
        return [_metric(replica, "vllm:generation_tokens_total") for replica in replicas]

    before, until = sampled(), time.monotonic() + 60
    while sampled() == before:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_completions_go_on_under_new_weights_and_every_token_has_the_version_that_chose_it(
    subject: Subject, replicas: list[Replica]
) -> None:
    subject.reset()
    models = {0: copy.deepcopy(subject.model)}

    def update_twice() -> None:
        for version in (1, 2):
            subject.perturb(seed=version, size=0.05)
            models[version] = copy.deepcopy(subject.model)
            subject.push(version)
            _await_tokens(replicas)

    got = _sample_during(subject, update_twice, **LONGER)
    assert _largest_error(models, ASKED, got) < 1e-3
    assert _largest_error(dict.fromkeys(models, models[0]), ASKED, got) > 1e-2, "the test sees a wrong version"
    assert all(versions == sorted(versions) for versions in _segments(got))
    assert max(map(len, _segments(got))) == 3
    assert subject.engine.policy_version == 2
    assert {versions[-1] for versions in _segments(subject.sample(ASKED, max_new_tokens=4))} == {2}
    subject.reset()


def test_a_server_that_is_killed_while_weights_are_replaced_costs_its_own_completions_alone_a_new_start(
    subject: Subject, replicas: list[Replica]
) -> None:
    subject.reset()
    models, restarts = {0: copy.deepcopy(subject.model)}, replicas[0].num_restarts

    def kill_and_update() -> None:
        os.kill(_api_server(replicas[0]), signal.SIGKILL)
        subject.perturb(seed=1, size=0.05)
        models[1] = copy.deepcopy(subject.model)
        subject.push(1)

    got = _sample_during(subject, kill_and_update, **LONGER)
    assert _largest_error(models, ASKED, got) < 1e-3
    assert [0, 1] in _segments(got), "the other server's went on"
    _await_restarts(replicas, restarts + 1)
    subject.reset()


def test_weights_that_are_not_all_there_change_nothing_for_what_is_being_sampled(subject: Subject) -> None:
    subject.reset()
    given = [(name, 2 * weight) for name, weight in subject.model.named_parameters()]

    def load_too_few() -> None:
        with pytest.raises(EngineError, match="missing"):
            subject.engine.load_weights(given[1:], 1)

    got = _sample_during(subject, load_too_few, **LONG)
    assert _largest_error({0: subject.model}, ASKED, got) < 1e-3
    assert subject.engine.policy_version == 0
    subject.reset()


def test_weights_are_asked_for_to_their_end_in_one_thread_whatever_happens(subject: Subject) -> None:
    subject.reset()
    asked_in: list[int] = []

    def weights() -> Iterator[tuple[str, torch.Tensor]]:
        for name, weight in [("foreign", torch.zeros(1)), *subject.model.named_parameters(), ("last", torch.zeros(1))]:
            asked_in.append(get_ident())
            yield name, weight

    with pytest.raises(EngineError, match=r"not the model's: foreign, last"):
        subject.engine.load_weights(weights(), 1)
    assert asked_in == [get_ident()] * (2 + len(list(subject.model.parameters())))
    subject.reset()


def test_two_threads_sample_at_once_without_changing_what_either_gets(
    subject: Subject, undisturbed: list[tuple[Trajectory, ...]]
) -> None:
    subject.reset()
    beside: list[list[tuple[Trajectory, ...]]] = []
    got = _sample_during(subject, lambda: beside.append(subject.sample(ASKED[:2], **SAMPLING)), **SAMPLING)
    _require_same(got, undisturbed)
    _require_same(beside[0], undisturbed[:2])


class Link:
    """The way to a server, which can be cut.

    Args:
        target: the server's address.
    """

    def __init__(self, target: str) -> None:
        self._target_port = int(target.rpartition(":")[2])
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._ends: list[socket.socket] = []
        self._threads: list[Thread] = []
        self.mend()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._begin(self._accept)

    def cut(self) -> None:
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()
        self._ends, self._threads = [], []

    def _begin(self, work: Callable[..., None], *args: socket.socket) -> None:
        self._threads.append(Thread(target=work, args=args))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):  # it is cut
            while True:
                near, far = self._listener.accept()[0], socket.create_connection(("127.0.0.1", self._target_port))
                self._ends += [near, far]
                self._begin(_pump, near, far)
                self._begin(_pump, far, near)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # it is cut
        while part := source.recv(2**16):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def link(replicas: list[Replica]) -> Iterator[Link]:
    """A link to the engine's first server."""
    link = Link(replicas[0].url)
    yield link
    link.cut()


def test_while_a_given_server_stays_away_others_sample_and_it_is_used_again_when_it_is_back(
    subject: Subject, replicas: list[Replica], link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    subject.sample(ASKED, max_new_tokens=2)  # verifies its weights, over which others are loaded here
    other = served(urls=[link.url, replicas[1].url], start_timeout_s=15)
    other.push(1)
    expected = other.sample(ASKED, **LONG)
    _require_same(_sample_during(other, link.cut, **LONG), expected)
    until = time.monotonic() + 60
    while "Others sample in its place" not in caplog.text:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert f"the vLLM server at {link.url} did not answer within 15 s" in caplog.text
    other.perturb(seed=1)
    other.push(2)
    link.mend()
    _await_restarts(other.engine._replicas, 1)  # type: ignore[attr-defined]  # the Protocol has none
    got = other.sample(ASKED, max_new_tokens=8)
    assert other.logprob_error(ASKED, got, 1.0) < 1e-3
    other.engine.close()
    subject.reset()


def test_the_only_given_server_that_stays_away_ends_the_sampling_by_name(subject: Subject, link: Link) -> None:
    other = served(urls=[link.url], start_timeout_s=15)
    other.push(1)
    cuts: list[int] = []

    def cut_once(index: int, one: Trajectory) -> None:
        if not cuts:
            link.cut()
        cuts.append(index)

    with pytest.raises(EngineError, match=rf"the vLLM server at {link.url} did not answer within 15 s"):
        other.sample(ASKED, finished=cut_once, **LONG)
    other.engine.close()
    subject.reset()


def test_while_all_servers_are_restarted_sampling_can_time_out(subject: Subject, replicas: list[Replica]) -> None:
    restarts = [replica.num_restarts for replica in replicas]
    threads = [_killing(_api_server(replica), after_s=0.0) for replica in replicas]
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"took longer than 2 s"):
        subject.sample(ASKED, timeout_s=2, **SAMPLING)
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 10
    got = subject.sample(ASKED[:1], max_new_tokens=8)
    assert subject.logprob_error(ASKED[:1], got, 1.0) < 1e-3
    _await_restarts(replicas, *(number + 1 for number in restarts))


def test_another_run_may_attach_after_a_killed_one_but_two_do_not_mix(
    subject: Subject, replicas: list[Replica]
) -> None:
    for path in ("/pause?mode=keep", "/start_weight_update"):  # where a killed trainer may have been
        replicas[0].post(path)
    other = served(urls=[replicas[0].url + "/"])
    other.perturb(seed=2)
    other.push(4)
    assert other.logprob_error(ASKED[:2], other.sample(ASKED[:2], max_new_tokens=8), 1.0) < 1e-3
    with pytest.raises(EngineError, match=r"vLLM server 1 has weights 'reasonrl-.*-4'.*another run"):
        subject.sample(ASKED, max_new_tokens=8)
    other.engine.close()
    subject.reset()
    assert subject.sample(ASKED, max_new_tokens=8)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"hidden_size": 128, "num_attention_heads": 4}, "hidden_size 64, not 128, num_attention_heads 2, not 4"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings True, not False"),
    ],
)
def test_a_server_of_another_model_is_refused_and_left_as_it_is(
    subject: Subject, replicas: list[Replica], change: dict[str, Any], difference: str
) -> None:
    config = copy.deepcopy(subject.model.config)
    config.update(change)
    with pytest.raises(
        EngineError, match=rf"serves another model than the learner's: {difference}\. Start it so: VLLM"
    ):
        start("vllm_server", LlamaForCausalLM(config), letter_tokenizer(), urls=[replicas[1].url])
    assert subject.sample(ASKED, max_new_tokens=2)


def test_the_weights_of_a_divided_model_arrive_and_take_no_more_memory_than_a_layer(
    subject: Subject, replicas: list[Replica], tmp_path: Path
) -> None:
    spawn(divided_push.work, (2, str(tmp_path), replicas[1].url), nprocs=2)
    found = torch.load(tmp_path / "found.pt", weights_only=False)
    errors = [
        (exact_logprobs(divided_push.changed_model(), asked.prompt_ids, one, 1.0) - torch.tensor(one.logprobs)).abs()
        for asked, members in zip(requests(4), found["sampled"], strict=True)
        for one in members
    ]
    assert torch.cat(errors).max() < 1e-3
    assert {one.policy_version for members in found["sampled"] for one in members} == {1}
    layer = found["memory"]["all"] / 16
    assert found["memory"]["peak"] < layer
    subject.reset()


def test_weights_can_go_through_a_folder_which_is_left_empty(replicas: list[Replica], tmp_path: Path) -> None:
    other = served(urls=[replicas[1].url], weights_folder=str(tmp_path))
    other.push(1)
    assert len(list(tmp_path.iterdir())) == 1
    assert other.logprob_error(ASKED[:1], other.sample(ASKED[:1], max_new_tokens=8), 1.0) < 1e-3
    other.engine.close()
    assert not list(tmp_path.iterdir())


def test_weights_that_cannot_be_written_are_an_error(replicas: list[Replica], tmp_path: Path) -> None:
    other = served(urls=[replicas[1].url], weights_folder=str(tmp_path / "none"))
    with pytest.raises(EngineError, match=r"cannot be written.*vllm\.weights_folder"):
        other.push(1)
    other.engine.close()


def test_an_address_without_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'10\.0\.0\.2:8000'.*http://"):
        Subject("vllm_server", tied=True, urls=["10.0.0.2:8000"])


def test_a_server_that_cannot_start_is_one_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = uuid4().hex
    monkeypatch.setenv("REASONRL_TEST", mark)
    with pytest.raises(EngineError) as caught:
        Subject("vllm_server", tied=True, replicas=2, options={"attention_backend": "FLASH_ATTN_9"})
    message = str(caught.value)
    assert "vLLM server 1 ended while it started (exit code" in message
    assert "FLASH_ATTN_9" in message
    log = Path(message.partition("The end of ")[2].partition(":\n")[0])
    assert log.is_file()
    assert _processes(mark) == []


@dataclass(frozen=True)
class Given:
    """A server that is started as docs/vllm.md says, always at one address."""

    url: str
    process: ServerProcess


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Callable[..., Given]]:
    """Makes servers that are not the engine's."""
    made: list[ServerProcess] = []

    def make(**changes: Any) -> Given:
        model, port = model_for_engines(), _free_port()
        write_model_folder(tmp_path / "model", model.config, letter_tokenizer())
        small = {"block_size": 32, "kv_cache_memory_bytes": 2**27, "enable_chunked_prefill": False}
        usual = {"dtype": "float32", "load_format": "dummy", "enforce_eager": True, **small}
        options = flags({"model": str(tmp_path / "model"), **usual, **needed_arguments("file"), **changes})
        command = [sys.executable, "-m", MODULE, "--host", "127.0.0.1", "--port", str(port), *options]
        mode = "0" if changes.get("max_model_len") else "1"
        environment = {"VLLM_SERVER_DEV_MODE": mode, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        made.append(ServerProcess(lambda _: command, environment, tmp_path / "server.log"))
        return Given(f"http://127.0.0.1:{port}", made[-1])

    yield make
    for process in made:
        process.terminate()


def test_a_given_server_that_is_lost_is_waited_for_and_used_again(given: Callable[..., Given]) -> None:
    server = given()
    server.process.launch()
    subject = Subject("vllm_server", tied=True, urls=[server.url])
    subject.push(3)
    expected = subject.sample(ASKED, **SAMPLING)

    def replace_server() -> None:
        time.sleep(0.5)
        os.kill(server.process._group, signal.SIGKILL)
        time.sleep(1)
        server.process.terminate()
        server.process.launch()

    thread = Thread(target=replace_server)
    thread.start()
    got = subject.sample(ASKED, **SAMPLING)
    thread.join()
    _require_same(got, expected)
    assert subject.engine._replicas[0].num_restarts >= 1  # type: ignore[attr-defined]  # the Protocol has none
    subject.engine.close()
    assert server.process.exit_code is None


@pytest.mark.parametrize(
    ("changes", "lack"),
    [
        ({"max_model_len": 128}, "takes no weights: it is not in development mode"),
        ({"logprobs_mode": "raw_logprobs"}, "gives raw_logprobs, not the log-probabilities of what it samples from"),
    ],
)
def test_a_given_server_that_cannot_be_trained_with_is_refused(
    given: Callable[..., Given], changes: dict[str, Any], lack: str
) -> None:
    server = given(**changes)
    server.process.launch()
    hint = r"VLLM_SERVER_DEV_MODE=1 python -m .* --logprobs-mode processed_logprobs .*WorkerExtension"
    with pytest.raises(EngineError, match=rf"^the vLLM server at {server.url} {lack}\. Start it so: {hint}"):
        Subject("vllm_server", tied=True, urls=[server.url])


TRAINER = """
import sys
sys.path.insert(0, {tests!r})
from contextlib import closing
from engine_cases import *
from test_vllm_server import ASKED

if __name__ == "__main__":
    print("starting", flush=True)
    subject = Subject("vllm_server", tied=True)
    with closing(subject.engine):
        subject.push(0)
        print("sampling", flush=True)
        while True:
            subject.sample(ASKED, max_new_tokens=120)
"""


@pytest.mark.parametrize("moment", ["starting", "sampling"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_trainer(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    mark, script = uuid4().hex, tmp_path / "trainer.py"
    script.write_text(TRAINER.format(tests=str(Path(__file__).parent)))
    command, environment = [sys.executable, str(script)], {**os.environ, "REASONRL_TEST": mark}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        assert any(line.startswith(moment) for line in trainer.stdout)
        until = time.monotonic() + 60
        while len(_processes(mark)) < 3 and time.monotonic() < until:  # trainer, supervisor and server
            time.sleep(0.1)
        time.sleep(2)
        assert len(_processes(mark)) >= 3
        trainer.send_signal(number)
        trainer.wait()
    until = time.monotonic() + 10
    while _processes(mark) and time.monotonic() < until:
        time.sleep(0.2)
    assert _processes(mark) == []


RUN = """
model: tiny
task: {name: arithmetic, params: {num_problems: 200, min_terms: 3}}
template: r1_zero
rewards: [numeric_answer]
rollout: {engine: vllm_server, prompts_per_step: 8, samples_per_prompt: 8, max_new_tokens: 80}
learner: {learning_rate: 0.001}
vllm: {cpu_kv_cache_gib: 0.25}
run: {steps: 4, checkpoint_every: 4}
"""


def test_a_run_whose_server_is_killed_goes_on_with_the_rewards_of_the_undisturbed_one(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REASONRL_TEST", mark := uuid4().hex)
    calm = _rewards("calm")
    killed: list[int] = []
    killer = Thread(target=_kill_after_step, args=(2, Path("runs/killed/metrics.jsonl"), mark, killed))
    killer.start()
    assert _rewards("killed") == calm
    killer.join()
    assert len(killed) == 1
    assert len(set(calm)) > 1
    assert _processes(mark) == []


def _rewards(name: str) -> list[tuple[float, float]]:
    """Train a run; return the reward and the length of completions of every step."""
    Path(f"{name}.yaml").write_text(f"name: {name}\n{RUN}")
    assert start_run(Path(f"{name}.yaml"), [], [], argv=["test"]) == "finished"
    lines = map(json.loads, Path("runs", name, "metrics.jsonl").read_text().splitlines())
    return [(line["reward/mean"], line["completion/length_mean"]) for line in lines if "reward/mean" in line]


def _kill_after_step(step: int, metrics: Path, mark: str, killed: list[int]) -> None:
    """Kill the server of a run while it samples the step after this one."""
    while not metrics.is_file() or f'"step": {step},' not in metrics.read_text():
        time.sleep(0.01)
    time.sleep(0.3)
    leaders = [process for process in _processes(mark) if os.getpgid(process) == process != os.getsid(process)]
    servers = [process for process in leaders if b"api_server" in Path(f"/proc/{process}/cmdline").read_bytes()]
    for process in servers:  # which lead groups, as reward workers do; a supervisor leads a session
        os.kill(process, signal.SIGKILL)
        killed.append(process)
