"""Who is one of several processes, what a launcher may ask for, and what is refused before anything is started."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from builders import run_config

from reasonrl.config.learner import ParallelSettings
from reasonrl.distributed.accelerate_launch import accelerate_settings, overrides_of, require_all_started
from reasonrl.distributed.environment import Launch, forget_launch, launch
from reasonrl.distributed.processes import require_processes
from reasonrl.errors import ConfigError

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "first",
    "MASTER_PORT": "1234",
}
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_DYNAMO_BACKEND": "no",
    "FSDP_VERSION": "2",
    "FSDP_SHARDING_STRATEGY": "FULL_SHARD",
    "FSDP_RESHARD_AFTER_FORWARD": "false",
    "FSDP_OFFLOAD_PARAMS": "true",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "Qwen2DecoderLayer",
    "FSDP_FORWARD_PREFETCH": "false",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_USE_ORIG_PARAMS": "true",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    "FSDP_ACTIVATION_CHECKPOINTING": "true",
    "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": "false",
}
"""What ``accelerate launch --use_fsdp`` leaves in the environment."""


def test_torchrun_says_which_process_this_is() -> None:
    found = Launch.read(TORCHRUN)
    assert (found.rank, found.num_ranks, found.local_rank, found.local_num_ranks) == (3, 4, 1, 2)
    assert (found.address, found.port) == ("first", 1234)


@pytest.mark.parametrize(
    ("rank", "size", "local"),
    [
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
        ("PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),
    ],
)
def test_mpirun_says_it_in_its_own_words(rank: str, size: str, local: str) -> None:
    found = Launch.read({rank: "1", size: "2", local: "2"})
    assert (found.rank, found.num_ranks, found.address) == (1, 2, "127.0.0.1")
    assert found.variables == {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}


def test_a_process_that_nobody_launched_is_alone() -> None:
    assert Launch.read({"MASTER_ADDR": "somewhere"}).num_ranks == 1
    assert Launch.read({**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"}).rank == 0


def test_processes_of_several_machines_must_be_told_where_the_first_is() -> None:
    with pytest.raises(ConfigError, match="set MASTER_ADDR to the host of rank 0"):
        Launch.read({name: value for name, value in TORCHRUN.items() if name != "MASTER_ADDR"})
    with pytest.raises(ConfigError, match="not which one this is"):
        Launch.read({"WORLD_SIZE": "2"})


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is one of four."""
    for name, value in {**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True", **FSDP}.items():
        monkeypatch.setenv(name, value)
    launch.cache_clear()
    yield
    launch.cache_clear()


@pytest.mark.usefixtures("as_rank")
def test_what_a_rank_starts_does_not_take_itself_for_a_rank() -> None:
    forget_launch()
    assert not {*TORCHRUN, *FSDP, "TORCHELASTIC_USE_AGENT_STORE"} & {*os.environ}
    assert launch().rank == 3  # but this one is


def test_accelerates_settings_are_those_of_the_run() -> None:
    settings = accelerate_settings(FSDP)
    assert settings == {
        "model.compute_dtype": "bfloat16",
        "model.gradient_checkpointing": True,
        "learner.parallel.strategy": "fsdp2",
        "learner.parallel.reshard_after_forward": False,
        "learner.parallel.cpu_offload": True,
    }
    assert sorted(overrides_of(settings, run_config())) == [
        "learner.parallel.cpu_offload=true",
        "learner.parallel.reshard_after_forward=false",
        "learner.parallel.strategy=fsdp2",
        "model.compute_dtype=bfloat16",
        "model.gradient_checkpointing=true",
    ]


def test_accelerate_without_a_choice_leaves_the_run_as_it_is() -> None:
    assert accelerate_settings({"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO"}) == {}
    assert accelerate_settings({"ACCELERATE_USE_CPU": "True"}) == {"model.device": "cpu"}


REFUSED: list[tuple[Mapping[str, str], str]] = [
    ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed"),
    ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
    ({"PJRT_DEVICE": "TPU"}, "TPU"),
    ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "mixed_precision: fp16"),
    ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "dynamo_backend: inductor"),
    ({"PARALLELISM_CONFIG_TP_SIZE": "2"}, "parallelism_config_tp_size: 2"),
    ({**FSDP, "FSDP_VERSION": "1"}, "fsdp_version: 1.*--fsdp_version 2"),
    ({**FSDP, "FSDP_SHARDING_STRATEGY": "HYBRID_SHARD"}, "fsdp_sharding_strategy: HYBRID_SHARD"),
    ({**FSDP, "FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}, "fsdp_auto_wrap_policy: SIZE_BASED_WRAP"),
    ({**FSDP, "FSDP_TRANSFORMER_CLS_TO_WRAP": "Qwen2MLP"}, "fsdp_transformer_cls_to_wrap: Qwen2MLP"),
    ({**FSDP, "FSDP_BACKWARD_PREFETCH": "BACKWARD_POST"}, "fsdp_backward_prefetch: BACKWARD_POST"),
    ({**FSDP, "FSDP_FORWARD_PREFETCH": "true"}, "fsdp_forward_prefetch: true"),
    ({**FSDP, "FSDP_USE_ORIG_PARAMS": "false"}, "fsdp_use_orig_params: false"),
    ({**FSDP, "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": "true"}, "fsdp_activation_checkpointing_offload: true"),
    ({**FSDP, "FSDP_IGNORED_MODULES": "lm_head"}, "fsdp_ignored_modules: lm_head"),
]


@pytest.mark.parametrize(("environ", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_what_accelerate_offers_and_a_run_has_not_is_refused_by_name(environ: Mapping[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        accelerate_settings(environ)


def test_a_run_file_and_accelerate_must_not_contradict_each_other() -> None:
    told = {"model.compute_dtype": "bfloat16", "learner.parallel.strategy": "fsdp2"}
    one = run_config(model={"name": "tiny", "compute_dtype": "float32"})
    with pytest.raises(ConfigError, match=r"model.compute_dtype is float32, but accelerate was told bfloat16"):
        overrides_of(told, one)
    two = run_config(learner={"parallel": {"strategy": "ddp"}})
    with pytest.raises(ConfigError, match=r"learner.parallel.strategy is ddp, but accelerate was told fsdp2"):
        overrides_of(told, two)
    same = run_config(learner={"parallel": {"strategy": "fsdp2"}}, model={"name": "tiny", "compute_dtype": "auto"})
    assert overrides_of(told, same) == ["model.compute_dtype=bfloat16"]


def test_another_number_of_processes_than_was_asked_for_is_an_error() -> None:
    require_processes(ParallelSettings(processes=2), 2, found=2)
    with pytest.raises(ConfigError, match=r"--processes is 4, but there are 2 processes.*--nproc-per-node 4"):
        require_processes(ParallelSettings(), 4, found=2)
    with pytest.raises(ConfigError, match=r"learner.parallel.processes is 2, but this process is the only one"):
        require_processes(ParallelSettings(processes=2), None, found=1)


def test_the_only_process_of_an_accelerate_launch_for_several_is_an_error() -> None:
    left = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    with pytest.raises(ConfigError, match=r"asked for several processes and has started one.*mpirun"):
        require_all_started(left)
    require_all_started({**left, "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"})  # accelerate's mpirun
    require_all_started({"ACCELERATE_MIXED_PRECISION": "no"})


COMMANDS = """
import json, os, shlex, sys
from reasonrl import commands
from reasonrl.distributed.environment import launch
for line in open('lines'):
    environ, line = json.loads(line)
    os.environ.update(environ)
    launch.cache_clear()
    sys.argv = ['reasonrl', *shlex.split(line)]
    try:
        commands.main()
    except SystemExit as error:
        sys.stderr.write(f'\\x1eended {error.code} {"torch" in sys.modules}\\x1e')
    for name in environ:
        del os.environ[name]
"""
RUN = "name: a\nmodel: tiny\ntask: arithmetic\ntemplate: plain\nrewards: [numeric_answer]\nrun: {steps: 3}\n"
FIRST = {**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"}

MISTAKES = [
    ({}, "train a.yaml --processes 2 rollout.engin=x", "Did you mean 'engine'?"),
    ({}, "train a.yaml --processes 2 learner.parallel.processes=4", "learner.parallel.processes is 4, but there are 2"),
    ({}, "train a.yaml learner.parallel.processes=4", "learner.parallel.processes is 4, but this process is the only"),
    ({}, "train --resume gone --processes 2", "gone is not a run directory"),
    ({}, "train a.yaml --processes 0", "greater than or equal to 1"),
    (FIRST, "train a.yaml --processes 2", "--processes is 2, but there are 4 processes"),
    (FIRST, "eval tiny --suites arithmetic", "only reasonrl train is shared out among several"),
    (FIRST, "rm train a.yaml", "4 processes were started"),
    (FSDP, "train a.yaml learner.parallel.strategy=ddp", "but accelerate was told fsdp2"),
    ({"ACCELERATE_USE_DEEPSPEED": "true"}, "train a.yaml", "DeepSpeed"),
]


def test_mistakes_in_a_launch_are_found_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RUN)
    (tmp_path / "lines").write_text("\n".join(json.dumps([environ, line]) for environ, line, _ in MISTAKES))
    done = subprocess.run([sys.executable, "-c", COMMANDS], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    found = re.findall(r"(.*?)\x1eended (\d+) (\w+)\x1e", done.stderr, re.DOTALL)
    assert len(found) == len(MISTAKES), done.stderr
    for (said, code, has_torch), (_, line, wanted) in zip(found, MISTAKES, strict=True):
        assert wanted in " ".join(said.split()), (line, said)
        assert code in ("2", "5"), line
        assert has_torch == "False", line
