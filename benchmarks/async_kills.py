"""Runs of `async_depths.py` that are killed at random moments and resumed, and where their problems went."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

from async_run import command, environment, settings
from kills import kill_and_resume

from reasonrl.config.settings import RunConfig
from reasonrl.engines.vllm.launch import MODULE, flags, needed_arguments
from reasonrl.engines.vllm.replica import Replica, ServerProcess
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.tasks import load_tasks, problem_order
from reasonrl.types import Problem

MODEL: Final = Path(__file__).parent.parent / "reasonrl" / "models" / "tiny"
START_S: Final = 300.0
KV_BYTES: Final = 2**29
Step: TypeAlias = list[tuple[tuple[str, str], str | None]]
"""Task and id of each problem of a step, with why it was left out if it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killing:
    """How runs are killed."""

    root: Path
    depths: Sequence[int]
    steps: int
    kills: int
    within: int
    """Most steps of a process before its death, which comes at a random moment of the next one."""


def kill_and_count(killing: Killing) -> Iterator[str]:
    """Kill a run of each depth at random moments, resume it each time, and count its problems.

    The servers are not the runs' own, so that they do not have to be started again.
    """
    servers = [_server(killing.root / f"server-{number}.log") for number in (1, 2)]
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.wait_until_ready(lambda: None)
        for depth in killing.depths:
            yield counted(depth, _killed(depth, [server.url for server in servers], killing), killing.kills)
    finally:
        for server in servers:
            server.close()


def _server(log: Path) -> Replica:
    """Return a vLLM server of the tiny model, to be launched."""
    options = {"model": str(MODEL), "served_model_name": "reasonrl", "generation_config": "vllm"}
    on_cpu = {"dtype": "float32", "enforce_eager": True, "block_size": 32, "enable_chunked_prefill": False}
    small = {"max_num_seqs": 64, "kv_cache_memory_bytes": KV_BYTES}
    arguments = [*flags({**options, **on_cpu, **small, **needed_arguments("file")})]
    process = ServerProcess(
        lambda port: [sys.executable, "-m", MODULE, "--host", "127.0.0.1", "--port", str(port), *arguments],
        {
            **environment(),
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        },
        log,
    )
    return Replica(log.stem, process, "", START_S)


def _killed(depth: int, urls: Sequence[str], killing: Killing) -> RunDirectory:
    """Return a finished run of a depth that was killed as often as asked."""
    path = killing.root / "runs" / f"killed-{depth}"
    changed = ["run.checkpoint_every=2", "evaluation.suites=[]", f"vllm.urls=[{', '.join(urls)}]"]
    arguments = ["run.yaml", "--overwrite", *settings(path.name, depth, killing.steps), *changed]
    with (killing.root / f"{path.name}.log").open("w") as log:

        def start(arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
            return subprocess.Popen(
                command(*arguments), cwd=killing.root, env=environment(), stdout=log, stderr=subprocess.STDOUT
            )

        return kill_and_resume(start, arguments, path, kills=killing.kills, within=killing.within, random=Random(depth))


def counted(depth: int, run: RunDirectory, kills: int) -> str:
    """Say how often each of the run's first problems was in a step, and how many were left out by name."""
    steps, config = problems_by_step(run), run.config
    assert isinstance(config, RunConfig), "a run that samples"
    expected = config.run.steps * config.rollout.prompts_per_step
    stream = [(problem.task, problem.id) for problem in _stream(config, expected)]
    counts = Counter(problem for step in steps for problem, _ in step)
    left_out = Counter(reason for step in steps for _, reason in step if reason)
    in_order = [problem for step in steps for problem, _ in step] == stream
    often = dict(Counter(counts[problem] for problem in stream))
    return (
        f"{depth} ahead, {kills} kills: {counts.total()} groups in {len(steps)} steps; the first {expected} problems, "
        f"by how often each came: {often}; others: {len(counts.keys() - set(stream))}; left out by name: "
        f"{dict(left_out) or 'none'}; in the order of the stream: {'yes' if in_order else 'no'}; each exactly once: "
        f"{'yes' if counts == Counter(stream) else 'NO'}"
    )


def problems_by_step(run: RunDirectory) -> list[Step]:
    """Return each step's problems in the order of its file."""
    assert isinstance(run.config, RunConfig), "a run that samples"
    return [_problems(run, step) for step in range(1, run.config.run.steps + 1)]


def _problems(run: RunDirectory, step: int) -> Step:
    groups = groupby(run.read_rollouts(step), key=lambda row: row.group_index)
    first = [next(members) for _, members in groups]
    return [((row.task, row.group_id), row.unused) for row in first]


def _stream(config: RunConfig, count: int) -> list[Problem]:
    """Return the first problems of the run's stream."""
    return problem_order(config, load_tasks(config, Plugins())).at(0, count)
