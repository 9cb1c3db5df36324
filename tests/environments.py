"""A virtual environment of one's own, as a user has it; the packages of the one that runs the tests are reused."""

import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMANDS = ("reasonrl", "pytest")
"""What the packages that are reused would have put on the path."""


def make_environment(folder: Path) -> Path:
    """Make an environment in which nothing is installed but what is installed here; return its Python."""
    venv.create(folder, system_site_packages=False, with_pip=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    reused = [path for path in sys.path if path.endswith("site-packages")]
    (site / "reused.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in reused))
    python = folder / "bin" / "python"
    for name in COMMANDS:
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{python}" -m {name} "$@"\n')
        command.chmod(0o755)
    return python


def install(python: Path, package: Path) -> None:
    """Install a package's folder, without looking anything up."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, str(package)], check=True)


def write_package(
    folder: Path, module: str, text: str, *, groups: Sequence[str] = ("reasonrl",), entry: str | None = None
) -> None:
    """Write a package of one module as if it were installed in a folder, which must be on ``sys.path``.

    Args:
        folder: where.
        module: its name, and the distribution's.
        text: its code.
        groups: the entry-point groups that it registers in, with the object that each names: ``group=app``.
        entry: the name of its entry points; the module's if not given.
    """
    (folder / f"{module}.py").write_text(text)
    information = folder / f"{module}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
    points = [
        (group, f"{entry or module} = {module}{':' * bool(name)}{name}") for group, _, name in map(_parted, groups)
    ]
    (information / "entry_points.txt").write_text("".join(f"[{group}]\n{point}\n" for group, point in points))


def _parted(group: str) -> tuple[str, str, str]:
    return group.partition("=")


def environment_of(python: Path) -> Mapping[str, str]:
    """Return the variables of a shell in which the environment is active."""
    return {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(python.parent)}
