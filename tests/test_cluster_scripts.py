"""The files under `tools/cluster/`: what they start is what the run accepts, and they agree with one another."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from reasonrl.engines.vllm.launch import MODULE, flags, needed_arguments

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / "tools" / "cluster"
HOST: Final = FOLDER / "host.sh"


def _host(number: int, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = ["bash", str(HOST), str(number), "run.yaml", "runs/mine"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def _words(text: str) -> list[str]:
    return shlex.split(text.replace("\\\n", " "), comments=True)


@pytest.mark.parametrize("name", ["host.sh", "slurm.sbatch"])
def test_scripts_are_shell(name: str) -> None:
    subprocess.run(["bash", "-n", str(FOLDER / name)], check=True)


@pytest.mark.parametrize("path", [HOST, ROOT / "docs" / "scale.md"], ids=lambda path: path.name)
def test_a_vllm_server_is_started_so_that_a_run_takes_it(path: Path) -> None:
    text = path.read_text().replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if MODULE in line)
    words = _words(line)
    for name, value in zip(*[iter(flags(needed_arguments("file")))] * 2, strict=True):
        assert words[words.index(name) + 1] == value


@pytest.mark.parametrize(("learners", "sandboxes"), [("0", "0"), ("3", "0"), ("2", "1")])
def test_hosts_that_are_too_few_are_refused_before_anything_starts(learners: str, sandboxes: str) -> None:
    done = _host(0, HOSTS="a b", LEARNERS=learners, SANDBOXES=sandboxes)
    assert done.returncode == 2
    assert f"of 2 hosts (HOSTS), {learners} cannot learn (LEARNERS) and {sandboxes} run programs" in done.stderr


@pytest.mark.parametrize(
    ("number", "missing"), [(0, "SANDBOX_URLS: names the setting"), (1, "MODEL: is what the vLLM servers load")]
)
def test_what_a_hosts_part_needs_is_named(number: int, missing: str) -> None:
    done = _host(number, HOSTS="a b c", LEARNERS="1", SANDBOXES="1")
    assert done.returncode != 0
    assert missing in done.stderr


def test_the_pods_of_the_job_are_those_that_host_sh_is_told_of() -> None:
    service, job = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    name, spec = job["metadata"]["name"], job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    pods = [f"{name}-{index}.{service['metadata']['name']}" for index in range(spec["completions"])]
    assert environment["HOSTS"].split() == pods
    assert spec["parallelism"] == len(pods)
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    require_known(environment)


def test_the_nodes_of_the_task_are_told_what_host_sh_reads() -> None:
    task = yaml.safe_load((FOLDER / "sky.yaml").read_text())
    assert task["num_nodes"] > int(task["envs"]["LEARNERS"]) + int(task["envs"]["SANDBOXES"])
    require_known(task["envs"])


def require_known(environment: dict[str, Any]) -> None:
    """Fail where a variable is set that nothing reads. Any: as YAML has it."""
    read = HOST.read_text() + (FOLDER / "sky.yaml").read_text().partition("\nrun:")[2]
    assert [name for name in environment if name not in read and name != "HF_HOME"] == []
