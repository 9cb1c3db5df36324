"""Run files: values that nobody can mean, names of other frameworks, and YAML that is not what it looks like.

Every setting of every kind of run is tried, so that a new one cannot be forgotten.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from reasonrl.config.kinds import KINDS, AnyConfig, Kind
from reasonrl.config.mistakes import settings_named
from reasonrl.config.runfile import load_settings
from reasonrl.config.settings import RunConfig
from reasonrl.config.synonyms import SYNONYMS, translated
from reasonrl.errors import ConfigError, did_you_mean

POLICY = """\
name: sums
model: tiny
task: arithmetic
rewards: [numeric_answer]
algorithm: grpo
run: {steps: 30}
"""
REWARD_MODEL = """\
name: judge
model: tiny
data: {path: pairs.jsonl}
run: {steps: 30}
"""
NO_NUMBERS = ["true", "false", ".nan", ".inf", "-.inf", "'1'", "'1e-4'", "fast", "[1]", "{a: 1}", "2024-01-01"]
NO_TRUTH = ["1", "0", "'true'", "'no'", "[true]", "1.0"]
COMING_FROM = Path(__file__).parents[1] / "docs" / "coming-from.md"


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the type of every setting that is no group, list positions as 0. Any: a type."""
    for name, field in model.model_fields.items():
        inner = list(groups_in(field.annotation))
        for position, each in inner:
            yield from leaves(each, f"{prefix}{name}.{position}")
        if not inner or accepts(field.annotation, float):
            yield f"{prefix}{name}", field.annotation


