"""A run that begins with what another run has made: which checkpoint that is, and with which prompt template."""

import json
from pathlib import Path
from typing import Any

import pytest
from reported_runs import policy_config
from trained_runs import finetuned_run, trained_run
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.kinds import KINDS, KindName
from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError, ModelError, RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.lineage import TEMPLATES, model_of_run, parent_of, resolve_model
from reasonrl.run.start import fork_run, start_config

PLUGINS = Plugins()


def begun_with(model: str, **settings: Any) -> RunConfig:
    """A run of the next stage, in the folder ``runs``. Any: settings."""
    return policy_config(Path("runs"), "next", 1, **{"template": "r1_zero", **settings, "model": model})


def allowing(model: str, **settings: Any) -> RunConfig:
    """The same, with another template on purpose. Any: settings."""
    config = begun_with(model, **settings)
    return config.model_copy(update={"model": config.model.model_copy(update={"allow_other_template": True})})


def test_a_runs_name_stands_for_its_latest_checkpoint_and_with_a_step_for_that_one(in_folder: Path) -> None:
    trained_run(Path("runs"))
    for written, meant in {
        "runs/one": "runs/one/checkpoints/step_000004",
        "runs/one@2": "runs/one/checkpoints/step_000002",
        "runs/one/checkpoints/step_000002": "runs/one/checkpoints/step_000002",
        "tiny": "tiny",
    }.items():
        assert resolve_model(begun_with(written), PLUGINS).model.name == meant
    with pytest.raises(RunError, match="Steps with one: 2, 4"):
        resolve_model(begun_with("runs/one@3"), PLUGINS)
    with pytest.raises(RunError, match=r"there is no such folder. Did you mean 'one'"):
        resolve_model(begun_with("runs/onne"), PLUGINS)


def test_the_manifest_names_run_and_step_of_the_model_that_a_run_begins_with(in_folder: Path) -> None:
    trained_run(Path("runs"))
    resolved = resolve_model(begun_with("runs/one@2"), PLUGINS)
    assert parent_of(resolved, PLUGINS) == {"run": "runs/one", "step": 2}
    assert parent_of(begun_with("tiny"), PLUGINS) is None


def test_another_template_is_refused_with_both_names_unless_that_is_on_purpose(in_folder: Path) -> None:
    trained_run(Path("runs"))
    with pytest.raises(ModelError) as refused:
        resolve_model(begun_with("runs/one", template="boxed"), PLUGINS)
    said = str(refused.value)
    assert "runs/one@4 was trained with template 'r1_zero', but this run has 'boxed'" in said
    assert "Write template: r1_zero, or change the template on purpose: model.allow_other_template: true" in said
    assert resolve_model(allowing("runs/one", template="boxed"), PLUGINS).template == "boxed"


def test_templates_are_compared_by_their_text(in_folder: Path) -> None:
    Path("mine.jinja").write_text("Q: {{ prompt }} A:")
    Path("copy.jinja").write_text("Q: {{ prompt }} A:")
    trained_run(Path("runs"), settings={"template": "mine.jinja"})
    assert resolve_model(begun_with("runs/one", template="copy.jinja"), PLUGINS).template == "copy.jinja"
    Path("mine.jinja").write_text("Question: {{ prompt }} A:")
    with pytest.raises(ModelError, match=r"'mine.jinja' has another text than when runs/one@4 was trained with it"):
        resolve_model(begun_with("runs/one", template="mine.jinja"), PLUGINS)
    Path("mine.jinja").unlink()
    assert resolve_model(begun_with("runs/one", template="copy.jinja"), PLUGINS).template == "copy.jinja"


def test_a_model_that_was_trained_with_several_templates_goes_on_with_any_of_them(in_folder: Path) -> None:
    tasks = [
        {"name": "arithmetic", "label": "sums", "template": "r1_zero"},
        {"name": "arithmetic", "label": "more sums", "template": "plain", "params": {"min_terms": 4, "max_terms": 4}},
    ]
    trained_run(Path("runs"), settings={"task": tasks, "template": "boxed"})
    for template in ("r1_zero", "plain"):
        resolve_model(begun_with("runs/one", template=template), PLUGINS)
    with pytest.raises(ModelError, match="trained with template 'r1_zero' and 'plain', but this run has 'boxed'"):
        resolve_model(begun_with("runs/one", template="boxed"), PLUGINS)


