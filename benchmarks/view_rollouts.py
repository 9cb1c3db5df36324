"""How long `reasonrl view` takes over a run with very many rollouts: the first page, and every kind of filter.

Makes a run directory (128 rollouts a step, eight of each problem, with tokens), starts the command on it and asks over
HTTP as the page does. The index is made once, before the first request is answered whole, and is timed apart.

    python benchmarks/view_rollouts.py
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

from reasonrl.config.settings import RunConfig
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.steps import folder_name

PER_STEP: Final = 128
SIBLINGS: Final = 8
SENTENCES: Final = 20_000
"""Different sentences, of which completions are made."""

NEEDLE: Final = "the needle in step"
"""Begins what stands in one rollout of every hundredth step."""

FIRST_PAGE_S: Final = 0.5
FILTER_S: Final = 1.0
"""What the first page, and a filter, may take."""

REPEATS: Final = 5


def main() -> None:
    """Measure, print a table, and leave with 1 where something took too long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=300_000)
    parser.add_argument("--sentences", type=int, default=10, help="of a completion, about 60 characters each")
    parser.add_argument("--keep", type=Path, help="folder for the run directory, which stays there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "runs"
        if not (folder / "many").exists():
            begun = time.perf_counter()
            make_run(folder, options.rollouts // PER_STEP, options.sentences)
            print(f"made {options.rollouts // PER_STEP * PER_STEP:,} rollouts in {time.perf_counter() - begun:.0f} s")
        size = sum(file.stat().st_size for file in (folder / "many" / "rollouts").iterdir())
        print(f"rollout files: {size / 1e6:,.0f} MB")
        with served(folder, Path(scratch) / "cache") as url:
            sys.exit(0 if measure(url, Path(scratch) / "cache") else 1)


def make_run(root: Path, steps: int, sentences: int) -> None:
    """Write the directory of a run of so many steps."""
    config = RunConfig.model_validate(
        {
            "name": "many",
            "model": "tiny",
            "task": "arithmetic",
            "rewards": ["numeric_answer", {"name": "length", "weight": 0.1}],
            "run": {"steps": steps, "root": str(root)},
        }
    )
    run = RunDirectory.create(config, "name: many\n", environment={"device": "cpu"}, argv=["train"])
    rng = random.Random(0)
    pool = [_sentence(rng) for _ in range(SENTENCES)]
    for step in range(1, steps + 1):
        lines = [_line(rng, pool, step, place, sentences) for place in range(PER_STEP)]
        (run.path / "rollouts" / f"{folder_name(step)}.jsonl").write_text("".join(lines))
        if step % 10 == 0:
            run.append_metrics(step, {"reward/mean": step / steps})
    run.set_status("finished")


def _sentence(rng: random.Random) -> str:
    words = ("".join(rng.choices("etaoinshrdlucmfw", k=rng.randint(2, 8))) for _ in range(rng.randint(6, 14)))
    return f"{' '.join(words).capitalize()} = {rng.randrange(10**6)}. "


def _line(rng: random.Random, pool: Sequence[str], step: int, place: int, sentences: int) -> str:
    """Return one rollout as a line of its file."""
    text = "".join(rng.choices(pool, k=rng.randint(1, 2 * sentences - 1)))
    if step % 100 == 0 and place == 5:
        text += f"{NEEDLE} {step}"
    ends = [*range(4, len(text), 4), len(text)]
    logprobs = [round(-rng.expovariate(3.0), 4) for _ in range(64)] * (len(ends) // 64 + 1)
    right, failed = rng.random() < step / 4000, rng.random() < 0.002
    outcome = "timeout" if failed else "scored"
    record = {
        "schema_version": 2,
        "step": step,
        "group_index": place // SIBLINGS,
        "id": f"{step:x}-{place:x}",
        "group_id": f"{(step * 16 + place // SIBLINGS) % 8000:016x}",
        "sample_index": place % SIBLINGS,
        "task": "arithmetic" if place < 96 else "other",
        "prompt": f"User: {pool[(step * 16 + place // SIBLINGS) % len(pool)] * 4}\nAssistant:",
        "completion": text,
        "completion_tokens": len(ends),
        "segments": [{"num_tokens": len(ends), "policy_version": step - 1}],
        "policy_version": step - 1,
        "logprob_sum": round(sum(logprobs[: len(ends)]), 4),
        "finish_reason": "length" if rng.random() < 0.03 else "stop",
        "seed": rng.getrandbits(62),
        "answer": str(rng.randrange(100)),
        "rewards": {
            "numeric_answer": _score(None if failed else float(right), outcome, f"answered {place}, wanted {step}"),
            "length": _score(round(rng.random(), 3), "scored", f"{len(text)} characters"),
        },
        "reward": None if failed else float(right),
        "outcome": outcome,
        "penalties": {"kl": 0.01},
        "advantage": round(rng.gauss(0, 1), 4),
        "unused": "no_signal" if place >= 120 else None,
        "tokens": {"ends": ends, "logprobs": logprobs[: len(ends)], "entropies": []},
    }
    return json.dumps(record) + "\n"


def _score(value: float | None, outcome: str, why: str) -> dict[str, object]:
    return {"value": value, "outcome": outcome, "why": why, "parts": {}, "spans": []}


@contextmanager
def served(folder: Path, cache: Path) -> Iterator[str]:
    """Run the command; yield its address."""
    command = [sys.executable, "-m", "reasonrl", "view", str(folder), "--no-browser"]
    environment = {**os.environ, "REASONRL_CACHE": str(cache)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        address = re.search(r"http://\S+/", server.stdout.readline())
        assert address, "the server did not start"
        try:
            yield address[0]
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def measure(url: str, cache: Path) -> bool:
    """Print what each request took; say whether all were fast enough."""
    built = _build(url)
    size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    print(f"index made in {built:.0f} s, {size / 1e6:,.0f} MB (once; a run that trains adds to it step by step)")
    first = _times(f"{url}api/runs/many/rollouts", {})
    print(f"{'request':<58} {'rollouts':>9} {'median s':>9} {'slowest s':>10}")
    is_fast = _report("first page", first, FIRST_PAGE_S)
    (problem,) = {row["problem"] for row in first[1]["rows"][:1]}
    for name, query in _queries(problem).items():
        is_fast &= _report(name, _times(f"{url}api/runs/many/rollouts", query), FILTER_S)
    row = first[1]["rows"][7]["id"]
    for name, path in {"one rollout": f"rollouts/{row}", "its group": f"groups/{row}", "facets": "facets"}.items():
        is_fast &= _report(name, _times(f"{url}api/runs/many/{path}", {}), FIRST_PAGE_S)
    print("all within their limits" if is_fast else "too slow")
    return is_fast


def _queries(problem: str) -> Mapping[str, dict[str, object]]:
    return {
        "last page (offset 250,000)": {"offset": 250_000},
        "steps 1000 to 1100": {"step_from": 1000, "step_to": 1100},
        "task": {"task": "other"},
        "problem": {"problem": problem},
        "truncated": {"truncated": "yes"},
        "not learned from": {"unused": "yes"},
        "weighted sum timed out": {"outcome": "timeout"},
        "reward 'length' from 0.4 to 0.41": {"reward": "length", "low": 0.4, "high": 0.41},
        "highest advantage first": {"sort": "-advantage"},
        "least likely, scored 1, other task": {"sort": "logprob", "low": 1, "task": "other"},
        "text in 23 rollouts": {"text": NEEDLE},
        "text in many rollouts": {"text": " = 4"},
        "text of two characters": {"text": "q9"},
        "text in none": {"text": "this stands nowhere at all"},
        "text in prompts": {"text": " = 77", "within": "prompt"},
        "text in reasons": {"text": "answered 77, wanted 1", "within": "reason"},
        "text, truncated, steps 500 to 1500, longest first": {
            **{"text": "tion", "truncated": "yes", "step_from": 500, "step_to": 1500, "sort": "-tokens"},
        },
        "text in many rollouts, highest reward first": {"text": " = 44", "sort": "-reward"},
    }


def _build(url: str) -> float:
    """Have the index made; return how long that took. The page can be used meanwhile."""
    begun = time.perf_counter()
    while True:
        index = _asked(f"{url}api/runs/many/rollouts")["index"]
        if index["done"] >= index["total"]:
            return time.perf_counter() - begun
        time.sleep(0.5)


def _times(address: str, query: Mapping[str, object]) -> tuple[list[float], Any]:
    """Return the times of some requests, and the answer. Any: JSON values."""
    whole = f"{address}?{urlencode(query)}" if query else address
    times: list[float] = []
    answer: Any = None
    for _ in range(REPEATS):
        begun = time.perf_counter()
        answer = _asked(whole)
        times.append(time.perf_counter() - begun)
    return times, answer


def _asked(address: str) -> Any:
    """Return what the server answers. Any: JSON values."""
    with urlopen(address) as reply:
        return json.load(reply)


def _report(name: str, measured: tuple[list[float], Any], limit_s: float) -> bool:
    """Print one line; say whether the slowest request was fast enough. Any: JSON values."""
    times, answer = measured
    found = f"{'> ' if answer.get('is_capped') else ''}{answer['total']:,}" if "total" in answer else ""
    slow = "" if max(times) <= limit_s else f"  more than {limit_s:g} s"
    print(f"{name:<58} {found:>9} {median(times):>9.3f} {max(times):>10.3f}{slow}")
    return max(times) <= limit_s


if __name__ == "__main__":
    main()
