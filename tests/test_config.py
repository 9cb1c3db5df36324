"""Run files: strict, explained, and complete in their complaints."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.algorithms.presets import PRESETS
from reasonrl.config.mistakes import MOVED
from reasonrl.config.runfile import dump_run, explain_setting, load_run, override_run
from reasonrl.config.settings import AlgorithmSettings, RunConfig
from reasonrl.errors import ConfigError

GOOD = """\
name: sums
model: tiny
task: arithmetic
rewards: [numeric_answer]
algorithm: grpo
run: {steps: 3}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def complaint(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_run(write(folder, text), overrides)
    return str(caught.value)


def test_an_unknown_key_is_refused_with_file_line_and_nearest_name(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD + "rollout:\n  sampels_per_prompt: 4\n")
    assert "run.yaml:8" in said
    assert "rollout.sampels_per_prompt: unknown setting. Did you mean 'samples_per_prompt'?" in said


def test_an_unknown_key_inside_a_list_is_named_with_its_line(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD.replace("[numeric_answer]", "\n  - name: a\n    wieght: 2"))
    assert "run.yaml:6  rewards.0.wieght" in said
    assert "'weight'" in said


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD + "learner: {learning_rate: fast, epoch: 2}\nrun2: 1\n")
    assert len(said.splitlines()) == 3


def test_single_completions_are_not_waited_for_to_differ(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD.replace("grpo", "dapo") + "rollout: {samples_per_prompt: 1}\n")
    assert "set refill_attempts: 0" in said


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    assert "model: this setting is required" in complaint(tmp_path, GOOD.replace("model: tiny\n", ""))


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    assert "run.yaml:7  name: given twice" in complaint(tmp_path, GOOD + "name: other\n")


@pytest.mark.parametrize("text", ["- a\n- b\n", "", "name: [unclosed\n", "just text"])
def test_a_file_that_is_no_run_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    assert "run.yaml" in complaint(tmp_path, text)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_run(tmp_path / "none.yaml")