def test_a_run_of_a_version_that_kept_no_texts_is_judged_by_the_templates_that_are_installed(in_folder: Path) -> None:
    run = trained_run(Path("runs"))
    (run.path / TEMPLATES).unlink()
    resolve_model(begun_with("runs/one"), PLUGINS)
    with pytest.raises(ModelError, match="was trained with template 'r1_zero'"):
        resolve_model(begun_with("runs/one", template="plain"), PLUGINS)


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
def test_runs_of_finetuning_make_models_with_a_template_and_begin_with_such(in_folder: Path, kind: KindName) -> None:
    finetuned_run(Path("runs"), kind)
    resolved = resolve_model(begun_with("runs/tuned"), PLUGINS)
    assert parent_of(resolved, PLUGINS) == {"run": "runs/tuned", "step": 3}
    with pytest.raises(ModelError, match="runs/tuned@3 was trained with template 'r1_zero', but this run has 'plain'"):
        resolve_model(begun_with("runs/tuned", template="plain"), PLUGINS)
    given = {"name": "next", "model": "runs/tuned@3", "data": {"path": "rows.jsonl"}}
    settings = KINDS[kind].settings
    with pytest.raises(ModelError, match="but this run has 'chat'"):
        resolve_model(settings.model_validate(given), PLUGINS)
    tuned = resolve_model(settings.model_validate({**given, "template": "r1_zero"}), PLUGINS)
    assert tuned.model.name == "runs/tuned/checkpoints/step_000003"


def test_a_reward_model_is_begun_with_whatever_template_a_policy_was_trained_with(in_folder: Path) -> None:
    trained_run(Path("runs"))
    given = {"name": "rm", "model": "runs/one", "data": {"path": "pairs.jsonl"}, "template": "plain"}
    resolved = resolve_model(RewardModelConfig.model_validate(given), PLUGINS)
    assert resolved.model.name == "runs/one/checkpoints/step_000004"
    with pytest.raises(ValueError, match="allow_other_template would be ignored"):
        RewardModelConfig.model_validate({**given, "model": {"name": "runs/one", "allow_other_template": True}})


def test_the_run_of_a_reward_model_stands_for_its_finished_model_and_for_no_policy(in_folder: Path) -> None:
    config = RewardModelConfig.model_validate(
        {"name": "judge", "model": "tiny", "data": {"path": "pairs.jsonl"}, "run": {"root": "runs"}}
    )
    run = RunDirectory.create(config, "", environment={}, argv=[])
    with pytest.raises(ModelError, match="without a finished reward model"):
        model_of_run("runs/judge", "reward_model")
    run.publish_model(lambda folder: (folder / "reward_model.json").touch())
    assert model_of_run("runs/judge", "reward_model") == "runs/judge/model"
    run.save_checkpoint(3, 3, lambda folder: None, keep=1)
    assert model_of_run("runs/judge@3", "reward_model") == "runs/judge/checkpoints/step_000003"
    with pytest.raises(RunError, match="trains a reward model, which writes no completions"):
        model_of_run("runs/judge")


@pytest.mark.slow
def test_a_new_run_keeps_the_checkpoint_the_parent_and_the_texts_of_its_templates(in_folder: Path) -> None:
    trained_run(Path("runs"))
    small = {
        "rewards": ["exact_answer"],
        "rollout": {"prompts_per_step": 2, "samples_per_prompt": 2, "max_new_tokens": 4},
    }
    start_config(begun_with("runs/one@2", **small), "", [], argv=[])
    run = RunDirectory.open(Path("runs/next"))
    assert run.config.model.name == "runs/one/checkpoints/step_000002"
    assert run.manifest.parent == {"run": "runs/one", "step": 2}
    assert "began with runs/one@2" in CliRunner().invoke(app, ["show", "runs/next"]).output
    assert "Began with <bdi>runs/one@2</bdi>" in (run.path / "report.html").read_text()
    (card,) = json.loads((run.path / TEMPLATES).read_text())
    assert (card["name"], card["chat"]) == ("r1_zero", False)
    with pytest.raises(ModelError, match=r"runs/next@1 was trained with template 'r1_zero'"):
        fork_run("runs/next@1", ["name=fork", "template=plain"], [], argv=[])


def test_a_plan_refuses_the_other_template_too(in_folder: Path) -> None:
    trained_run(Path("runs"))
    Path("run.yaml").write_text(
        "name: next\nmodel: runs/one\ntemplate: plain\ntask: arithmetic\nrewards: [exact_answer]\nrun: {steps: 1}\n"
    )
    for command in ("plan", "doctor", "train"):
        found = CliRunner().invoke(app, [command, "run.yaml"])
        assert isinstance(found.exception, ModelError), command
        assert "was trained with template 'r1_zero', but this run has 'plain'" in str(found.exception)
    with pytest.raises(ConfigError, match="Did you mean 'allow_other_template'"):
        CliRunner().invoke(app, ["plan", "run.yaml", "model.alow_other_template=true"], catch_exceptions=False)
