"""A run of SFT that is measured by vLLM, which is given the weights before each evaluation."""

from pathlib import Path
from typing import Any

import pytest
from conversations import write_run

from reasonrl.run.events import Event, SuiteEvaluated
from reasonrl.run.start import start_run

pytest.importorskip("trl", reason="trains with TRL, which is not installed: pip install 'reasonrl[trl]'")

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]


def completions(folder: Path, *overrides: str) -> list[list[str]]:
    """What a run of two steps answers before the first step and after each."""
    told: list[Event] = []
    short = ["run.steps=2", "evaluation.every=1", "run.checkpoint_every=9", "learner={learning_rate: 0.02}", *overrides]
    assert start_run(write_run(folder, "sft"), short, [told.append], argv=["test"], kind="sft") == "finished"
    return [[row.completion for row in event.result.rows] for event in told if isinstance(event, SuiteEvaluated)]


@pytest.mark.parametrize("lora", [(), ("model.lora.rank=4",)], ids=["all weights", "an adapter"])
def test_vllm_answers_as_the_model_that_learns(in_folder: Path, lora: Any) -> None:
    vllm = ("evaluation.engine=vllm", "vllm.dtype=float32", "vllm.cpu_kv_cache_gib=0.25", "vllm.max_model_len=128")
    own = completions(in_folder, *lora)
    assert own == completions(in_folder, *lora, *vllm, "name=two")
    assert len({str(each) for each in own}) > 1  # it learns, so that old weights would be noticed
