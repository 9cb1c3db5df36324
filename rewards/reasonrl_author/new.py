"""Write the package of a new reward: complete, installable, with tests that pass unchanged."""

import importlib.util
import keyword
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, Literal, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reasonrl import ConfigError, PluginError, __version__
from reasonrl.plugins.lookup import Plugins

RewardKind: TypeAlias = Literal["rollout", "group", "batch", "async"]
"""What the new reward scores at once; ``async`` is a coroutine that scores one rollout."""

TEMPLATES: Final = Path(__file__).parent / "template"
"""The files of a package, with NAME and PACKAGE in their paths for the names of reward and package."""

SUFFIX: Final = ".jinja"


def new_reward(name: str, into: Path, kind: RewardKind, plugins: Plugins) -> list[Path]:
    """Write the package of a reward and return its files, the folder first.

    Args:
        name: of the reward, a Python name such as ``brief_answer``.
        into: folder in which the package's folder is made.
        kind: what the reward scores at once.
        plugins: the installed plugins, whose names are taken.

    Raises:
        ConfigError: the name is not allowed, or the folder exists.
        PluginError: the name is taken.
    """
    _refuse_bad_name(name)
    package = name if name.endswith("_reward") else f"{name}_reward"
    _refuse_taken_name(name, package, plugins)
    folder = into / package.replace("_", "-")
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} exists already. Choose another name, or another folder with --into.")
    texts = dict(_texts(name, package, kind))
    try:
        return [folder, *_write(folder, texts)]
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: cannot be written: {error.strerror}.") from None


def _refuse_bad_name(name: str) -> None:
    """Refuse what cannot name a function, a package and a distribution at once."""
    if re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", name) and "__" not in name and not keyword.iskeyword(name):
        return
    raise ConfigError(
        f"a reward cannot be called {name!r}: use small letters, digits and single underscores, beginning with a "
        f"letter, and no word of Python's own. Such as {_valid_name(name)!r}."
    )


def _valid_name(name: str) -> str:
    """Return the nearest name that is allowed."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    joined = "_".join(words).lstrip("0123456789_")
    return joined if len(joined) > 1 and not keyword.iskeyword(joined) else f"{joined or 'my'}_reward"


def _refuse_taken_name(name: str, package: str, plugins: Plugins) -> None:
    if (entry := plugins.entries("rewards").get(name)) is not None:
        raise PluginError(f"rewards: {entry.distribution} offers {name!r} already. Choose another name.")
    if importlib.util.find_spec(package) is not None:
        raise PluginError(f"a Python module {package!r} is installed already. Choose another name.")
    try:
        taken = distribution(package).metadata["Name"]
    except PackageNotFoundError:
        return
    raise PluginError(f"a distribution {taken!r} is installed already. Choose another name.")


def _texts(name: str, package: str, kind: RewardKind) -> Iterator[tuple[Path, str]]:
    """Yield the path inside the package's folder and the content of every file."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    names = {"name": name, "package": package, "distribution": package.replace("_", "-"), "kind": kind}
    for template in sorted(environment.list_templates(extensions=[SUFFIX.lstrip(".")])):
        path = template.removesuffix(SUFFIX).replace("PACKAGE", package).replace("NAME", name)
        yield Path(path), environment.get_template(template).render(version=__version__, **names)


def _write(folder: Path, texts: dict[Path, str]) -> Iterator[Path]:
    folder.mkdir(parents=True)
    for path, text in texts.items():
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
        yield target
