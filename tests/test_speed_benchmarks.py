"""The programs that measure speed: they run with small settings, and say what they leave out."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import torch
from builders import small_llama
from limits import measure_limit
from step_lengths import (
    LeftOut,
    Options,
    Results,
    Taken,
    foreseen,
    headline,
    line,
    options_from,
    take,
    with_positions,
)

from reasonrl.models import locate

FOLDER: Final = Path(__file__).parent.parent / "benchmarks"


def _lines(name: str, *arguments: str) -> list[str]:
    command = [sys.executable, str(FOLDER / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout.splitlines()


def _taken(length: int, *, peak: float, seconds: float) -> Taken:
    phases = dict.fromkeys(("sampling", "learning"), seconds / 2) | {"step": seconds}
    return Taken(length=length, seconds=phases, tokens=4 * length, loaded=1000.0, peak=peak)


def _options(*arguments: str) -> Options:
    return options_from(["--limit-gib", "10", "--limit-s", "100", *arguments])


def test_growth_is_told_for_a_token_of_all_completions() -> None:
    before, now = _taken(100, peak=500, seconds=10), _taken(300, peak=900, seconds=26)
    cells = line("reasonrl", now, [before]).split()
    assert cells == ["reasonrl", "300", "13.00", "13.00", "26.00", "20.00", "900", "0.500", "1,000"]


def test_a_length_that_would_go_beyond_a_limit_is_not_tried_and_says_so() -> None:
    shorter = [_taken(100, peak=1000, seconds=10), _taken(200, peak=3000, seconds=20)]
    assert foreseen(_options(), shorter, 300) is None
    assert foreseen(_options(), shorter, 600) == LeftOut(600, "would take more than 10 GiB: about 11")
    assert foreseen(_options("--limit-gib", "100"), shorter, 1200) == LeftOut(
        1200, "would take more than 100 s: about 120"
    )
    assert foreseen(_options(), shorter[:1], 10_000) is None, "one length says nothing of growth"


def test_a_step_is_ended_at_a_limit_of_time_and_of_memory(tmp_path: Path) -> None:
    model = str(tmp_path / "nothing")
    assert take(_options("--limit-s", "0.1"), model, "reasonrl", 8) == LeftOut(8, "took more than 0 s with its start")
    assert take(_options("--limit-gib", "0.001"), model, "reasonrl", 8) == LeftOut(8, "took more than 0 GiB")


def test_like_is_compared_with_like_at_the_longest_completions_of_both() -> None:
    results: Results = {
        "reasonrl": [_taken(4, peak=9, seconds=1), _taken(8, peak=10, seconds=1), _taken(16, peak=20, seconds=2)],
        "TRL": [_taken(4, peak=9, seconds=1), _taken(8, peak=30, seconds=3)],
        "reasonrl recomputing": [_taken(16, peak=10, seconds=4)],
        "TRL recomputing": [_taken(16, peak=25, seconds=6)],
    }
    _, first, second, _, last = headline(results)
    assert (
        first == "16 tokens: reasonrl recomputing 4.0 s, 10 MiB; TRL recomputing 6.0 s, 25 MiB, 2.50 times the memory"
    )
    assert second == "8 tokens: reasonrl 1.0 s, 10 MiB; TRL 3.0 s, 30 MiB, 3.00 times the memory"
    assert last == "1.5x"


def test_a_model_with_room_for_the_longest_completion_is_used_as_it_is_and_another_one_gets_room(
    tmp_path: Path,
) -> None:
    tiny = locate("tiny")
    assert with_positions(tiny, 1024, tmp_path) == tiny
    assert Path(with_positions(tiny, 4352, tmp_path)).parent == tmp_path


@pytest.mark.parametrize("tied", [True, False])
def test_a_limit_counts_every_weight_that_tokens_are_multiplied_with(tied: bool) -> None:
    model = small_llama(tied=tied)
    limit = measure_limit(model, torch.bfloat16, [2])
    matrices = [parameter.numel() for parameter in model.parameters() if parameter.dim() == 2]
    looked_up = 0 if tied else model.model.embed_tokens.weight.numel()
    assert limit.body + limit.head == sum(matrices) - looked_up
    assert limit.products(10, 6, 2) == limit.body * 14 + limit.head * 6
    assert limit.rates[2].operations > 0


@pytest.mark.slow
def test_sampling_ends_in_one_figure_and_names_both_limits() -> None:
    sides = ["--sides", "reasonrl", "transformers generate"]
    options = ["--model", "tiny", "--rows", "1", "8", "--dtypes", "float32", "--max-new-tokens", "4", "--rounds", "1"]
    *lines, figure = _lines("sampling.py", *options, *sides)
    assert re.fullmatch(r"[\d.]+x", figure)
    rows = [text for text in lines if re.match(r"    [18] ", text)]
    assert len(rows) == 4
    assert all(len(re.findall(r"\d+%", text)) == 2 for text in rows)


@pytest.mark.slow
def test_steps_of_some_length_end_in_one_figure() -> None:
    pytest.importorskip("trl", reason="compares with TRL, which is not installed: pip install 'reasonrl[trl]'")
    options = ["--models", "tiny", "--lengths", "1000", "--sides", "reasonrl recomputing", "TRL recomputing"]
    *lines, figure = _lines("step_lengths.py", *options)
    assert re.fullmatch(r"[\d.]+x", figure)
    assert sum(text.startswith(("reasonrl recomputing ", "TRL recomputing ")) for text in lines) == 2


@pytest.mark.slow
def test_a_recipe_on_both_ways_ends_in_one_figure() -> None:
    suite = "{name: arithmetic, params: {num_problems: 20, min_terms: 2, max_terms: 2}, max_new_tokens: 16}"
    steps = ["run.steps=4", "run.checkpoint_every=4", "evaluation.every=4", "rollout.max_new_tokens=16"]
    *lines, figure = _lines("quickstart_paths.py", "--settings", *steps, f"evaluation.suites=[{suite}]")
    assert re.fullmatch(r"[\d.]+x", figure)
    assert any(re.match(r"arithmetic: fast path - general way [+-]", text) for text in lines)
