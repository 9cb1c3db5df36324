"""What each of two processes does whose model is divided among them: rank 0 pushes the weights, gathered one by one."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import rank_cases
import torch
from builders import letter_tokenizer, small_llama
from engine_cases import SETTINGS, engine_inputs, model_for_engines, requests, sample
from torch import distributed as dist
from transformers import LlamaForCausalLM

from reasonrl.engines.vllm.server import VLLMServerEngine
from reasonrl.engines.vllm.weight_file import WeightFile, weight_layout
from reasonrl.learner import Learner


def changed_model() -> LlamaForCausalLM:
    """The model of the engine tests with other weights."""
    model = model_for_engines()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.7)
    return model


def large_model() -> LlamaForCausalLM:
    """Sixteen layers of twelve megabytes, in tensors of at most three."""
    return small_llama(hidden_size=512, intermediate_size=1536, num_hidden_layers=16)


def divided(make: Callable[[], LlamaForCausalLM]) -> Learner:
    """A learner whose model is divided among the processes."""
    scenario = rank_cases.Scenario([], {"preset": "dr_grpo"}, make=make)
    learner: Learner = rank_cases.policy(rank_cases.strategy("fsdp2"), scenario)
    return learner


def push(url: str) -> Any:
    """Push a divided model to a server; return what rank 0 then samples, and None elsewhere. Any: completions."""
    learner = divided(changed_model)
    if dist.get_rank():
        for _ in learner.weights():
            pass
        return None
    settings = SETTINGS.model_copy(update={"urls": [url]})
    engine = VLLMServerEngine(engine_inputs(learner.model, letter_tokenizer(), settings))  # type: ignore[arg-type]
    engine.load_weights(learner.weights(), 1)
    got = sample(engine, requests(4), max_new_tokens=8)
    engine.close()
    return got


def memory(folder: Path) -> dict[str, int]:
    """Bytes by which this process grows while the weights of a large divided model are written, and what they have."""
    learner = divided(large_model)
    settings = engine_inputs(learner.model, letter_tokenizer())  # type: ignore[arg-type]  # a Llama
    for _ in learner.weights():  # what torch needs once
        pass
    with _peak() as grown:
        if dist.get_rank():
            for _ in learner.weights():
                pass
        else:
            file = WeightFile(weight_layout(settings), str(folder))
            file.write(learner.weights())
            file.close()
    sizes = [spec.num_bytes for spec in weight_layout(settings).values()]
    return {"peak": grown[0], "largest": max(sizes), "all": sum(sizes)}


@contextmanager
def _peak() -> Iterator[list[int]]:
    """Measure by how many bytes the memory of this process grows at most."""
    done, before, grown = Event(), _resident(), [0]

    def watch() -> None:
        while not done.wait(0.001):
            grown[0] = max(grown[0], _resident() - before)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield grown
    finally:
        done.set()
        thread.join()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def work(rank: int, world: int, folder: str, url: str) -> None:
    """Be one of several processes; rank 0 leaves what it found in a file."""
    torch.set_num_threads(1)
    store, limit = f"file://{folder}/store", timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world, timeout=limit)
    found = {"sampled": push(url), "memory": memory(Path(folder))}
    if rank == 0:
        torch.save(found, Path(folder) / "found.pt")
    dist.barrier()
    dist.destroy_process_group()
