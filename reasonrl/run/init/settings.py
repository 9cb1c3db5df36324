"""The settings of a new run: those of installed recipes, as far as they are for its model or its task."""

import json
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

from reasonrl.config.yaml import read_mapping
from reasonrl.errors import ConfigError, ReasonRLError
from reasonrl.models import locate
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.init.choices import NEW, Choices, problem_file
from reasonrl.system.text import read_text

Settings: TypeAlias = dict[str, Any]
"""As a run file holds them. Any: whatever YAML can say."""

USUAL: Final[Settings] = {
    "algorithm": "grpo",
    "rollout": {"prompts_per_step": 16, "samples_per_prompt": 8, "max_new_tokens": 512},
    "learner": {"learning_rate": 1e-6, "schedule": "linear", "warmup_steps": 3},
    "run": {"steps": 60, "checkpoint_every": 20},
}
"""For a model and a task that no recipe is for."""

HELDOUT_SHARE: Final = 0.1
"""Of a file of problems."""

CHAT_NAMES: Final = ("instruct", "chat", "-it")
"""What names of models that were trained on conversations have."""

LEARNING: Final[tuple[str, ...]] = ("algorithm", "learner")
"""Settings that a recipe of the same model gives."""

WHOLE: Final[tuple[str, ...]] = ("template", "rewards", "evaluation", "run", "rollout", *LEARNING)
"""Settings that a recipe of the same model and task gives."""


def starting_settings(choices: Choices, plugins: Plugins) -> Settings:
    """Return the settings of a run that trains at once.

    Raises:
        ReasonRLError: a choice cannot be meant.
    """
    recipes = list(_recipes(plugins))
    of_model = next((each for each in recipes if _name(each["model"]) == choices.model), {})
    of_task = _of_task(recipes, choices, plugins)
    is_both = _name(of_task.get("model")) == choices.model
    template = _template(choices, of_task, plugins)
    learned = {key: of_model[key] for key in LEARNING if key in of_model}
    given = {key: of_task[key] for key in WHOLE if is_both and key in of_task}
    settings: Settings = {**USUAL, **learned, **given}
    settings["rollout"] = {**USUAL["rollout"], **_rollout(of_model, of_task, is_both)}
    settings |= {"name": choices.name, "model": choices.model, "template": template}
    settings["task"] = _task(choices, of_task)
    settings["rewards"] = _rewards(choices, of_task)
    settings["evaluation"] = _evaluation(choices, settings, of_task, plugins)
    return settings


def usual_reward(problems: str, model: str, plugins: Plugins) -> str:
    """Return the reward that goes with problems: that of a recipe, or one that compares answers of their kind."""
    choices = Choices(name="run", model=model, problems=problems, reward="")
    if choices.is_file:
        return "numeric_answer" if problem_file(problems).has_numbers else "normalized_answer"
    of_task = _of_task(list(_recipes(plugins)), choices, plugins)
    first = next(iter(of_task.get("rewards") or [problems]))
    name = _name(first)
    return name if name in plugins.entries("rewards") else "math"


def _recipes(plugins: Plugins) -> Iterator[Settings]:
    """Yield the installed recipes of policies with one task that sample in this process."""
    for entry in plugins.entries("configs").values():
        if not isinstance(entry.offered, str | PathLike):
            continue
        path = Path(entry.offered)
        settings, _ = read_mapping(read_text(path, ConfigError, "the run file"), path)
        is_embedded = "engine" not in settings.get("rollout", {})
        if is_embedded and "rewards" in settings and isinstance(settings.get("task"), str | dict):
            yield settings


def _of_task(recipes: list[Settings], choices: Choices, plugins: Plugins) -> Settings:
    """Return a recipe of the same task: for the same model, or else for one of its kind, or for any."""
    found = [each for each in recipes if _name(each["task"]) == choices.problems]

    def distance(recipe: Settings) -> tuple[bool, bool, bool]:
        is_alike = plugins.template(recipe.get("template", "chat")).chat == is_chat(choices.model)
        # A reward model's recipe is the plain one with another reward.
        return _name(recipe["model"]) != choices.model, not is_alike, _name(recipe["rewards"][0]) == "preference"

    return min(found, key=distance, default={})


def is_chat(model: str) -> bool:
    """Say whether a model was trained on conversations; of one that is not here by its name."""
    try:
        folder = Path(locate(model))
    except ReasonRLError:
        folder = Path(model)
    if not folder.is_dir():
        return any(word in model.lower() for word in CHAT_NAMES)
    if any(folder.glob("chat_template*")):
        return True
    path = folder / "tokenizer_config.json"
    return path.is_file() and "chat_template" in json.loads(path.read_bytes())


def _template(choices: Choices, of_task: Settings, plugins: Plugins) -> str:
    name = str(of_task.get("template", "chat"))
    if of_task and plugins.template(name).chat == is_chat(choices.model):
        return name
    return "boxed" if is_chat(choices.model) else "r1_zero"


def _rollout(of_model: Settings, of_task: Settings, is_both: bool) -> Settings:
    """Return how completions are sampled; how long they may be goes with the model before the task."""
    if is_both or not of_model:
        return dict(of_task["rollout"]) if is_both else {}
    lengths = [each["rollout"].get("max_new_tokens", 0) for each in (of_model, of_task) if each]
    return {"max_new_tokens": max(lengths)}


def _task(choices: Choices, of_task: Settings) -> Any:
    """Return the task. Any: a name, or a mapping."""
    if choices.is_file:
        return {"name": "jsonl", "params": {**problem_file(choices.problems).params, "heldout_share": HELDOUT_SHARE}}
    return of_task.get("task", choices.problems)


def _rewards(choices: Choices, of_task: Settings) -> list[Any]:
    """Return the rewards; those of the recipe where it has the one that was chosen. Any: names, or mappings."""
    if choices.reward == NEW:
        return [{"name": f"./{choices.module}.py:score", "label": "score"}]
    given = of_task.get("rewards", [])
    return given if choices.reward in map(_name, given) else [choices.reward]


def _evaluation(choices: Choices, settings: Settings, of_task: Settings, plugins: Plugins) -> Settings:
    """Return what is measured: of a file the part that is held out, of a task the suite of a recipe or of its name."""
    sampled = {"template": settings["template"], "max_new_tokens": settings["rollout"]["max_new_tokens"]}
    suites: list[Any] = []
    if choices.is_file:
        file = problem_file(choices.problems)
        metric = "number_in_answer" if file.has_numbers else "answer_match"
        params = {**file.params, "metric": metric, "heldout_share": HELDOUT_SHARE}
        suites = [{"name": "jsonl", "params": params, **sampled}]
    elif of_task:
        given = of_task.get("evaluation", {}).get("suites", [])
        suites = [{**(each if isinstance(each, dict) else {"name": each}), **sampled} for each in given]
        if _name(of_task["model"]) == choices.model:
            suites = given
    elif choices.problems in plugins.entries("suites"):
        suites = [{"name": choices.problems, **sampled}]
    every = of_task.get("evaluation", {}).get("every", settings["run"]["checkpoint_every"])
    return {"suites": suites, **({"every": every} if suites else {})}


def _name(reference: Any) -> str:
    """Return the name in a reference. Any: a name, or a mapping with one."""
    return str(reference.get("name", "")) if isinstance(reference, Mapping) else str(reference)
