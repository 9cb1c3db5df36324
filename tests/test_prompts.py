"""`prompts compare` names the prompt to train with, from the run's own model, problems and rewards."""

import json
from pathlib import Path

import pytest
from builders import run_config
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.commands import main
from reasonrl.errors import ConfigError, DataError
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.preference.samples import RewardRow, SampleRow
from reasonrl.run.prompts import candidates, compared


def _row(problem: int, score: float | None, *, answered: float | None = None, cut: bool = False) -> SampleRow:
    parts = {} if answered is None else {"answered": answered}
    return SampleRow(
        problem_id=str(problem),
        prompt="?",
        completion="!",
        score=score,
        outcome="unscorable" if score is None else "scored",
        finish_reason="length" if cut else "stop",
        num_tokens=4,
        rewards={"exact": RewardRow(value=score, outcome="scored", parts=parts)},
    )


def test_the_prompt_of_the_highest_reward_is_first_and_others_stand_behind_it_in_pairs() -> None:
    weak = [_row(problem, float(problem % 4 == 0), answered=0.5) for problem in range(80)]
    good = [_row(problem, float(problem % 4 != 0), cut=problem < 8) for problem in range(80)]
    near = [_row(problem, float(problem % 4 != 0 and problem != 1)) for problem in range(80)]
    best, second, last = compared({"weak": weak, "near": near, "good": good}).prompts
    assert (best.name, second.name, last.name) == ("good", "near", "weak")
    assert best.reward.lower < 0.75 < best.reward.upper
    assert best.truncated == 0.1
    assert last.answered == 0.5
    assert last.behind is not None
    assert (last.behind.value, last.behind.lower > 0.2) == (0.5, True)
    assert compared({"weak": weak, "near": near, "good": good}).not_told_apart == ["near"]


def test_rewards_beyond_0_and_1_have_an_interval_too() -> None:
    low = [_row(problem, -3.0 + problem % 3) for problem in range(30)]
    high = [_row(problem, 2.0 + problem % 5) for problem in range(30)]
    best, other = compared({"low": low, "high": high}).prompts
    assert best.reward.lower < 4.0 < best.reward.upper
    assert other.behind is not None
    assert other.behind.lower < 6.0 < other.behind.upper
    assert other.p_value is not None
    assert other.p_value < 0.001


def test_problems_without_a_score_are_left_out_with_every_prompt() -> None:
    a = [_row(problem, None if problem == 0 else 1.0) for problem in range(9)]
    b = [_row(problem, 0.0) for problem in range(9)]
    assert compared({"a": a, "b": b}).num_problems == 8
    with pytest.raises(DataError, match="no completion has a score"):
        compared({"a": [_row(0, None)], "b": b})


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=12, max_size=12), min_size=2, max_size=4))
def test_the_order_is_that_of_the_means(values: list[list[float]]) -> None:
    rows = {str(name): [_row(problem, score) for problem, score in enumerate(of)] for name, of in enumerate(values)}
    prompts = compared(rows).prompts
    assert [prompt.reward.value for prompt in prompts] == sorted((sum(of) / 12 for of in values), reverse=True)
    assert all(prompt.behind is not None and prompt.behind.value >= 0 for prompt in prompts[1:])


def test_the_runs_own_template_is_among_the_prompts_and_chats_take_each_system_message(tmp_path: Path) -> None:
    found = candidates(run_config(template="plain"), ["chat", "bare"], ["Be brief.", "Think."], installed_plugins())
    assert [one.name for one in found] == ["plain", "chat", "bare", "chat + system 1", "chat + system 2"]
    assert found[-1].system == "Think."
    with pytest.raises(ConfigError, match="none of the templates is a chat"):
        candidates(run_config(template="plain"), ["bare"], ["Be brief."], installed_plugins())


@pytest.mark.slow
def test_the_command_goes_on_with_its_samples_and_refuses_those_of_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["reasonrl", "prompts", "compare", "quickstart", "--template", "bare", "--num-problems", "6", "--json"]

    def call(*more: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", [*command, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(str(ended.value.code or 0)), told.out, told.err

    code, first, _ = call()
    told = json.loads(first)
    assert code == 0
    assert {prompt["name"] for prompt in told["prompts"]} == {"r1_zero", "bare"}
    assert told["left_out"] == []
    file = tmp_path / "prompts" / "quickstart" / "bare.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert call()[:2] == (0, first)
    assert file.read_bytes() == whole
    code, _, error = call("--num-samples", "2")
    assert code == 2
    assert "num_samples was 4 and is 2 now" in error
