"""Which files the interpreter needs, and which of them no program may see.

Installed packages are hidden except for those asked for: some contain data sets with their answers.
"""

import glob
import os
import sys
from collections.abc import Iterable, Sequence

from reasonrl_sandbox.child.landlock import Paths

DEVICES = tuple(f"/dev/{name}" for name in ("null", "full", "random", "urandom"))
"""Not `/dev/zero`: mapped, it is memory that no limit counts. Reading `/dev/full` gives zeros too."""
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")
_PACKAGES = ("site-packages", "dist-packages")


def beneath(path: str, folder: str) -> bool:
    """Return whether a path is a folder or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def roots(packages: Sequence[str]) -> list[str]:
    """Return the paths that a program reads, none of them below another."""
    own = [os.path.join(sys.base_prefix, name) for name in ("lib", "lib64")]
    standard = os.path.dirname(os.__file__)
    library = [path for path in (*_LIBRARIES, *_FILES, *own, standard) if os.path.exists(path)]
    masks = hidden(library)
    shown = [path for path in library if not _below_any(path, masks)]
    every = list(dict.fromkeys((*shown, *packages)))
    return [path for path in every if not _below_any(path, [other for other in every if other != path])]


def hidden(folders: Iterable[str]) -> list[str]:
    """Return the folders of installed packages that are below some folders, or are those folders."""
    inside = [
        found
        for folder in folders
        for name in _PACKAGES
        for found in (folder, *glob.glob(f"{folder}/{name}"), *glob.glob(f"{folder}/python3*/{name}"))
        if os.path.basename(found) == name
    ]
    return list(dict.fromkeys(inside))


def _below_any(path: str, folders: Iterable[str]) -> bool:
    return any(beneath(path, folder) for folder in folders)


def imported_packages() -> list[str]:
    """Return the files and folders of all that has been imported beyond the standard library, and bundled libraries."""
    own = {*sys.stdlib_module_names, "__main__", "reasonrl_sandbox"}
    names = {name.partition(".")[0] for name in sys.modules} - own
    origins = [getattr(sys.modules[name], "__file__", None) for name in sorted(names)]
    found = [os.path.dirname(path) if path.endswith("/__init__.py") else path for path in origins if path]
    return found + [path + ".libs" for path in found if os.path.isdir(path + ".libs")]


def readable(packages: Sequence[str], work: str) -> Paths:
    """Return what programs may reach as Landlock needs it: its rules cannot exclude anything below a folder."""
    everything = list(dict.fromkeys(os.path.realpath(root) for root in roots(packages)))
    masks = hidden(everything)
    read = [path for root in everything for path in _without(root, masks)]
    folders = [root for root in everything if os.path.isdir(root)]
    return Paths((*read, *packages), tuple(folders), (work, *filter(os.path.exists, DEVICES)))


def _without(path: str, masks: Sequence[str]) -> list[str]:
    """Split a folder into its entries until none contains a mask. Links are left out: their targets have rules."""
    if not any(beneath(mask, path) for mask in masks):
        return [path]
    if path in masks:
        return []
    inside = [os.path.join(path, name) for name in os.listdir(path)]
    return [found for entry in inside if not os.path.islink(entry) for found in _without(entry, masks)]


def open_folders(packages: Sequence[str], first: int) -> dict[str, int]:
    """Open the folders of imports, from descriptor `first` on, before this process becomes a user without access."""
    folders = [os.path.dirname(os.__file__), *(path for path in packages if os.path.isdir(path))]
    folders_opened = {}
    for number, folder in enumerate(folders, first):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.dup2(opened, number)
        os.close(opened)
        folders_opened[folder] = number
    return folders_opened


def route_imports(folders_opened: dict[str, int]) -> tuple[int, ...]:
    """Make imports use the descriptors of folders that this user cannot open; close the others. Return those in use."""
    needed = {folder: number for folder, number in folders_opened.items() if not os.access(folder, os.R_OK | os.X_OK)}
    for number in folders_opened.values():
        if number not in needed.values():
            os.close(number)

    def route(path: str) -> str:
        for folder, number in needed.items():
            if beneath(path, folder):
                return f"/proc/self/fd/{number}{path[len(folder) :]}"
        return path

    if needed:
        sys.path[:] = [route(path) for path in sys.path]
        for module in [module for module in sys.modules.values() if hasattr(module, "__path__")]:
            module.__path__ = [route(path) for path in module.__path__]
        sys.path_importer_cache.clear()
    return tuple(needed.values())