def groups_in(annotation: Any, position: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the groups of settings that may stand somewhere, each after its position in a list. Any: a type."""
    if get_origin(annotation) is Annotated:
        yield from groups_in(get_args(annotation)[0], position)
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from groups_in(member, position)
    elif get_origin(annotation) is list:
        yield from groups_in(get_args(annotation)[0], f"{position}0.")
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield position, annotation


def accepts(annotation: Any, kind: type) -> bool:
    """Say whether a setting takes values of a plain type itself. Any: a type."""
    if annotation is kind:
        return True
    if get_origin(annotation) in (list, tuple, dict, Literal):
        return False
    members = get_args(annotation)
    return any(accepts(each, kind) for each in (members[:1] if get_origin(annotation) is Annotated else members))


def of_type(*kinds: type) -> list[tuple[Kind, str]]:
    """List kind of run and path of the settings that take one of some plain types."""
    return [
        (kind, path)
        for kind in KINDS.values()
        for path, annotation in leaves(kind.settings)
        if any(accepts(annotation, each) for each in kinds)
    ]


def load(folder: Path, kind: Kind, text: str, *overrides: str) -> AnyConfig:
    path = folder / "run.yaml"
    path.write_text(text)
    return load_settings(path, overrides, kind.settings)


def refusal(folder: Path, kind: Kind, path: str, value: str) -> str:
    """Set one setting on the command line and return what that is refused with; nothing where it is not."""
    base = POLICY if kind.name == "policy" else REWARD_MODEL
    groups = {"evaluation.suites.0": "evaluation.suites=[arithmetic]", "observers.0": "observers=['./a.py:b']"}
    groups |= {"rewards.0.weight.": "rewards.0.weight={start: 0, end: 1, steps: 9}"}
    groups |= {
        "data.sampled.": "data={sampled: {model: tiny, task: a, gold: b}}",
        "model.lora.": "model.lora={rank: 4}",
    }
    groups |= {"data.sampled.gold.weight.": "data.sampled.gold.weight={start: 0, end: 1, steps: 9}"}
    groups |= {"objective.": "objective={kind: bradley_terry}"}
    groups |= {
        "task.0.": "task=[{name: arithmetic, label: first, rewards: [{name: numeric_answer}]}]",
        "task.0.difficulty.": "task.0.difficulty={file: d.jsonl, min_pass_rate: 0.1}",
        "task.difficulty.": "task.difficulty={file: d.jsonl, min_pass_rate: 0.1}",
        "task.0.rewards.0.weight.": "task.0.rewards.0.weight={start: 0, end: 1, steps: 9}",
        "curriculum.": "curriculum={}",
    }
    needed = [override for start, override in groups.items() if path.startswith(start)]
    try:
        load(folder, kind, base, *needed, f"{path}={value}")
    except ConfigError as error:
        return str(error)
    return ""


NUMBERS = of_type(int, float)
TRUTHS = of_type(bool)
TEXTS = of_type(str)


def test_the_settings_are_found() -> None:
    found = {(kind.name, path) for kind, path in [*NUMBERS, *TRUTHS, *TEXTS]}
    assert len(found) > 150
    assert {("policy", "run.steps"), ("policy", "rewards.0.weight"), ("policy", "model.lora.rank")} <= found
    assert {("reward_model", "data.sampled.flip"), ("reward_model", "objective.centering")} <= found


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_no_setting_takes_for_a_number_what_is_none(tmp_path: Path, value: str) -> None:
    taken = [path for kind, path in NUMBERS if path.rpartition(".")[2] not in refusal(tmp_path, kind, path, value)]
    assert taken == []


@pytest.mark.parametrize("value", NO_TRUTH)
def test_no_setting_takes_for_true_or_false_what_is_neither(tmp_path: Path, value: str) -> None:
    taken = [path for kind, path in TRUTHS if path.rpartition(".")[2] not in refusal(tmp_path, kind, path, value)]
    assert taken == []


@pytest.mark.parametrize("value", ["3", "true", "2024-01-01", "[a]"])
def test_no_setting_takes_for_text_what_is_none(tmp_path: Path, value: str) -> None:
    taken = [path for kind, path in TEXTS if path.rpartition(".")[2] not in refusal(tmp_path, kind, path, value)]
    assert taken == []


@pytest.mark.parametrize("value", ["''", "' '"])
def test_text_is_empty_only_where_the_default_is(tmp_path: Path, value: str) -> None:
    taken = {path for kind, path in TEXTS if not refusal(tmp_path, kind, path, value)}
    assert taken <= {"description", "evaluation.allow_overlap"}


@pytest.mark.parametrize("value", ["-1", "-0.5", "-1e9"])
def test_no_setting_but_weights_and_thresholds_may_be_negative(tmp_path: Path, value: str) -> None:
    taken = {path for kind, path in NUMBERS if not refusal(tmp_path, kind, path, value)}
    signed = ("weight", "weight.start", "weight.end", "gate_at_least", "timeout_value", "pass_at")
    assert {path for path in taken if not path.endswith(signed)} == set()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("learner.adam_betas=[0.9, 1.0]", "learner.adam_betas.1: input should be less than 1"),
        ("learner.adam_betas=[true, 0.9]", "learner.adam_betas: should be a number, got true"),
        ("learner.learning_rate='1e-4'", "should be a number, got the text '1e-4': write it without quotes"),
        ("learner.warmup_steps=30", "the run has only 30 steps"),
        ("rollout.stop=[a, b, a]", "rollout.stop: holds 'a' twice"),
        ("rollout.temperature=0", "greater than 0"),
        ("task.params.x=.inf", "task.params: should be a finite number, got inf"),
        ("task.params.x=[1, {y: .nan}]", "task.params: should be a finite number, got nan"),
        ("vllm.options.x=.inf", "vllm.options: should be a finite number"),
        ("vllm.urls=[localhost]", "'localhost' is not the address of a server"),
        ("model.device=gpu", "'gpu' is not a device; use auto, cpu, cuda or cuda:N"),
        ("model=", "model: should be a group of settings (name, "),
        ("name=2024", "name: input should be a valid string, got 2024. Write text in quotes."),
        ("run.steps=", "run.steps: input should be a valid integer, got null"),
        ("seed=9223372036854775808", "seed: input should be less than or equal to"),
        ("evaluation.suites=[{name: arithmetic, num_samples: 4, temperature: 0}]", "so all would be the same"),
        ("observers=['./a.py:b', './a.py:b']", "observers.1: './a.py:b' is there already"),
        ("rewards=[]", "rewards: this setting is required"),
    ],
)
def test_values_that_contradict_what_they_are_for_are_refused(tmp_path: Path, setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, KINDS["policy"], POLICY, setting)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rollout:\n\tstop: [a]\n", ":8:1: not valid YAML: found character '\\t' that cannot start any token"),
        ("rollout:\n\tstop: [a]\n", "indent with spaces, not with tabs"),
        ("rollout: [a\nseed: 3\n", ":8:5: not valid YAML: expected ',' or ']'"),
        ("seed: a: b\n", ":7:8: not valid YAML: mapping values are not allowed here"),
        ("seed: !!python/object:os.system 3\n", ":7:7: not valid YAML: could not determine a constructor"),
        ("seed: *nothing\n", ":7:7: not valid YAML: found undefined alias 'nothing'"),
        ("---\nseed: 3\n", ":7:1: not valid YAML: but found another document"),
        ("learner: &l [*l]\n", "run.yaml:7  learner.0: refers to itself through an alias"),
        ("learner: {epochs: 1, epochs: 2}\n", "run.yaml:7  learner.epochs: given twice"),
        ("on: 3\n", "run.yaml:7  on: YAML reads this key as bool"),
        ("? [a, b]\n: c\n", "run.yaml:7  a key is a list or a mapping"),
        ("base: &b {epochs: x}\nlearner: {<<: *b}\n", "run.yaml:7  learner.epochs: input should be a valid integer"),
        ("description: \x1b[0m\n", "special characters are not allowed"),
        (f"description: {'[' * 1500}", "nested too deeply"),
    ],
)
def test_yaml_that_cannot_be_read_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, KINDS["policy"], POLICY + text)
    assert said in str(caught.value)
    assert "<unicode string>" not in str(caught.value)


def test_aliases_that_multiply_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    doubled = "".join(f"x{n + 1}: &x{n + 1} [{', '.join([f'*x{n}'] * 9)}]\n" for n in range(9))
    with pytest.raises(ConfigError, match="has more than 100000 values, through its aliases"):
        load(tmp_path, KINDS["policy"], f"{POLICY}x0: &x0 [1, 1]\n{doubled}")


def test_anchors_and_merge_keys_mean_what_yaml_says(tmp_path: Path) -> None:
    text = POLICY.replace("run: {steps: 30}", "run: &run {steps: 30}\nevaluation: {every: 7}")
    config = load(tmp_path, KINDS["policy"], f"{text}learner:\n  <<: {{epochs: 2, learning_rate: 1e-3}}\n  epochs: 3\n")
    assert isinstance(config, RunConfig)
    assert (config.learner.epochs, config.learner.learning_rate) == (3, 1e-3)


@pytest.mark.parametrize(("written", "steps"), [("010", 10), ("1_000", 1000), ("1e2", 100), ("+7", 7), ("0x10", 16)])
def test_numbers_are_read_as_people_write_them(tmp_path: Path, written: str, steps: int) -> None:
    assert load(tmp_path, KINDS["policy"], POLICY, f"run.steps={written}").run.steps == steps


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (POLICY.encode("utf-16"), "is not UTF-8 text, but UTF-16: save it as UTF-8"),
        (POLICY.encode("utf-16-be"), "is not text: it holds a NUL byte"),
        (b"\x7fELF\x02\x01\x01\x00", "is not text: it holds a NUL byte"),
        (POLICY.encode() + b"# caf\xe9\n", "is not UTF-8 text: byte 104 is 0xe9, in line 7"),
        (b"", "a run file is a mapping of settings"),
    ],
)
def test_a_file_that_is_no_utf_8_text_is_named_as_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "run.yaml", (), KINDS["policy"].settings)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_byte_order_mark_and_line_ends_of_other_systems_are_no_mistakes(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(POLICY.replace("\n", "\r\n").encode("utf-8-sig"))
    assert load_settings(tmp_path / "run.yaml", (), KINDS["policy"].settings).name == "sums"


def test_a_folder_and_a_broken_link_are_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "link.yaml").symlink_to("gone.yaml")
    for path, said in ((tmp_path, "it is a folder"), (tmp_path / "link.yaml", "it is a link to gone.yaml")):
        with pytest.raises(ConfigError, match=said):
            load_settings(path, (), KINDS["policy"].settings)


# Names of other frameworks.

GIVEN = [
    ("num_generations=8", "rollout.samples_per_prompt"),
    ("beta=0.04", "algorithm.kl_coefficient"),
    ("lr=1e-6", "learner.learning_rate"),
    ("learner.lr=1e-6", "learner.learning_rate"),
    ("algorithm.lr=1e-6", "learner.learning_rate"),
    ("learning_rate=1e-6", "It stands elsewhere: learner.learning_rate"),
    ("rollout.top_p=0.9", "There is none here: completions are drawn from the whole distribution"),
    ("temperature=1.0", "It stands elsewhere: rollout.temperature"),
    ("algorithm.temperature=1.0", "It stands elsewhere: rollout.temperature"),
    ("max_completion_length=99", "rollout.max_new_tokens"),
    ("max_prompt_length=99", "There is none here: prompts are never cut"),
    ("per_device_train_batch_size=4", "learner.microbatch_tokens"),
    ("gradient_accumulation_steps=4", "learner.minibatch_sequences"),
    ("algorithm.epsilon=0.2", "algorithm.loss.params.clip_low"),
    ("epsilon_high=0.28", "algorithm.loss.params.clip_high"),
    ("algorithm.loss_type=dapo", "algorithm.reduction"),
    ("rollout.n=8", "rollout.samples_per_prompt"),
    ("run.seed=1", "It stands elsewhere: seed (at the top level)"),
    ("run.max_steps=9", "run.steps"),
    ("steps=9", "It stands elsewhere: run.steps"),
    ("output_dir=out", "run.root"),
    ("report_to=wandb", "run.trackers"),
    ("wandb_project=a", "run.trackers.N.params.project"),
    ("reward_funcs=[a]", "Here it is rewards"),
    ("actor_rollout_ref.rollout.n=8", "actor_rollout_ref.rollout.n: here it is rollout.samples_per_prompt"),
    ("algorithm.advantage.epsilon=1", "The plugin's own parameters stand under params."),
]


@pytest.mark.parametrize(("override", "said"), GIVEN)
def test_a_name_of_another_framework_is_told_what_it_is_here(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, KINDS["policy"], POLICY, override)
    assert said in str(caught.value)
    assert "Did you mean" not in str(caught.value)


def test_a_section_of_another_framework_is_translated_setting_by_setting(tmp_path: Path) -> None:
    section = "actor_rollout_ref={rollout: {n: 8, temperature: 1}, actor: {ppo_epochs: 2, optim: {lr: 1e-6}, own: 3}}"
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, KINDS["policy"], POLICY, section)
    for said in ("rollout.n: here it is rollout.samples", "ppo_epochs: here it is learner.epochs", "optim.lr: here"):
        assert said in str(caught.value)


def test_a_reward_model_is_told_of_no_setting_that_it_does_not_have(tmp_path: Path) -> None:
    for override, wanted, unwanted in (("lr=1", "learner.learning_rate", "critic"), ("beta=1", "Known", "algorithm")):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, KINDS["reward_model"], REWARD_MODEL, override)
        assert wanted in str(caught.value)
        assert unwanted not in str(caught.value)


def named_settings(here: str) -> list[str]:
    """Return the dotted paths that a text names; a bare one belongs to the group of the one before."""
    return re.findall(r"\b(?:[a-z_]+\.)+[a-z_]+\b", re.sub(r"[(].*?[)]", "", here))


def test_what_a_synonym_leads_to_is_a_setting() -> None:
    policy = KINDS["policy"].settings
    for name, here in SYNONYMS.items():
        for path in named_settings(here):
            group, *_, last = path.split(".")
            if path == "metrics.jsonl" or ".params." in path or "options" in path or group == "params":
                continue
            assert path in [each.replace("N.", "") for each in settings_named(last, policy)], (name, path)


def test_no_synonym_is_the_name_of_a_setting_at_the_top() -> None:
    assert not SYNONYMS.keys() & KINDS["policy"].settings.model_fields.keys()


def test_the_page_for_those_who_come_from_elsewhere_says_what_the_messages_say() -> None:
    table = COMING_FROM.read_text(encoding="utf-8").split("## Settings")[1].split("What differs")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) >= 20
    told = 0
    for here, *theirs in rows:
        groups = set(re.findall(r"`([a-z_]+)", here))
        for name in re.findall(r"`([a-z_.]+)`", " ".join(theirs[:2])):  # TRL and verl
            if (found := translated(name)) is not None:
                told += 1
                assert groups & {found.split(".")[0].split(" ")[0].rstrip(":"), *re.findall(r"[a-z_]+", found)}, name
    assert told > 35


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("sampels_per_prompt", ["samples_per_prompt", "prompts_per_step"], "samples_per_prompt"),
        ("grop", ["grpo", "dapo", "rloo"], "grpo"),
        ("learningrate", ["learning_rate"], "learning_rate"),
        ("Learning_Rate", ["learning_rate"], "learning_rate"),
        ("plane", ["plain", "chat"], "plain"),
        ("temp", ["temperature", "template_x"], ""),
        ("tempe", ["temperature", "stop"], "temperature"),
        ("top_p", ["stop", "steps"], ""),
        ("beta", ["data", "adam_betas"], ""),
        ("max_entropy", ["min_entropy"], ""),
        ("clip_low", ["clip_high"], ""),
        ("steps", ["stop"], ""),
        ("cpu", ["gpu"], ""),
        ("mask", ["task"], ""),
        ("start", ["end"], ""),
    ],
)
def test_only_a_slip_of_the_fingers_is_taken_for_another_name(name: str, known: list[str], meant: str) -> None:
    assert did_you_mean(name, known) == (f" Did you mean {meant!r}?" if meant else "")
