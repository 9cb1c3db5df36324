"""A reward model served by vLLM and the same one in the run's own process."""

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from reward_models import Server, model_folder, scores, step, values, vllm_serve
from test_preference_reward import RUN

from reasonrl.engines.vllm.replica import _free_port
from reasonrl.errors import ModelError, RunError
from reasonrl.run.events import Event, StepFinished
from reasonrl.run.start import resume_run, start_run

pytestmark = pytest.mark.vllm

SERVER = "preference_server"
SENTENCE = "so the sum of 3 and 4 is 7, which is not 12; answer: 9 + 1 = 10"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two heads, whose tokenizer pads with its end-of-sequence token."""
    return model_folder(tmp_path_factory.mktemp("two") / "model", heads=(0, 1))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """vLLM, serving it."""
    server = vllm_serve(folder, _free_port(), folder.parent / "log", "--max-model-len", "256").start()
    try:
        yield server.wait()
    finally:
        server.kill()


def test_vllm_and_this_process_agree(server: Server, folder: Path) -> None:
    generator = random.Random(0)
    texts = [" " + " ".join(generator.choices(SENTENCE.split(), k=generator.randint(0, 60))) for _ in range(20)]
    groups = step("What is 3 + 4?", "1 + 1?", texts=(*texts, " long" * 300))
    for settings in ({"standardize": False, "clip": None}, {"aggregate": "min"}):
        here = scores("preference", groups, model=str(folder), dtype="float32", **settings)
        there = scores(SERVER, groups, url=server.url, protocol="vllm", model=str(folder), **settings)
        assert [score.outcome for score in there] == [score.outcome for score in here]
        assert values(there) == pytest.approx(values(here), abs=1e-3)
        assert {score.outcome for score in here} == {"scored", "unscorable"}


def test_a_server_without_room_for_the_models_texts_is_refused(server: Server, tmp_path: Path) -> None:
    longer = model_folder(tmp_path / "model", max_length=512)
    with pytest.raises(ModelError, match=r"has room for 256 tokens.*start it with --max-model-len 512"):
        scores(SERVER, step(), url=server.url, protocol="vllm", model=str(longer))


def test_a_run_goes_on_when_its_server_is_killed_and_started_again_or_stops_by_name(
    server: Server, folder: Path, in_folder: Path
) -> None:
    params = {"url": server.url, "protocol": "vllm", "model": str(folder), "outage_timeout_s": 0}
    rewards = [{"name": SERVER, "params": params, "retries": 0}]
    settings = {**RUN, "rewards": rewards, "run": {"steps": 4, "checkpoint_every": 1}}
    (in_folder / "run.yaml").write_text(yaml.safe_dump(settings))

    def kill_after_two_steps(event: Event) -> None:
        if isinstance(event, StepFinished) and event.record.step == 2:
            threading.Thread(target=server.kill).start()

    with pytest.raises(RunError, match=r"reward 'preference_server' failed on 8 of 8 samples.*error: "):
        start_run(in_folder / "run.yaml", (), [kill_after_two_steps], argv=["test"])
    server.start().wait()
    assert resume_run(in_folder / "runs/one", (), []) == "finished"
    lines = [json.loads(line) for line in (in_folder / "runs/one/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line[f"scoring/{SERVER}/failure_rate"] == 0 for line in lines)
    assert all(-5 <= line[f"reward/{SERVER}"] <= 5 for line in lines)
