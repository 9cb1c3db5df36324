"""An exported model: other tools load it and it answers as the checkpoint did; its card says what was measured."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import results
import torch
import yaml
from jinja2 import TemplateError
from reported_runs import BASE, TRAINED
from safetensors.torch import load_file
from trained_runs import finetuned_run, packaged_model, trained_run
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.settings import LoraSettings
from reasonrl.errors import ConfigError, ModelError, RunError
from reasonrl.evaluation.files import write_result
from reasonrl.models import locate
from reasonrl.models.load import load_model, load_tokenizer
from reasonrl.models.lora import prepare_adapter
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.export.record import read_record
from reasonrl.run.lineage import parent_of, resolve_model
from reasonrl.types import Problem

CPU = torch.device("cpu")
QUESTIONS = ("What is 3 + 4 - 5?", "What is 12 + 7 - 1 + 9?", "What is 20 - 8 + 6?")


def export(*arguments: object) -> str:
    """Export as the command does; return what it prints."""
    found = CliRunner().invoke(app, ["export", *map(str, arguments)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.output


def prompts(template: str = "r1_zero") -> list[list[int]]:
    """The questions as a run asks them."""
    renderer = Renderer(load_tokenizer("tiny"), find_template(template, Plugins()))
    problems = [Problem(id=text, task="sums", prompt=text, answer="") for text in QUESTIONS]
    return [list(renderer.render(problem)[1]) for problem in problems]


def greedy(model: Any, prompt: list[int]) -> list[int]:
    """A model's most probable completion. Any: transformers' models are untyped."""
    tokens = model.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)
    return tokens[0, len(prompt) :].tolist()


@pytest.mark.slow
def test_an_exported_model_in_float32_answers_as_its_checkpoint_to_the_last_token(in_folder: Path) -> None:
    trained_run(Path("runs"))
    export("runs/one@2", "--to", "model", "--dtype", "float32")
    model, checkpoint = (
        AutoModelForCausalLM.from_pretrained("model"),
        load_model("runs/one/checkpoints/step_000002", CPU),
    )
    for prompt in prompts():
        assert greedy(model, prompt) == greedy(checkpoint, prompt)


def test_weights_are_rounded_to_bfloat16_where_nothing_else_is_asked_for(in_folder: Path) -> None:
    trained_run(Path("runs"))
    said = export("runs/one", "--to", "model")
    assert said.splitlines() == ["one@4 in bfloat16: model", "suites on its card: sums"]
    weights, whole = load_file("model/model.safetensors"), load_file(f"{locate('tiny')}/model.safetensors")
    assert weights.keys() == whole.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, whole[name].bfloat16()), name
    assert json.loads(Path("model/config.json").read_text())["dtype"] == "bfloat16"
    assert {"generation_config.json", "tokenizer.json", "chat_template.jinja", "reasonrl.json"} <= {
        path.name for path in Path("model").iterdir()
    }


def adapter_checkpoint(folder: Path) -> None:
    """Write an adapter that changes the packaged model."""
    model = load_model("tiny", CPU)
    prepare_adapter(model, LoraSettings(rank=4, alpha=8), seed=0)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.05)
    model.save_pretrained(folder)
    load_tokenizer("tiny").save_pretrained(folder)


def logits(model: PreTrainedModel, prompt: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([prompt])).logits


@pytest.mark.slow
def test_an_adapter_is_merged_so_that_the_folder_needs_no_peft(in_folder: Path) -> None:
    run = trained_run(Path("runs"), settings={"model": {"name": "tiny", "lora": {"rank": 4}}}, model=adapter_checkpoint)
    export(run.path, "--to", "model", "--dtype", "float32")
    assert not list(Path("model").glob("adapter*"))
    model = AutoModelForCausalLM.from_pretrained("model")
    adapted, base = load_model("runs/one/checkpoints/step_000004", CPU), load_model("tiny", CPU)
    for prompt in prompts():
        torch.testing.assert_close(logits(model, prompt), logits(adapted, prompt), atol=1e-4, rtol=0)
        assert (logits(model, prompt) - logits(base, prompt)).abs().max() > 0.1
        assert greedy(model, prompt) == greedy(adapted, prompt)


def card(folder: Path) -> tuple[dict[str, Any], str]:
    """The front matter of a model card, and its text. Any: YAML."""
    front, _, body = (folder / "README.md").read_text(encoding="utf-8").removeprefix("---\n").partition("\n---\n")
    return yaml.safe_load(front), body


def test_the_cards_figures_are_those_of_results_json(in_folder: Path) -> None:
    run = trained_run(Path("runs"), evaluations={0: results.result(BASE), 4: results.result(TRAINED)})
    export("runs/one", "--to", "model")
    front, body = card(Path("model"))
    ((of_suite,),) = [index["results"] for index in front["model-index"]]
    summary = json.loads((run.path / "evals/step_000004/sums/results.json").read_text())
    shown = {metric["type"]: metric for metric in of_suite["metrics"]}
    assert shown.keys() == {metric["id"] for metric in summary["metrics"]}
    for metric in summary["metrics"]:
        interval = shown[metric["id"]]["args"]["confidence_interval"]
        assert shown[metric["id"]]["value"] == pytest.approx(100 * metric["value"], abs=1e-3)
        assert interval["lower"] == pytest.approx(100 * metric["ci"]["lower"], abs=1e-3)
        assert interval["upper"] == pytest.approx(100 * metric["ci"]["upper"], abs=1e-3)
    main = summary["metrics"][0]
    assert f"| {main['value']:.1%} | [{main['ci']['lower']:.1%}, {main['ci']['upper']:.1%}]" in body
    export("runs/one@2", "--to", "earlier")
    front, body = card(Path("earlier"))
    assert "model-index" not in front
    assert "No suite was measured after step 2 of the run." in body


def test_the_card_describes_data_rewards_prompts_and_every_stage(in_folder: Path) -> None:
    task = {"name": "arithmetic", "params": {"min_terms": 3, "max_terms": 4}}
    trained_run(Path("runs"), "first", settings={"task": task})
    settings = {
        "model": "runs/first/checkpoints/step_000002",
        "rewards": [{"name": "numeric_answer", "params": {"sources": ["answer_tag"]}, "weight": 2}],
        "algorithm": "grpo",
    }
    trained_run(Path("runs"), "second", settings=settings, parent={"run": "runs/first", "step": 2})
    export("runs/second", "--to", "model")
    front, body = card(Path("model"))
    assert (front["license"], front["library_name"], front["tags"]) == (
        "apache-2.0",
        "transformers",
        ["reasonrl", "policy"],
    )
    first, second = [line for line in body.splitlines() if line.startswith(("| first |", "| second |"))]
    assert "| first | 2 | reinforcement learning (dr_grpo)" in first
    assert first.endswith("| `tiny` |")
    assert second.endswith("| `first@2` |")
    assert "| second | 4 | reinforcement learning (grpo)" in second
    assert "arithmetic (8000 problems)" in second
    (reward,) = [line for line in body.splitlines() if line.startswith("| `numeric_answer`")]
    assert "sources=['answer_tag'] | 2.0 | " in reward
    assert len(reward.rsplit(" | ", 1)[1]) > 20, "what it scores"
    assert find_template("r1_zero", Plugins()).text.splitlines()[0] in body
    record = read_record(Path("model"))
    assert record is not None
    assert (record.base_model, [stage.run for stage in record.stages]) == ("tiny", ["first", "second"])


def test_the_card_of_a_finetuned_model_names_its_method_and_its_rows_without_folders(in_folder: Path) -> None:
    finetuned_run(Path("runs"), "sft", template="boxed")
    export("runs/tuned", "--to", "model")
    front, body = card(Path("model"))
    assert front["tags"] == ["reasonrl", "sft"]
    assert "| tuned | 3 | supervised finetuning (SFT) | rows.jsonl (12 rows, 10 prompts) | boxed | `tiny` |" in body
    assert "- rows.jsonl (12 rows, 10 prompts)" in body
    assert "which makes the user's message of a chat of a question" in body
    assert "## Rewards" not in body
    assert "/home/somebody" not in body


def test_stages_go_on_through_an_exported_model_whose_template_is_known(in_folder: Path) -> None:
    run = trained_run(Path("runs"), "first")
    export(run.path, "--to", "model")
    begun = run.config.model_copy(
        update={"name": "second", "model": run.config.model.model_copy(update={"name": "model"})}
    )
    with pytest.raises(ModelError, match="model was trained with template 'r1_zero', but this run has 'plain'"):
        resolve_model(begun.model_copy(update={"template": "plain"}), Plugins())
    parent = parent_of(resolve_model(begun, Plugins()), Plugins())
    assert parent == {"run": "first", "step": 4, "export": "model"}
    shutil.rmtree(run.path)
    trained_run(Path("runs"), "second", settings={"model": "model"}, parent=parent)
    export("runs/second", "--to", "further")
    record = read_record(Path("further"))
    assert record is not None
    assert (record.base_model, [stage.run for stage in record.stages]) == ("tiny", ["first", "second"])


def test_the_tokenizers_chat_template_makes_the_prompts_of_training(in_folder: Path) -> None:
    trained_run(Path("runs"))
    export("runs/one", "--to", "model")
    tokenizer = AutoTokenizer.from_pretrained("model")
    for question, prompt in zip(QUESTIONS, prompts(), strict=True):
        messages = [{"role": "user", "content": question}]
        assert tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) == prompt
        answered = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": " 7"}], tokenize=False)
        assert answered == f"{tokenizer.decode(prompt)} 7{tokenizer.eos_token}"
    with pytest.raises(TemplateError, match="trained on single questions"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be brief."}, *messages], tokenize=False)


def test_a_prompt_that_needs_more_than_the_question_gets_no_chat_template(in_folder: Path) -> None:
    Path("mine.jinja").write_text("{{ problem.id }}: {{ prompt }}\n")
    trained_run(Path("runs"), settings={"template": "mine.jinja"})
    export("runs/one", "--to", "model")
    assert AutoTokenizer.from_pretrained("model").chat_template is None
    assert "Fill the template in before the model is asked" in card(Path("model"))[1]


def test_results_from_elsewhere_come_onto_the_card_if_they_are_of_this_model(in_folder: Path) -> None:
    trained_run(Path("runs"))
    place = "runs/one/checkpoints/step_000002"
    found = results.result(TRAINED, name="tests")
    write_result(found, Path("results/tests"), model={"name": "runs/one@2", "place": place, "step": 2})
    export("runs/one@2", "--to", "model", "--results", "results")
    assert "### tests v1" in card(Path("model"))[1]
    with pytest.raises(ConfigError, match=r"was measured on runs/one/checkpoints/step_000002, not on"):
        export("runs/one@4", "--to", "other", "--results", "results")
    assert not Path("other").exists()


def test_a_folder_that_holds_something_else_is_never_replaced(in_folder: Path) -> None:
    trained_run(Path("runs"))
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    for more in ((), ("--overwrite",)):
        with pytest.raises(RunError, match="exists and is not an exported model"):
            export("runs/one", "--to", "full", *more)
    assert Path("full/notes.txt").read_text() == "mine"
    Path("empty").mkdir()
    export("runs/one@2", "--to", "empty")
    with pytest.raises(RunError, match=r"holds an exported model.*--overwrite"):
        export("runs/one", "--to", "empty")
    export("runs/one", "--to", "empty", "--overwrite")
    record = read_record(Path("empty"))
    assert record is not None
    assert record.step == 4


def test_an_export_that_fails_leaves_nothing_behind(in_folder: Path) -> None:
    def lost(folder: Path) -> None:
        adapter_checkpoint(folder)
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "/nowhere/base"}))

    trained_run(Path("runs"), model=lost)
    before = sorted(Path().rglob("*"))
    with pytest.raises(ModelError, match="/nowhere/base"):
        export("runs/one", "--to", "model")
    assert sorted(Path().rglob("*")) == before


def test_what_cannot_be_exported_is_refused_with_what_can(in_folder: Path) -> None:
    trained_run(Path("runs"))
    packaged_model(Path("plain"))
    with pytest.raises(ConfigError, match=r"'plain' is not a run's model. Name a run, RUN@STEP"):
        export("plain", "--to", "model")
    with pytest.raises(RunError, match="Steps with one: 2, 4"):
        export("runs/one@3", "--to", "model")
    with pytest.raises(ConfigError, match=r"Did you mean 'hf-card'.* --to ./hf_card"):
        export("runs/one", "--to", "hf_card")
    with pytest.raises(ConfigError, match="--suite would be ignored by --to model, a folder for the model"):
        export("runs/one", "--to", "model", "--suite", "sums")
    with pytest.raises(ConfigError, match="--dtype would be ignored by --to hf-card"):
        export("runs/one", "--to", "hf-card", "--dtype", "float32")
    Path("runs/one/checkpoints/step_000004/model.safetensors").write_bytes(b"short")
    with pytest.raises(RunError, match=r"model.safetensors is not the file that was written there"):
        export("runs/one", "--to", "model")


@pytest.mark.vllm
@pytest.mark.filterwarnings("default")  # vLLM's own
def test_vllm_gives_the_greedy_answers_of_the_checkpoint(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setattr(torch, "set_num_threads", torch.set_num_threads)  # vLLM leaves one that does nothing
    from vllm import LLM, SamplingParams

    trained_run(Path("runs"))
    export("runs/one", "--to", "model", "--dtype", "float32")
    checkpoint = load_model("runs/one/checkpoints/step_000004", CPU)
    llm = LLM("model", dtype="float32", max_model_len=256, enforce_eager=True)
    params = SamplingParams(temperature=0, max_tokens=24)
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    answers = llm.chat(chats, params, use_tqdm=False)
    llm.llm_engine.engine_core.shutdown()
    for prompt, answer in zip(prompts(), answers, strict=True):
        assert list(answer.prompt_token_ids) == prompt
        assert list(answer.outputs[0].token_ids) == greedy(checkpoint, prompt)
