"""Pipeline files: what a stage's settings become, what its commands are, and which mistakes are named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reasonrl.config.find import find_run
from reasonrl.config.kinds import AnyConfig
from reasonrl.config.reward_model import RewardModelConfig
from reasonrl.config.runfile import load_any
from reasonrl.config.settings import RunConfig
from reasonrl.config.stages import Pipeline, load_pipeline
from reasonrl.errors import ConfigError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.pipeline.commands import stage_commands
from reasonrl.run.pipeline.plan import plan_pipeline
from reasonrl.run.pipeline.state import PipelineState, StageInputs, read_state, write_state
from reasonrl.run.plan.estimates import Estimate, Measured, Plan

PIPELINE = """\
name: small
stages:
- name: warm
  sft:
    model: tiny
    template: plain
    data: {task: arithmetic, completion: " {{ answer }}"}
    rows_per_step: 4
    learner: {learning_rate: 1e-4}
- name: rl
  train: quickstart
  settings: {model: {name: "${warm}"}, run: {steps: 7}, rollout: {samples_per_prompt: 4}}
- name: kept
  sample:
    run: quickstart
    settings: {model: "${rl@5}"}
    schemas: [sft, preference]
    num_problems: 8
- name: tuned
  sft:
    model: tiny
    template: r1_zero
    data: {path: "${kept.sft}"}
    learner: {learning_rate: 1e-4}
- name: judge
  rm_train: rlhf-tiny-reward-model
  settings: {data: {sampled: {model: "${tuned}"}}}
- name: out
  export: {model: "${tuned}"}
