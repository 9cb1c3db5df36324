r"""GSM8K on every engine of `reasonrl eval` and on lm-eval: samples a second, equal answers, a killed evaluation.

Greedy, float32, the same prompts, limits, batch size and threads for all. Each side is a process of its own, loaded
and warmed up before; then all measure the same part of the problems in turn, while the others wait, part after part.
CPU time is that of a side's processes, its workers and its server included: on a busy machine it says more than the
clock.

  reasonrl models get smollm2-135m-instruct
  pip install --no-deps --target FOLDER lm-eval evaluate sacrebleu scikit-learn narwhals joblib threadpoolctl nltk \
    sqlitedict jsonlines pytablewriter tabledata typepy DataProperty mbstrdecoder pathvalidate tcolorpy tabulate \
    rouge-score absl-py word2number more_itertools portalocker colorama lxml chardet python-dateutil pytz
  python benchmarks/evaluation_engines.py --data gsm8k_test.jsonl --lm-eval FOLDER

Answers that differ are looked at: where two engines part, the model's logits of the two tokens are compared; a gap
below :data:`TIE` is rounding. Ends with an error where one differs by more, a killed evaluation has a sample twice or
not at all, or a side of ours is slower than lm-eval.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeAlias

import torch
from measuring import machine

from reasonrl.config.settings import SuiteRef
from reasonrl.engines import Request
from reasonrl.engines.vllm.launch import MODULE
from reasonrl.engines.vllm.replica import Replica, ServerProcess
from reasonrl.evaluation.measure import measure
from reasonrl.models import locate
from reasonrl.models.load import load_model, load_tokenizer
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.evaluation_source import open_source
from reasonrl.run.inputs import load_suite
from reasonrl.scoring.metrics import start_metrics
from reasonrl.types import Problem, Trajectory
from reasonrl_grading.answers import MARKED_AND_PROSE

TIE = 1e-3
"""Logits closer than this are equal but for rounding."""

WARM_UP = 2
"""Problems that each side measures before: vLLM compiles a kernel at its first token."""

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    data: str
    model: str
    problems: int
    max_new_tokens: int
    batch: int
    parts: int
    lm_eval: str | None
    threads: int

    def suite(self) -> Suite:
        """Load the problems, and after them those for warming up."""
        ref = SuiteRef(
            name="gsm8k",
            params={"data": self.data, "sources": MARKED_AND_PROSE},  # lm-eval and math-verify read prose too
            max_new_tokens=self.max_new_tokens,
            temperature=0.0,
            num_samples=1,
        )
        whole = load_suite(ref, Plugins())
        return replace(whole, problems=whole.problems[: self.problems + WARM_UP])


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a side says of a part of the problems."""

    seconds: float
    cpu_s: float
    values: Mapping[str, float]
    """What the side's own metric gives, by problem."""
    tokens: Mapping[str, Sequence[int]]
    """The completions; lm-eval tells texts alone."""
    texts: Mapping[str, str]


Measuring: TypeAlias = Generator[Any, Sequence[Problem], None]
"""Yields what a side says of itself, and is then sent problems and yields what it measured. Any: JSON."""


# Sides: each is this program with --side, and is told which problems.


def run_side(name: str, options: Options, url: str) -> None:
    """Load, say so, and measure the parts that are asked for on standard input."""
    torch.set_num_threads(options.threads)
    suite = options.suite()
    measured = lm_eval_side(suite, options) if name == "lm-eval" else our_side(url or name, suite, options)
    facts = next(measured)
    measured.send(suite.problems[options.problems :])
    print(json.dumps({"ready": facts}), flush=True)
    for line in sys.stdin:
        start, stop = json.loads(line)
        print(json.dumps(measured.send(suite.problems[start:stop])), flush=True)


