"""The files of a new run as text: the run file with a comment for each part, a reward, and its test."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reasonrl.run.init.choices import Choices

TEMPLATES: Final = Path(__file__).parent

COMMENTS: Final[Mapping[str, str]] = {
    "model": "Which model learns: tiny comes with the package, reasonrl models list has others; or a folder, or "
    "OWNER/NAME of the hub.",
    "task": "What it learns on. reasonrl tasks list has all of them, reasonrl tasks show {task} what this one takes.",
    "template": "How a problem becomes a prompt: r1_zero, plain and bare for base models, chat, boxed and program for "
    "others (docs/prompts.md).",
    "rewards": "How a completion is rewarded: the weighted sum of these. reasonrl rewards list has all of them; "
    "./file.py:name is a function of yours.",
    "algorithm": "How the weights follow from the rewards; docs/presets says which to choose.",
    "rollout": "A step: so many problems, so many completions of each, which are compared with one another. What does "
    "not end in max_new_tokens is cut.",
    "learner": "The rate is for this model: 1e-6 to 5e-6 is usual from half a billion parameters on.",
    "evaluation": "What is measured before the first step, every so many and after the last, on problems that are "
    "never trained on.",
    "run": "How long it is. A run that was stopped goes on: reasonrl train --resume runs/{name}",
}
"""What stands above each part."""

WITHOUT_SUITE: Final = (
    "No installed suite measures this task, so the run will not show whether it has learned: docs/plugins/suites.md "
    "says how to add one."
)

WIDTH: Final = 118


def run_file(choices: Choices, settings: Mapping[str, Any]) -> str:
    """Return a commented run file. Any: whatever YAML can say."""
    names = {"name": choices.name, "task": _name(settings["task"])}
    parts = [
        f"# reasonrl config explain SETTING says what a setting means, such as: reasonrl config explain learner\n"
        f"name: {choices.name}"
    ]
    for key, comment in COMMENTS.items():
        is_unmeasured = key == "evaluation" and not settings[key]["suites"]
        said = WITHOUT_SUITE if is_unmeasured else comment.format(**names)
        parts.append("\n".join([*_commented(said), _yaml({key: settings[key]})]))
    return "\n\n".join(parts) + "\n"


def reward_file(choices: Choices) -> str:
    """Return the module of a new reward, to be changed."""
    return _rendered("reward.py.jinja", choices)


def reward_test_file(choices: Choices) -> str:
    """Return its test."""
    return _rendered("test_reward.py.jinja", choices)


def _rendered(template: str, choices: Choices) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    checked = "" if choices.is_file else f" --task {choices.problems}"
    return environment.get_template(template).render(name=choices.name, module=choices.module, task=checked)


def _commented(text: str) -> list[str]:
    """Return a text as comments that are no wider than a line."""
    lines, line = [], "#"
    for word in text.split():
        if len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return [*lines, line]


class _Dumper(yaml.SafeDumper):
    """Writes numbers as people do."""


def _number(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    text = f"{value:g}".replace("e-0", "e-").replace("e+0", "e+")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(float, _number)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d+)?e[-+]?\d+$"), list("-+0123456789")
)


def _yaml(part: Mapping[str, Any]) -> str:
    """Return a part of a run file: what holds nothing but values stands in one line. Any: whatever YAML can say."""
    flow = None if any(isinstance(value, Mapping | list) for value in part.values()) else False
    text = yaml.dump(part, Dumper=_Dumper, sort_keys=False, default_flow_style=flow, width=WIDTH, allow_unicode=True)
    return text.rstrip()


def _name(reference: Any) -> str:
    """Return the name in a reference. Any: a name, or a mapping with one."""
    return str(reference["name"] if isinstance(reference, Mapping) else reference)