@given(number=st.sampled_from(["1e-5", "1E-5", "1.5e3", "-2e-1", "3.", ".5", "1e+2"]))
def test_yaml_numbers_with_exponents_are_numbers(number: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(
        tmp_path_factory.mktemp("yaml"), GOOD + f"task: {{name: a, params: {{x: {number}}}}}\n".replace("task", "x")
    )
    path.write_text(GOOD.replace("task: arithmetic", f"task: {{name: a, params: {{x: {number}}}}}"))
    value = load_run(path).tasks[0].ref.params["x"]
    assert isinstance(value, float)
    assert value == float(number)


def test_words_versions_and_integers_stay_what_they_are(tmp_path: Path) -> None:
    text = GOOD.replace("task: arithmetic", "task: {name: a, params: {i: 12, v: 1.2.3, w: e5, s: '1e5'}}")
    assert load_run(write(tmp_path, text)).tasks[0].ref.params == {"i": 12, "v": "1.2.3", "w": "e5", "s": "1e5"}


def test_overrides_replace_settings_and_open_bare_names(tmp_path: Path) -> None:
    config = load_run(
        write(tmp_path, GOOD),
        [
            "model.device=cpu",
            "algorithm.loss.params.clip_high=0.28",
            "rewards.0.weight=0.5",
            "task.params.max_value=9",
            "seed=7",
        ],
    )
    assert (config.model.name, config.model.device) == ("tiny", "cpu")
    assert (config.algorithm.preset, config.algorithm.loss.params) == ("grpo", {"clip_low": 0.2, "clip_high": 0.28})
    assert (config.rewards[0].name, config.rewards[0].weight) == ("numeric_answer", 0.5)
    ref = config.tasks[0].ref
    assert (ref.name, ref.params, config.seed) == ("arithmetic", {"max_value": 9}, 7)


def test_a_wrong_override_is_named_as_such(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD, "learner.learnin_rate=1")
    assert said.startswith("override 'learner.learnin_rate=1'")
    assert "'learning_rate'" in said


@pytest.mark.parametrize("override", ["nothing", "=3", "rewards.5.weight=1", "rewards.x.weight=1"])
def test_an_override_that_cannot_be_applied_is_refused(tmp_path: Path, override: str) -> None:
    assert repr(override) in complaint(tmp_path, GOOD, override)


def test_minibatches_must_divide_the_step(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD + "learner: {minibatch_sequences: 7}\n")
    assert "does not divide" in said


def test_a_value_beside_a_preset_replaces_its_own_and_parameters_of_its_loss_are_added(tmp_path: Path) -> None:
    given = "algorithm: {preset: dapo, reduction: fixed_length, loss: {params: {clip_low: 0.1}}}"
    algorithm = load_run(write(tmp_path, GOOD.replace("algorithm: grpo", given))).algorithm
    dapo = AlgorithmSettings.model_validate("dapo")
    assert algorithm.loss.params == {"clip_low": 0.1, "clip_high": 0.28}
    assert algorithm == dapo.model_copy(update={"reduction": "fixed_length", "loss": algorithm.loss})


@pytest.mark.parametrize(
    ("given", "name", "params"),
    [
        ("clipped_surrogate", "clipped_surrogate", {"clip_low": 0.2, "clip_high": 0.2}),
        ("{name: gspo, params: {clip_high: 0.1}}", "gspo", {"clip_high": 0.1}),
        ("cispo", "cispo", {}),
        ("{params: {dual_clip: 3}}", "clipped_surrogate", {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": 3}),
    ],
)
def test_another_loss_than_the_presets_brings_its_own_parameters_alone(
    tmp_path: Path, given: str, name: str, params: dict[str, float]
) -> None:
    text = GOOD.replace("algorithm: grpo", f"algorithm: {{preset: grpo, loss: {given}}}")
    loss = load_run(write(tmp_path, text)).algorithm.loss
    assert (loss.name, loss.params) == (name, params)


def test_an_override_reaches_into_a_loss_that_is_named_like_a_preset(tmp_path: Path) -> None:
    text = GOOD.replace("algorithm: grpo", "algorithm: {preset: grpo, loss: gspo}")
    loss = load_run(write(tmp_path, text), ["algorithm.loss.params.clip_low=0.1"]).algorithm.loss
    assert (loss.name, loss.params) == ("gspo", {"clip_low": 0.1})


@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_with_a_preset_reads_back_the_same(tmp_path: Path, preset: str) -> None:
    config = load_run(write(tmp_path, GOOD), [f"algorithm={preset}", "algorithm.advantage.params.epsilon=0.1"])
    assert load_run(write(tmp_path, dump_run(config))) == override_run(config, []) == config


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_setting_that_moved_is_refused_with_its_new_place(tmp_path: Path, old: str, new: str) -> None:
    assert complaint(tmp_path, GOOD, f"{old}=0.3").endswith(f"{old} is now {new}.")
    with pytest.raises(ConfigError, match=f"^{old} is now {new}"):
        explain_setting(old)
    if not new.startswith("algorithm.loss.params."):
        assert explain_setting(new)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("algorithm.truncated=penalise", "algorithm.truncated: input should be 'penalize', 'mask' or 'drop'"),
        ("algorithm.truncated=penalise", "Did you mean 'penalize'?"),
        ("algorithm.loss=clipped_surogate", "algorithm.loss: no 'clipped_surogate'. Did you mean 'clipped_surrogate'?"),
        ("algorithm.advantage=gdop", "algorithm.advantage: no 'gdop'. Did you mean 'gdpo'?"),
        ("rollout.engine=vlm", "rollout.engine: no 'vlm'. Did you mean 'vllm'?"),
        ("observers=[nobody]", "observers.0: no 'nobody'. Known:"),
    ],
)
def test_a_word_that_cannot_be_is_refused_with_the_nearest(tmp_path: Path, override: str, said: str) -> None:
    assert said in complaint(tmp_path, GOOD, override)


def test_an_unknown_preset_is_refused_with_the_nearest(tmp_path: Path) -> None:
    assert "Did you mean 'grpo'?" in complaint(tmp_path, GOOD.replace("grpo", "grop"))


def test_a_dumped_run_reads_back_the_same(tmp_path: Path) -> None:
    config = load_run(write(tmp_path, GOOD))
    assert load_run(write(tmp_path, dump_run(config))) == config
    assert override_run(config, ["seed=3"]).seed == 3


def test_every_setting_has_a_sentence_of_documentation() -> None:
    def walk(prefix: str) -> list[str]:
        rows = explain_setting(prefix)
        undocumented = [f"{prefix}.{name}" for name, _, _, sentence in rows if not sentence]
        for name, _, default, _ in rows:
            if not default and name not in ("algorithm",):
                undocumented += walk(f"{prefix}.{name}".strip("."))
        return undocumented

    assert walk("") == []


def test_explaining_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        explain_setting("learner.learning_rat")


def test_the_schema_refuses_unknown_keys_too() -> None:
    assert RunConfig.model_json_schema()["additionalProperties"] is False


def test_the_resolved_yaml_is_plain_yaml(tmp_path: Path) -> None:
    assert yaml.safe_load(dump_run(load_run(write(tmp_path, GOOD))))["name"] == "sums"


BAD_REWARDS = [
    ("[a, a]", "rewards.1: 'a' is there already; give one of them a label"),
    ("[a, {name: b, label: a}]", "rewards.1: 'a' is there already"),
    ("[{name: a, gate: matth}, math]", "rewards.0.gate: no other reward 'matth'. Did you mean 'math'?"),
    ("[{name: a, gate: a}, b]", "rewards.0.gate: no other reward 'a'"),
    ("[{name: a, gate: b}, {name: b, gate: c}, {name: c, gate: a}]", "the gates of a and b and c wait for each other"),
    ("[{name: a, gate_at_least: 0.5}]", "rewards.0: gate_at_least is set, but there is no gate"),
    (
        "[{name: a, isolated: false, timeout_s: 3}]",
        "rewards.0: timeout_s or timeout_value is set, but isolated is false",
    ),
    ("[{name: a, isolated: false, timeout_value: 0}]", "rewards.0: timeout_s or timeout_value is set"),
    ("[{name: a, label: mean}]", "rewards.0.label: 'mean' cannot be a label"),
    ("[{name: a, weight: much}]", "rewards.0.weight: input should be a valid number"),
    ("[{name: a, weight: .inf}]", "rewards.0.weight: should be a finite number, got inf"),
    ("[{name: a, weight: 0}, {name: b, weight: {start: 0, end: 0, steps: 9}}]", "rewards: every weight is 0"),
    (
        "[{name: a, weight: {start: 1, ende: 0, steps: 9}}]",
        "rewards.0.weight.ende: unknown setting. Did you mean 'end'?",
    ),
    ("[{name: a, weight: {start: 1, end: 0, steps: 1}}]", "rewards.0.weight.steps: input should be greater than"),
    ("[{name: a, wieght: 1}]", "rewards.0.wieght: unknown setting. Did you mean 'weight'?"),
    ("[{name: a, style: trll}]", "rewards.0.style: input should be 'auto', 'plain', 'trl'"),
]


@pytest.mark.parametrize(("rewards", "said"), BAD_REWARDS)
def test_rewards_that_contradict_themselves_or_each_other_are_refused(tmp_path: Path, rewards: str, said: str) -> None:
    assert "run.yaml" in (found := error_of(tmp_path, rewards))
    assert said in found


def error_of(folder: Path, rewards: str) -> str:
    """What a run with these rewards is refused with."""
    path = folder / "run.yaml"
    path.write_text(f"name: a\nmodel: tiny\ntask: arithmetic\nrun: {{steps: 3}}\nrewards: {rewards}\n")
    with pytest.raises(ConfigError) as caught:
        load_run(path)
    return str(caught.value)


def test_settings_of_workers_are_refused_where_there_are_none(tmp_path: Path) -> None:
    found = error_of(tmp_path, "[{name: a, isolated: false}]\nscoring: {workers: 2}")
    assert "scoring.workers is set, but every reward says isolated: false" in found


def test_a_weight_that_moves_reads_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    weight = "{start: 0, end: 0.5, steps: 20, shape: cosine}"
    path.write_text(f"name: a\nmodel: tiny\ntask: x\nrun: {{steps: 3}}\nrewards: [{{name: a, weight: {weight}}}]\n")
    config = load_run(path)
    path.write_text(dump_run(config))
    assert load_run(path) == config
    assert config.rewards[0].weight_at(20) == 0.5
    assert load_run(path, ["rewards.0.weight=2"]).rewards[0].weight_at(20) == 2.0