class Recording:
    """An engine that keeps what it samples. Any: what the engine has beside ``generate``."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.sampled: list[tuple[Request, Trajectory]] = []

    async def generate(self, request: Request) -> Trajectory:
        """Sample."""
        trajectory: Trajectory = await self._engine.generate(request)
        self.sampled.append((request, trajectory))
        return trajectory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def our_side(engine: str, suite: Suite, options: Options) -> Measuring:
    """Measure as `reasonrl eval` does. Any: JSON."""
    plugins = Plugins()
    with start_metrics([suite]) as metrics:
        here: dict[str, Any] = {} if "://" in engine else {"dtype": "float32", "device": "cpu"}
        source: Any = open_source(options.model, engine, [suite], plugins=plugins, max_concurrent=options.batch, **here)
        recording = Recording(source.engine)
        source = replace(source, engine=recording)
        answer: Any = {"engine": source.name, **source.facts}
        while True:
            problems = yield answer
            recording.sampled.clear()
            began = time.perf_counter()
            part = replace(suite, problems=problems)
            result = measure(part, source, metrics=metrics, seed=0, max_concurrent=options.batch)
            seconds = time.perf_counter() - began
            by_seed = {trajectory.seed: trajectory for _, trajectory in recording.sampled}
            assert len(recording.sampled) == len(result.rows), "every sample once"
            answer = {
                "seconds": seconds,
                "values": {row.problem_id: row.value for row in result.rows},
                "tokens": {row.problem_id: by_seed[row.seed].token_ids for row in result.rows},
                "texts": {row.problem_id: row.completion for row in result.rows},
            }


def lm_eval_side(suite: Suite, options: Options) -> Measuring:
    """Measure with lm-eval's transformers back end. Any: lm-eval's own classes, and JSON."""
    lm_eval: Any = import_module("lm_eval")
    backend: Any = import_module("lm_eval.models.huggingface")
    renderer = Renderer(load_tokenizer(options.model), find_template(suite.template, Plugins()))
    folder = Path(tempfile.mkdtemp(prefix="reasonrl-lm-eval-"))
    documents = [
        {"id": problem.id, "text": renderer.messages(problem)[-1]["content"], "answer": problem.answer}
        for problem in suite.problems
    ]
    (folder / "test.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
    task = {
        "task": "gsm8k_here",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "test.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{text}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["<|im_end|>"], "do_sample": False, "max_gen_toks": options.max_new_tokens},
        "metric_list": [{"metric": "exact_match", "regexes_to_ignore": [",", r"\$"], "ignore_case": True}],
        "filter_list": [
            {
                "name": "flexible-extract",
                "filter": [
                    {"function": "regex", "group_select": -1, "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)"},
                    {"function": "take_first"},
                ],
            }
        ],
    }
    model = backend.HFLM(
        pretrained=locate(options.model), dtype="float32", device="cpu", batch_size=options.batch, max_length=2048
    )
    index_of = {problem.id: index for index, problem in enumerate(suite.problems)}
    answer: Any = {name: version(name) for name in ("lm-eval", "transformers")} | {"dtype": str(model.model.dtype)}
    while True:
        problems = yield answer
        began = time.perf_counter()
        found: Any = lm_eval.simple_evaluate(
            model=model,
            tasks=[task],
            samples={"gsm8k_here": [index_of[problem.id] for problem in problems]},
            apply_chat_template=True,
            bootstrap_iters=0,
            verbosity="ERROR",
        )
        samples = found["samples"]["gsm8k_here"]
        answer = {
            "seconds": time.perf_counter() - began,
            "values": {sample["doc"]["id"]: sample["exact_match"] for sample in samples},
            "tokens": {},
            "texts": {sample["doc"]["id"]: sample["resps"][0][0] for sample in samples},
        }


# The program that starts the sides.


class Side:
    """A side in a process of its own. Any: settings of the process."""

    def __init__(self, name: str, options: Options, arguments: Sequence[str], url: str = "", server: int = 0) -> None:
        self.name = name
        self.parts: list[Part] = []
        self._server = server
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
        if name == "lm-eval" and options.lm_eval:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [options.lm_eval, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, __file__, *arguments, "--side", name, "--url", url]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.facts = self._read()["ready"]
        """What the side says of itself."""

    def measure(self, start: int, stop: int) -> None:
        """Measure some of the problems."""
        assert self._process.stdin is not None
        before = self._cpu_s()
        self._process.stdin.write(json.dumps([start, stop]) + "\n")
        self._process.stdin.flush()
        self.parts.append(Part(**self._read(), cpu_s=self._cpu_s() - before))

    def _read(self) -> Any:
        """Return the next line that is ours: libraries print too. Any: JSON."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"side {self.name} ended: see above")

    def _cpu_s(self) -> float:
        return sum(cpu_seconds(pid) for pid in (self._process.pid, self._server) if pid)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    @property
    def seconds(self) -> float:
        """Time of all parts."""
        return sum(part.seconds for part in self.parts)

    @property
    def cpu_s(self) -> float:
        """CPU time of all parts."""
        return sum(part.cpu_s for part in self.parts)

    def joined(self, what: str) -> dict[str, Any]:
        """Return the values, tokens or texts of all parts. Any: which of them."""
        return {key: value for part in self.parts for key, value in getattr(part, what).items()}