evaluation: {suites: [arithmetic]}
"""


@pytest.fixture
def load(in_folder: Path) -> Callable[..., Pipeline]:
    """Writes a pipeline file with some text replaced, and reads it."""

    def read(*changes: tuple[str, str], overrides: tuple[str, ...] = ()) -> Pipeline:
        text = PIPELINE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        Path("small.yaml").write_text(text)
        return load_pipeline(Path("small.yaml"), overrides)

    return read


def test_a_stage_follows_a_recipe_with_some_settings_replaced(load: Callable[..., Pipeline]) -> None:
    pipeline = load()
    config = pipeline.stage("rl").config(pipeline.outputs())
    assert isinstance(config, RunConfig)
    recipe = load_any(find_run("quickstart"))
    assert isinstance(recipe, RunConfig)
    assert (config.name, config.run.root, config.model.name) == ("rl", "runs/small", "runs/small/warm")
    assert (config.run.steps, config.rollout.samples_per_prompt) == (7, 4)
    assert (config.rollout.max_new_tokens, config.run.checkpoint_every) == (recipe.rollout.max_new_tokens, 20)
    judge = pipeline.stage("judge").config(pipeline.outputs())
    assert isinstance(judge, RewardModelConfig)
    assert judge.data.sampled is not None
    assert (judge.data.sampled.model, judge.data.sampled.num_problems) == ("runs/small/tuned", 2400)


def test_what_stands_for_a_stage_is_its_run_its_rows_or_its_folder(load: Callable[..., Pipeline]) -> None:
    assert load().outputs() == {
        "${warm}": "runs/small/warm",
        "${rl@5}": "runs/small/rl@5",
        "${kept.sft}": "runs/small/kept/sft.jsonl",
        "${tuned}": "runs/small/tuned",
    }


def test_the_commands_of_a_stage_are_those_that_a_person_would_type(load: Callable[..., Pipeline]) -> None:
    pipeline = load(overrides=("rl.run.steps=9", "kept.num_problems=6", "kept.rollout.max_new_tokens=5"))
    outputs = pipeline.outputs()

    def commands(name: str) -> list[list[str]]:
        return list(stage_commands(pipeline.stage(name), outputs))

    assert commands("rl") == [["train", "runs/small/rl.yaml", "run.steps=9"]]
    assert commands("judge") == [["rm", "train", "runs/small/judge.yaml"]]
    assert commands("out") == [["export", "runs/small/tuned", "--to", "runs/small/out", "--dtype", "bfloat16"]]
    first, second = commands("kept")
    common = ["sample", "runs/small/kept.yaml", "rollout.max_new_tokens=5", "--split", "train", "--num-problems", "6"]
    assert first[: len(common)] == second[: len(common)] == common
    assert first[len(common) :] == [
        *("--out", "runs/small/kept/sft.jsonl", "--samples", "runs/small/kept/samples.jsonl", "--schema", "sft"),
        "--overwrite",
    ]
    Path("runs/small/rl").mkdir(parents=True)
    Path("runs/small/rl/manifest.json").touch()
    assert commands("rl") == [["train", "--resume", "runs/small/rl"]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("${warm}", "${wram}"), r"there is no earlier stage 'wram'; earlier are: warm"),
        (("${warm}", "${tuned}"), r"there is no earlier stage 'tuned'"),
        (("${warm}", "${warm.sft}"), r"warm samples nothing"),
        (("${kept.sft}", "${kept}"), r"write one of: \$\{kept.sft\}, \$\{kept.preference\}"),
        (("${kept.sft}", "${kept.kto}"), r"kept has rows of: sft, preference, samples"),
        (("${kept.sft}", "${kept@3}"), r"kept is no run, so that it has no steps"),
        (("${kept.sft}", "${a b}"), r"write \$\{STAGE\}"),
        (("name: rl", "name: warm"), r"two stages are called 'warm'"),
        (("train: quickstart", "train: quickstrat"), r"quickstart"),
        (("train: quickstart", "train: rlhf-tiny-reward-model"), r"trains a reward model.*reasonrl rm train"),
        (("train: quickstart", "sft: {model: tiny}"), r"write these under sft"),
        (("steps: 7", "stepps: 7"), r"stage rl: small.yaml:12  run.stepps: .*[Dd]id you mean 'steps'"),
        (("rows_per_step: 4", "rows_per_step: 0"), r"stage warm: small.yaml:8  rows_per_step"),
        (("steps: 7", "steps: 7, root: other"), r"run.root: is the pipeline's"),
        (('{name: "${warm}"}', '"${kept.sft}"'), r"there is no earlier stage 'kept'"),
        (
            ('sampled: {model: "${tuned}"}', 'sampled: {model: "${tuned}"}}, model: "${kept.sft}", run: {'),
            r"rows, no model",
        ),
        (("num_problems: 8", "num_problem: 8"), r"small.yaml:18  stages.2.sample.num_problem"),
        (("schemas: [sft, preference]", "schemas: [samples]\n    keep: best"), r"all completions"),
    ],
)
def test_mistakes_are_named_with_their_place(load: Callable[..., Pipeline], change: tuple[str, str], said: str) -> None:
    with pytest.raises((ConfigError, Exception), match=said) as error:
        load(change)
    assert type(error.value).__module__ == "reasonrl.errors", error.value


def test_an_override_may_refer_to_earlier_stages_alone(load: Callable[..., Pipeline]) -> None:
    pipeline = load(overrides=("tuned.model=${rl}",))
    assert pipeline.stage("tuned").config(pipeline.outputs()).model.name == "runs/small/rl"
    with pytest.raises(ConfigError, match=r"stage rl: \$\{tuned\}: there is no earlier stage 'tuned'"):
        load(overrides=("rl.model=${tuned}",))
    with pytest.raises(ConfigError, match=r"write \$\{STAGE\}"):
        load(overrides=("rl.model=${a b}",))


def test_mistakes_of_several_stages_are_told_at_once(load: Callable[..., Pipeline]) -> None:
    with pytest.raises(ConfigError) as error:
        load(("rows_per_step: 4", "rows_per_step: 0"), ("steps: 7", "steps: 0"))
    assert [line.partition(":")[0] for line in str(error.value).split("\n")] == ["stage warm", "stage rl"]


def test_a_pipeline_is_no_run_and_a_run_is_no_pipeline(load: Callable[..., Pipeline]) -> None:
    load()
    with pytest.raises(ConfigError, match=r"small\.yaml is a pipeline of several runs: reasonrl pipeline small\.yaml"):
        load_any(Path("small.yaml"))
    with pytest.raises(ConfigError, match="is a pipeline of several runs"):
        find_run("small.yaml", "policy")
    with pytest.raises(ConfigError, match="no pipeline: use reasonrl train"):
        load_pipeline(find_run("quickstart"))


@pytest.mark.parametrize("name", ["r1-pipeline-tiny", "r1-pipeline-qwen2.5-1.5b"])
def test_the_recipes_load_with_all_their_stages(name: str, in_folder: Path) -> None:
    pipeline = load_pipeline(Path(str(Plugins().find("configs", name).offered)))
    assert pipeline.config.name == name
    assert pipeline.config.description
    assert [stage.kind for stage in pipeline.stages][:4] == ["sft", "train", "sample", "sft"]
    for stage in pipeline.stages:
        assert list(stage_commands(stage, pipeline.outputs()))


def test_a_plan_stands_for_models_that_are_not_there_by_the_one_that_their_chain_begins_with(
    load: Callable[..., Pipeline],
) -> None:
    seen: dict[str, str] = {}

    def plan_of(config: AnyConfig) -> Plan:
        seen[config.name] = config.model.name
        measured = Measured(seconds={"all": Estimate(10.0, 20.0)}, memory=Estimate.of(1.0))
        return Plan(path=config.name, steps=7, lines=(), measured=measured)

    found = plan_pipeline(load(), plan_of)
    assert seen == {"warm": "tiny", "rl": "tiny", "judge": "tiny"}
    stages = {stage["name"]: stage for stage in found.values["stages"]}
    assert stages["rl"]["note"] == "planned with ${warm} by tiny"
    assert (
        stages["kept"]["note"]
        == "8 problems x 8 completions x at most 80 tokens; keeps rows for sft (right), preference (best)"
    )
    assert stages["tuned"]["note"] == "cannot be planned before ${kept.sft} is there"
    assert found.values["time_s"] == {"expected": 30.0, "most": 60.0}
    assert "[2/6] rl (train): waits for warm" in found.text


def inputs(**changes: Any) -> StageInputs:
    """Inputs of a stage. Any: fields of StageInputs."""
    fields: dict[str, Any] = {"kind": "train", "settings": {"seed": 1}, "made": {"${a}": "sha256:1"}}
    return StageInputs(**{**fields, **changes})


def test_what_changed_is_named() -> None:
    assert inputs().difference(inputs()) == ""
    assert inputs().difference(inputs(settings={"seed": 2})) == "seed was 1 and is 2 now"
    assert inputs().difference(inputs(made={"${a}": "sha256:2"})) == "what stands for ${a} changed"
    assert inputs().difference(inputs(files={"rewards.py": "sha256:3"})) == "the content of rewards.py changed"


def test_the_state_of_a_pipeline_is_read_back(tmp_path: Path) -> None:
    state = PipelineState().begun("a", inputs()).has_sampled("a").measures("a", "1234")
    write_state(tmp_path / "runs" / "p", state)
    assert read_state(tmp_path / "runs" / "p") == state
    assert state.begun("a", inputs()).sampled == ()
    assert read_state(tmp_path) == PipelineState()


def test_a_pipeline_written_with_plain_yaml_survives_a_round_trip(load: Callable[..., Pipeline]) -> None:
    pipeline = load()
    Path("again.yaml").write_text(yaml.safe_dump(pipeline.config.model_dump(mode="json", exclude_unset=True)))
    assert load_pipeline(Path("again.yaml")).config == pipeline.config
