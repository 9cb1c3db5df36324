"""Build the documentation as a site: docs/ with navigation, an API reference, a gallery of recipes, and search.

    python -m tools.make_site                  # into build/site; open build/site/index.html
    python -m tools.make_site --out FOLDER

The pages are copied with the links between them as they are; files of code that they link to get pages of their own.
The API reference is made from the docstrings of public names, the gallery from the recipes and their pictures in
docs/images/recipes (tools/make_pictures.py). Any warning, any link inside the site that leads nowhere, and anything
that a page would load from a network fails the build. Needs the extra docs; uses no network, and neither does the site.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.site.api import api_pages
from tools.site.check import faults
from tools.site.gallery import gallery_pages
from tools.site.stage import ROOT, stage

CONFIGURATION = Path(__file__).parent / "site"


def main(argv: Sequence[str] | None = None) -> int:
    """Build the site and check it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="folder of the site (%(default)s)")
    out = parser.parse_args(argv).out
    source = out.parent / f"{out.name}-source"
    for folder in (out, source):
        shutil.rmtree(folder, ignore_errors=True)
    stage(source, {**api_pages(), **gallery_pages()})
    if code := build(source, out):
        return code
    found = list(faults(out))
    for fault in found:
        print(fault)
    pages = len(list(out.rglob("*.html")))
    print(f"{out}: {pages} pages, {len(found)} faults")
    return 1 if found else 0


def build(source: Path, out: Path) -> int:
    """Run Sphinx, warnings as errors; return its exit code."""
    options = ["-q", "-W", "--keep-going", "-b", "html", "-c", str(CONFIGURATION), "-d", f"{source}/.doctrees"]
    return subprocess.run([sys.executable, "-m", "sphinx", *options, str(source), str(out)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
