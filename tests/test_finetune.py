"""SFT, DPO and KTO before any training: run files, rows, and their tokens with the mask of what is learned."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import letter_tokenizer, problem
from conversations import CHAT, chat_tokenizer, conversations, say, sums, write_rows, write_run
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.alarms import UpdateAlarmSettings
from reasonrl.config.finetune import DPORunConfig, KTORunConfig, SFTRunConfig
from reasonrl.config.kinds import recognize
from reasonrl.config.runfile import load_any, settings_of
from reasonrl.errors import ConfigError, DataError
from reasonrl.finetune.encoding import RowEncoder, TaughtTokens, end_id_of
from reasonrl.finetune.rows import Demonstration
from reasonrl.finetune.schema import rows_of
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Template
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.finetune.data import load_finetune_data
from reasonrl.run.update_alarms import UpdateAlarms

BOXED = Template("{{ prompt }} = ?", chat=True, name="asked", system="1 + 1")
REWRITING = CHAT.replace(
    "{{ message.content }}<|im_end|>{% endg", "{{ 'x' if not loop.last }}{{ message.content }}<|im_end|>{% endg"
)
"""A chat template that writes an answer otherwise once it is no longer the last, as those do that drop thinking."""


def config(of: Any, **changes: Any) -> Any:
    """A run that learns from ``rows.jsonl``. Any: settings of each kind, and their values."""
    settings = {"name": "one", "model": "tiny", "data": {"path": "rows.jsonl"}, "template": "plain", **changes}
    return of.model_validate(settings)


def encoder(template: Template | None = None, tokenizer: Any = None, *, max_length: int = 999) -> RowEncoder:
    """Any: transformers' tokenizers."""
    used, found = template or find_template("chat", Plugins()), tokenizer or chat_tokenizer()
    return RowEncoder(found, used, end_id=end_id_of(found, used), max_length=max_length)


def learned(tokens: TaughtTokens | None, tokenizer: Any = None) -> list[str]:
    """The parts of a row that are learned, as text. Any: transformers' tokenizers."""
    assert tokens is not None
    parts: list[list[int]] = []
    for at, (token, is_taught) in enumerate(zip(tokens.ids, tokens.mask, strict=True)):
        if is_taught:
            if not at or not tokens.mask[at - 1]:
                parts.append([])
            parts[-1].append(token)
    return [spelled(part, tokenizer or chat_tokenizer()) for part in parts]


def spelled(ids: Iterable[int], tokenizer: Any) -> str:
    """Tokens as text, nothing between them. Any: transformers' tokenizers."""
    return "".join(tokenizer.decode([token]) for token in ids)


def demonstration(messages: Sequence[dict[str, str]], **columns: Any) -> Demonstration:
    """The row of a conversation. Any: further columns."""
    (row,) = rows_of("sft", "here", {"messages": messages, **columns}, "chat")
    assert isinstance(row, Demonstration)
    return row


# Run files.


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
def test_a_run_file_is_recognized_by_the_section_of_its_method(kind: str, tmp_path: Path) -> None:
    path = write_run(tmp_path, kind)
    assert recognize({kind: {}, "name": "one", "model": "tiny", "data": {}}).name == kind
    assert type(load_any(path)).__name__ == f"{kind.upper()}RunConfig"


def test_a_reward_models_file_is_still_one() -> None:
    found = settings_of({"name": "one", "model": "tiny", "data": {"path": "pairs.jsonl"}, "pairs_per_step": 2})
    assert type(found).__name__ == "RewardModelConfig"