def cpu_seconds(root: int) -> float:
    """Return the CPU time of a process and of all that came of it."""
    times, parents = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            times[int(folder.name)] = sum(map(int, fields[11:15])) / TICK  # with children that have ended
            parents[int(folder.name)] = int(fields[1])

    def is_below(pid: int) -> bool:
        while pid and pid != root:
            pid = parents.get(pid, 0)
        return pid == root

    return sum(seconds for pid, seconds in times.items() if is_below(pid))


@contextmanager
def vllm_server(options: Options) -> Iterator[tuple[str, int]]:
    """Run `vllm serve` as anybody would, and yield its address and process; it ends with this one."""

    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-P", "-m", MODULE, "--model", locate(options.model)),
            *("--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", "1024"),
            *("--max-num-seqs", str(options.batch), "--enforce-eager", "--block-size", "32"),
            *("--kv-cache-memory-bytes", str(4 << 30), "--no-enable-chunked-prefill"),
        ]

    variables = {
        "OMP_NUM_THREADS": str(options.threads),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with tempfile.TemporaryDirectory(prefix="reasonrl-server-") as folder:
        process = ServerProcess(command, variables, Path(folder) / "log")
        server = Replica("the vLLM server", process, "", 900.0)
        server.launch()
        try:
            server.wait_until_ready(lambda: None)
            yield server.url, process._group
        finally:
            server.close()


# What is compared.


def disagreements(first: Side, second: Side, options: Options, model: Any) -> tuple[int, int, list[str]]:
    """Return how many completions differ, how many of them by a tie, and a line for each of the others.

    Any: a transformers model.
    """
    suite = options.suite()
    renderer = Renderer(load_tokenizer(options.model), find_template(suite.template, Plugins()))
    problems = {problem.id: problem for problem in suite.problems}
    ours, theirs, gaps = first.joined("tokens"), second.joined("tokens"), {}
    for problem_id in ours:
        one, other = ours[problem_id], theirs[problem_id]
        if one != other:
            common = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
            prompt = renderer.render(problems[problem_id])[1]
            gaps[problem_id] = _gap(model, (*prompt, *one[:common]), one[common], other[common])
    real = [f"  {problem_id}: logits {gap:.4f} apart" for problem_id, gap in gaps.items() if gap > TIE]
    return len(gaps), len(gaps) - len(real), real


@torch.no_grad()
def _gap(model: Any, context: Sequence[int], one: int, other: int) -> float:
    logits = model(input_ids=torch.tensor([context]), logits_to_keep=1).logits[0, -1]
    return float((logits[one] - logits[other]).abs())


def beside_math_verify(side: Side, options: Options) -> Iterator[str]:
    """Yield what our metric and math-verify say of the same completions."""
    from math_verify import parse, verify

    values, texts = side.joined("values"), side.joined("texts")
    answers = {problem.id: problem.answer for problem in options.suite().problems}
    theirs = {key: float(verify(parse(f"${answers[key]}$"), parse(texts[key]))) for key in texts}
    both = sum(values[key] == theirs[key] for key in texts)
    yield (
        f"our metric {sum(values.values())} of {len(texts)}, math-verify {sum(theirs.values())}: "
        f"{len(texts) - both} disagreements"
    )
    for key in texts:
        if values[key] != theirs[key]:
            yield f"  {key}: ours {values[key]:g}, math-verify {theirs[key]:g}, gold {answers[key]!r}, text ends:"
            yield f"    {' '.join(texts[key].split())[-160:]!r}"


def killed_and_resumed(options: Options, engine: str) -> str:
    """Kill `reasonrl eval` in the middle, give the command again, and count its samples."""
    with tempfile.TemporaryDirectory(prefix="reasonrl-killed-") as folder:
        command = [
            *(sys.executable, "-m", "reasonrl", "eval", options.model, "--suite", "gsm8k", "--data", options.data),
            *("--limit", str(min(options.problems, 40)), "--max-new-tokens", "48"),
            *("--engine", engine, "--out", folder, "--temperature", "0", "--max-concurrent", "8"),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        total = min(options.problems, 40)
        while _num_rows(folder) < total // 4 and process.poll() is None:
            time.sleep(0.05)
        process.kill()
        process.wait()
        kept = _num_rows(folder)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = [json.loads(line) for line in _samples(folder).read_text().splitlines()]
        ids = [row["problem_id"] for row in rows]
        if not kept or len(set(ids)) != len(ids) or len(ids) != total:
            raise SystemExit(f"killed with {kept} rows, resumed: {len(ids)} rows of {len(set(ids))} problems")
        return f"killed with {kept} of {len(ids)} rows, resumed: every sample once"


def _samples(folder: str) -> Path:
    return next(Path(folder).rglob("samples.jsonl"), Path(folder, "none"))


def _num_rows(folder: str) -> int:
    samples = _samples(folder)
    return samples.read_bytes().count(b"\n") if samples.exists() else 0


def main() -> None:
    """Measure all sides, print the tables, and end with the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="GSM8K's test split: a JSON Lines file or a folder")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--parts", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lm-eval", help="folder that lm-eval is installed in; left out where it is importable")
    parser.add_argument("--sides", default="local,vllm,url,lm-eval")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    fields = {name: getattr(given, name) for name in Options.__slots__}
    options = Options(**fields)
    if given.side:
        return run_side(given.side, options, given.url)
    set_ones = {f"--{name.replace('_', '-')}": str(value) for name, value in fields.items() if value}
    arguments = [part for pair in set_ones.items() for part in pair]
    return compare(options, arguments, given.sides.split(","))


def compare(options: Options, arguments: Sequence[str], names: Sequence[str]) -> None:
    """Measure all sides in turn and print what was found."""
    torch.set_num_threads(options.threads)
    print("\n".join(machine()))
    print(
        f"{options.model}, GSM8K test, {options.problems} problems, greedy, float32, at most {options.max_new_tokens} "
        f"tokens, batch {options.batch}, {options.threads} thread(s), {options.parts} parts in turn"
    )
    with ExitStack() as opened:
        url, server = opened.enter_context(vllm_server(options)) if "url" in names else ("", 0)
        sides = {}
        for name in names:
            is_url = name == "url"
            sides[name] = Side(name, options, arguments, url if is_url else "", server if is_url else 0)
            opened.callback(sides[name].close)
            print(f"  {name}: {', '.join(f'{key} {value}' for key, value in sides[name].facts.items())}", flush=True)
        for part in range(options.parts):
            bounds = [round(options.problems * place / options.parts) for place in (part, part + 1)]
            order = list(sides.values())
            for side in order[part % len(order) :] + order[: part % len(order)]:
                side.measure(*bounds)
                print(f"  part {part + 1}: {side.name} {side.parts[-1].seconds:.1f} s", flush=True)
        for name, engine in {"local": "local", "url": url}.items():
            if name in names:
                print(f"{name}: {killed_and_resumed(options, engine)}", flush=True)
    report(sides, options)


def report(sides: Mapping[str, Side], options: Options) -> None:
    """Print the tables and the headline; raise where something is not as it should be."""
    print(f"\n{'side':<10}{'seconds':>9}{'samples/s':>11}{'CPU s':>9}{'samples/CPU s':>15}{'right':>7}")
    for name, side in sides.items():
        right = sum(side.joined("values").values())
        print(
            f"{name:<10}{side.seconds:>9.1f}{options.problems / side.seconds:>11.2f}{side.cpu_s:>9.1f}"
            f"{options.problems / side.cpu_s:>15.2f}{right:>7.0f}"
        )
    problems = []
    if "local" in sides:
        model = load_model(options.model, torch.device("cpu"))
        for name in ("vllm", "url"):
            if name in sides:
                differ, ties, real = disagreements(sides["local"], sides[name], options, model)
                print(f"local and {name}: {differ} completions differ, {ties} of them at a tie (logits within {TIE})")
                print(*real, sep="\n", end="\n" if real else "")
                problems += real
        if "lm-eval" in sides:
            ours, theirs = sides["local"].joined("texts"), sides["lm-eval"].joined("texts")
            same = sum(ours[key].strip() == theirs[key].strip() for key in ours)
            print(f"local and lm-eval: {same} of {len(ours)} texts are equal")
        print("\n".join(beside_math_verify(sides["local"], options)))
    if problems:
        raise SystemExit("completions differ by more than rounding")
    headline(sides)


def headline(sides: Mapping[str, Side]) -> None:
    """Print how much faster than lm-eval each side is; raise where one is slower."""
    if "lm-eval" not in sides:
        return
    base = sides["lm-eval"]
    print()
    for name, side in sides.items():
        if side is not base:
            clock, cpu = base.seconds / side.seconds, base.cpu_s / side.cpu_s
            print(f"{name} against lm-eval: {clock:.2f}x by the clock, {cpu:.2f}x by CPU time")
    ratio = min(base.seconds / side.seconds for side in sides.values() if side is not base)
    print(f"samples a second against lm-eval, the slowest of ours: {ratio:.1f}x")
    if ratio < 1:
        raise SystemExit("a side of ours is slower than lm-eval")


if __name__ == "__main__":
    main()
