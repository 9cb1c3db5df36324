"""The start-up report says what the model is given and says, and warns of what is usually wrong."""

from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from builders import batch, group, letter_tokenizer, run_config, small_llama
from rich.console import Console
from transformers import PreTrainedTokenizerBase

from reasonrl.engines.tokens import turn_terminator
from reasonrl.run.start import start_run
from reasonrl.run.startup import StartupReport, startup_report
from reasonrl.run.terminal import PlainView
from reasonrl.types import Batch, RewardResult, Score, UnusedGroup


def scored(value: float | None, why: str = "because") -> RewardResult:
    """A result of one reward."""
    score = Score(value, why) if value is not None else Score.unscorable(why)
    return RewardResult(total=score, rewards={"exact": score})


def sampled(*rewards: Sequence[float | None], prompt_ids: tuple[int, ...] = (1, 2), **changes: Any) -> Batch:
    """A first step with these rewards in each group. Any: fields of every completion."""
    groups = []
    for row in rewards:
        made = group([f"answer {index}" for index in range(len(row))])
        members = tuple(replace(member, **changes) for member in made.trajectories)
        groups.append(replace(made, prompt_ids=prompt_ids, trajectories=members))
    return batch(groups, [tuple(scored(value) for value in row) for row in rewards])


def report(of: Batch, tokenizer: PreTrainedTokenizerBase | None = None, **model: Any) -> StartupReport:
    """The report of a batch. Any: settings of the model's generation."""
    policy = small_llama()
    for name, value in model.items():
        setattr(policy.generation_config, name, value)
    return startup_report(of, run_config(), policy, tokenizer or letter_tokenizer())


def test_prompt_completions_scores_and_reasons_are_shown() -> None:
    shown = report(sampled([1, 0], [0, 0])).text
    assert "The first problem's, 2 tokens:\n\n    1 + 1?\n" in shown
    assert "reward 1.000 (exact 1.000: because), finish reason `stop`, 2 tokens\n\n    answer 0\n" in shown
    assert "reward 0.000 (exact 0.000: because), finish reason `stop`, 2 tokens\n\n    answer 1\n" in shown


def test_a_healthy_batch_has_no_warning() -> None:
    found = report(sampled([1, 0], [0, 0]))
    assert found.warnings == ()
    assert "No warnings." in found.text


def test_a_completion_without_a_score_says_so() -> None:
    assert "reward unscorable (exact unscorable: because)" in report(sampled([1, None], [1, 0])).text


def test_groups_are_counted_by_spread_with_what_to_expect() -> None:
    shown = report(sampled([0, 0], [1, 1], [1, 0], [0.5, 0])).text
    rows = [line.split() for line in shown.splitlines() if line.startswith(("    none", "    up to"))]
    assert [(row[0], int(row[-1])) for row in rows if int(row[-1])] == [("none", 2), ("up", 1), ("up", 1)]
    assert "useful groups: 2 of 4 (50%)" in shown
    assert "about 2.0 useful groups in a step of 4" in shown
    assert "truncated: 0% of completions" in shown


def test_groups_that_are_not_learned_from_count_too() -> None:
    of = sampled([1, 0])
    useless = UnusedGroup(group=of.groups[0], results=(scored(0), scored(0)), reason="no_signal")
    of = replace(of, unused=(useless,))
    assert "useful groups: 1 of 2 (50%)" in report(of).text


@pytest.mark.parametrize(
    ("prompt_ids", "said"), [((5, 6), "start: none"), ((3, 5), "start: one"), ((3, 3, 5), "start: **2**, one too many")]
)
def test_tokens_that_begin_a_prompt_are_counted(prompt_ids: tuple[int, ...], said: str) -> None:
    tokenizer = letter_tokenizer()
    tokenizer.bos_token = "2"
    found = report(sampled([1, 0], prompt_ids=prompt_ids), tokenizer)
    assert f"{said}; the tokenizer's is 3 `2`" in found.text
    assert [warning for warning in found.warnings if "twice" in warning] == list(found.warnings)
    assert bool(found.warnings) == (prompt_ids == (3, 3, 5))


def test_every_end_of_sequence_token_is_listed_with_its_places() -> None:
    tokenizer = letter_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["?"]})
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}?{% endfor %}"
    shown = report(sampled([1, 0]), tokenizer, eos_token_id=[0, 7]).text
    assert "end of sequence: 0 `<end>`, named by the tokenizer, the generation config\n" in shown
    assert "end of sequence: 7 `6`, named by the generation config\n" in shown
    assert f"end of sequence: {tokenizer.convert_tokens_to_ids('?')} `?`, named by the chat template\n" in shown


def test_padding_that_is_an_end_of_sequence_is_called_harmless() -> None:
    assert "padding: 0 `<end>` is also an end of sequence. That is harmless" in report(sampled([1, 0])).text
    tokenizer = letter_tokenizer()
    tokenizer.pad_token = "a"
    assert "harmless" not in report(sampled([1, 0]), tokenizer).text


def test_what_is_usually_wrong_is_warned_of() -> None:
    (cut,) = report(sampled([1, 0], finish_reason="length")).warnings
    assert cut.startswith("every completion was truncated")
    (unended,) = report(sampled([1, 0], token_ids=(1, 2))).warnings
    assert unended.startswith("no completion was ended by an end-of-sequence token")
    (useless,) = report(sampled([1, 1], [0, 0])).warnings
    assert useless.startswith("no group is useful")


def test_text_of_a_model_cannot_steer_a_terminal() -> None:
    shown = report(sampled([1, 0], text="\x1b[2J\rhello\u202e")).text
    assert "\\x1b[2J\\rhello\\u202e" in shown
    assert not {"\x1b", "\r", "\u202e"} & set(shown)


def test_long_completions_are_cut_and_the_prompt_is_not() -> None:
    of = sampled([1, 0], text="x" * 5000)
    of = replace(of, groups=(replace(of.groups[0], prompt="y" * 5000),))
    shown = report(of).text
    assert "(5000 characters in all)" in shown
    assert ("x" * 601 in shown, "y" * 5000 in shown) == (False, True)


def test_a_run_writes_its_report_once_and_points_to_it(in_folder: Path) -> None:
    Path("one.yaml").write_text(
        "{name: one, model: tiny, task: {name: arithmetic, params: {num_problems: 50}}, template: plain,\n"
        "rewards: [numeric_answer], rollout: {prompts_per_step: 2, samples_per_prompt: 2, max_new_tokens: 2},\n"
        "run: {steps: 2, checkpoint_every: 1}}"
    )
    shown = StringIO()
    view = PlainView(Console(file=shown, width=1000))
    start_run(Path("one.yaml"), [], [view], argv=["reasonrl", "train"])
    (line,) = [line for line in shown.getvalue().splitlines() if "start-up report" in line]
    assert line.startswith("start-up report: runs/one/startup.md warning: every completion was truncated")
    written = Path("runs/one/startup.md").read_text()
    assert "# Start-up report of one" in written
    assert "**Warning:** every completion was truncated" in written


def test_a_chat_template_that_refuses_conversations_names_no_end_of_a_turn() -> None:
    tokenizer = letter_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('single questions only') if messages | length > 1 }}"
    assert turn_terminator(tokenizer) is None