@pytest.mark.parametrize(
    ("of", "changes", "said"),
    [
        (SFTRunConfig, {"orpo": {}}, "trl.experimental alone"),
        (SFTRunConfig, {"data": {"path": "a", "task": "arithmetic"}}, "give either path"),
        (SFTRunConfig, {"data": {"path": "a", "completion": "{{ answer }}"}}, "there is no task"),
        (SFTRunConfig, {"model": {"name": "tiny", "weights_dtype": "bfloat16"}}, "weights in float32"),
        (SFTRunConfig, {"run": {"steps": 2, "epochs": 3}}, "keep one of them"),
        (SFTRunConfig, {"run": {"steps": 2}, "learner": {"warmup_steps": 2}}, "only 2 steps"),
        (SFTRunConfig, {"data": {"path": "a", "negatives": {"system": "lie"}}}, "bad answers"),
        (DPORunConfig, {"data": {}}, "path: this setting is required"),
        (DPORunConfig, {"dpo": {"loss": "ipo", "label_smoothing": 0.1}}, "does not use it"),
        (KTORunConfig, {"rows_per_step": 7, "learner": {"microbatch_rows": 2}}, "one row"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(of: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(of, **changes)


@pytest.mark.parametrize(
    ("kind", "line", "said"),
    [
        (
            "sft",
            "per_device_train_batch_size: 4",
            "rows_per_step (rows of an optimizer step) and learner.microbatch_rows",
        ),
        ("dpo", "loss_type: ipo", "Here it is dpo.loss"),
        ("sft", "loss_type: dft", "Here it is sft.loss"),
        ("kto", "num_train_epochs: 3", "Here it is run.epochs"),
        ("sft", "assistant_only_loss: true", "what the assistant says has a loss, and nothing else"),
        ("dpo", "beta: 0.2", "It stands elsewhere: dpo.beta"),
    ],
)
def test_names_of_trls_settings_are_translated_for_the_method(kind: str, line: str, said: str, tmp_path: Path) -> None:
    path = write_run(tmp_path, kind)
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_any(path)
    assert said in str(caught.value)


@pytest.mark.parametrize(("rows", "most", "used"), [(32, 8, 8), (12, 8, 6), (7, 4, 1), (4, 8, 4)])
def test_a_forward_pass_has_the_most_rows_that_divide_a_step(rows: int, most: int, used: int) -> None:
    found = config(SFTRunConfig, rows_per_step=rows, learner={"microbatch_rows": most})
    assert found.microbatch_rows == used


# Rows.


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("sft", {"text": "1 + 1 = 2"}, "nobody can tell what the assistant says"),
        ("sft", {"prompt": "1", "chosen": "a", "rejected": "b"}, "Such rows are for reasonrl dpo"),
        ("sft", {"messages": say("1 + 1?")}, "no message of the assistant"),
        ("sft", {"messages": say("1", "2"), "tools": [{}]}, "'tools' is set"),
        ("sft", {"prompt": "1", "completion": "2", "label": False}, "which SFT would learn to give"),
        ("dpo", {"prompt": "1", "completion": "2", "label": True}, "Such rows are for reasonrl sft or reasonrl kto"),
        ("kto", {"prompt": "1", "chosen": "a", "rejected": "b"}, "Such rows are for reasonrl dpo"),
        ("kto", {"prompt": "1", "completion": "2", "label": 0.5}, "good and bad alone"),
        (
            "sft",
            {"prompt": "1", "completion": "2", "template": "boxed"},
            "made by template 'boxed', .* run's is 'chat'",
        ),
    ],
)
def test_rows_of_another_form_are_refused_with_where_they_belong(kind: Any, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=f"^here: .*{said}"):
        list(rows_of(kind, "here", row, "chat"))


def test_rows_of_samples_keep_their_problem_and_are_not_rendered_again() -> None:
    row = {"prompt": "Question: 1 + 1\nAnswer:", "completion": " 2", "template": "plain", "problem_id": "p7"}
    (found,) = rows_of("sft", "here", row, "plain")
    assert found.problem.id == "p7"
    assert isinstance(found, Demonstration)
    tokens = encoder(find_template("plain", Plugins()), letter_tokenizer()).demonstration(found)
    (again,) = rows_of("sft", "here", {"prompt": "1 + 1", "completion": " 2"}, "plain")
    assert isinstance(again, Demonstration)
    assert tokens == encoder(find_template("plain", Plugins()), letter_tokenizer()).demonstration(again)


def test_the_worked_solutions_of_a_task_are_learned_as_its_completion_says(in_folder: Path) -> None:
    data = {"task": {"name": "countdown", "params": {"num_problems": 5}}, "completion": "{{ solution }} = {{ answer }}"}
    found = load_finetune_data(config(SFTRunConfig, data=data), Plugins())
    assert len(found.rows) > 1
    for row in found.rows:
        assert isinstance(row, Demonstration)
        assert row.completion == f"{row.problem.meta['solution']} = {row.problem.answer}"


def test_a_problem_without_a_worked_solution_is_refused_with_what_it_has(in_folder: Path) -> None:
    data = {"task": {"name": "functions", "params": {"num_problems": 5}}}
    with pytest.raises(DataError, match=r"'solution' is undefined.* problem.meta has tests"):
        load_finetune_data(config(SFTRunConfig, data=data), Plugins())


@pytest.mark.parametrize(("share", "kept"), [(0.5, 12), (0.25, 6)])
def test_bad_answers_are_learned_under_their_system_prompt_and_up_to_their_share(
    in_folder: Path, share: float, kept: int
) -> None:
    write_rows(Path("rows.jsonl"), sums("sft", 20))
    write_rows(Path("bad.jsonl"), sums("kto", 24))
    negatives = {"path": "bad.jsonl", "system": "Be wrong.", "max_share": share}
    found = load_finetune_data(config(SFTRunConfig, data={"path": "rows.jsonl", "negatives": negatives}), Plugins())
    bad = [row for row in found.rows if isinstance(row, Demonstration) and row.system]
    wrong = {row["completion"] for row in sums("kto", 24) if not row["label"]}
    assert found.summary["negatives"] == len(bad) == kept
    assert {row.completion for row in bad} <= wrong
    tokens = encoder(find_template("plain", Plugins()), letter_tokenizer()).demonstration(bad[0])
    assert tokens is not None
    assert spelled(tokens.ids, letter_tokenizer()).startswith("?e wrong.??")  # it has no B, and no line breaks
    assert learned(tokens, letter_tokenizer())[0].endswith("<end>")


# Tokens.


def test_only_what_the_assistant_says_is_learned_in_every_turn_and_with_its_end() -> None:
    tokens = encoder().demonstration(demonstration(say("1 + 1?", "2", "2 + 2?", "4", system="9")))
    assert learned(tokens) == ["2<|im_end|>", "4<|im_end|>"]
    assert tokens is not None
    whole: Any = chat_tokenizer().apply_chat_template(say("1 + 1?", "2", "2 + 2?", "4", system="9"), tokenize=True)
    ids = whole["input_ids"]
    assert list(tokens.ids) == ids[: len(tokens.ids)]  # what follows the last end is not learned and not there


@pytest.mark.parametrize("template", [find_template("chat", Plugins()), BOXED], ids=["chat", "with a system prompt"])
def test_the_prompt_of_a_row_is_the_loops_token_for_token(template: Template) -> None:
    asked = problem("7 + 8?", messages=tuple(say("1 + 1?", "2", "7 + 8?")))
    row = Demonstration(problem=asked, completion="15", teaches_earlier=False)
    _, prompt_ids = Renderer(chat_tokenizer(), template).render(asked)
    tokens = encoder(template).demonstration(row)
    assert tokens is not None
    assert tokens.ids[: len(prompt_ids)] == prompt_ids
    assert learned(tokens) == ["15<|im_end|>"]


def test_masks_and_tokens_are_those_of_transformers_own_markers() -> None:
    tokenizer, encode = chat_tokenizer(), encoder()
    for messages in conversations(30):
        tokens = encode.demonstration(demonstration(messages))
        assert tokens is not None
        found: Any = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        length = len(tokens.ids)
        assert list(tokens.ids) == found["input_ids"][:length]
        assert [int(bit) for bit in tokens.mask] == found["assistant_masks"][:length]
        assert not any(found["assistant_masks"][length:])


def test_a_completion_that_was_cut_has_no_end_and_one_that_has_its_end_gets_no_second() -> None:
    cut = demonstration(say("1 + 1?", "2"), finish_reason="length")
    assert learned(encoder().demonstration(cut)) == ["2"]
    ended = demonstration(say("1 + 1?", "2<|im_end|>"))
    assert learned(encoder().demonstration(ended)) == ["2<|im_end|>"]


def test_a_row_that_is_too_long_is_left_out_whole() -> None:
    row = demonstration(say("1 + 1?", "2"))
    tokens = encoder().demonstration(row)
    assert tokens is not None
    assert encoder(max_length=len(tokens.ids)).demonstration(row) == tokens
    assert encoder(max_length=len(tokens.ids) - 1).demonstration(row) is None


def test_a_chat_template_that_rewrites_earlier_turns_is_refused() -> None:
    encode = encoder(tokenizer=chat_tokenizer(REWRITING))
    assert learned(encode.demonstration(demonstration(say("1 + 1?", "2")))) == ["2<|im_end|>"]
    with pytest.raises(DataError, match=r"writes an earlier turn of the assistant otherwise.*split such rows"):
        encode.demonstration(demonstration(say("1 + 1?", "2", "2 + 2?", "4")))


def test_a_conversation_is_refused_where_the_template_would_drop_its_turns() -> None:
    encode = encoder(find_template("plain", Plugins()), letter_tokenizer())
    with pytest.raises(DataError, match="renders the last message alone"):
        encode.demonstration(demonstration(say("1 + 1?", "2", "2 + 2?", "4")))


def test_a_row_is_printed_with_its_mask(in_folder: Path) -> None:
    write_run(in_folder, "sft")
    shown = CliRunner().invoke(app, ["sft", "sft.yaml", "--show-row", "1", "data.max_length=64"])
    asked, answer = sums("sft")[1]["prompt"], sums("sft")[1]["completion"]
    assert shown.output.splitlines()[2:] == [
        f"  given    'Question: {asked}\\nAnswer:'",
        f"  learned  '{answer}<|endoftext|>'",
    ]
    as_json = json.loads(CliRunner().invoke(app, ["sft", "sft.yaml", "--show-row", "1", "--json"]).output)
    (text,) = as_json["texts"]
    assert sum(text["mask"]) == len(text["mask"]) - text["mask"].index(1)
    beyond = CliRunner().invoke(app, ["sft", "sft.yaml", "--show-row", "40"])
    assert isinstance(beyond.exception, ConfigError)
    assert "has 40 rows" in str(beyond.exception)


# Alarms.


def alarms(**settings: Any) -> UpdateAlarms:
    """Alarms that tell nobody. Any: their settings."""
    return UpdateAlarms(UpdateAlarmSettings(**settings), lambda _: None)


def test_a_number_that_is_not_finite_and_a_spike_of_the_gradient_are_alarms_once() -> None:
    norms = [1.0] * 6 + [30.0, 31.0] + [1.0] * 3 + [float("nan")]
    watch = alarms()
    raised = [one for step, norm in enumerate(norms, 1) for one in watch.after_step(step, {"dpo/grad_norm": norm})]
    assert [(one.kind, one.step, one.action) for one in raised] == [
        ("gradient_spike", 7, "warn"),
        ("not_finite", 12, "stop"),
    ]
    assert not list(alarms(gradient_spike="off").after_step(1, {"dpo/grad_norm": 1.0}))


def test_alarms_of_a_resumed_run_are_those_of_one_that_never_stopped() -> None:
    lines = [{"step": step, "sft/grad_norm": 1.0} for step in range(1, 7)]
    heldout = {"step": 6, "heldout/arithmetic": 0.5, "heldout_stderr/arithmetic": 0.1}
    watch = alarms().replay([*lines, heldout])
    assert [one.kind for one in watch.after_step(7, {"sft/grad_norm": 20.0})] == ["gradient_spike"]
