"""The site of the documentation: it is built without a network, and its faults are found."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from tools.site.check import faults
from tools.site.gallery import RECIPES, gallery_pages
from tools.site.navigation import NAVIGATION
from tools.site.stage import HOME, INDEX, documents, stage

ROOT = Path(__file__).parent.parent
NO_NETWORK = """
import socket

def refused(*_):
    raise OSError("this process has no network")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
"""


def site(folder: Path, pages: Mapping[str, str]) -> list[str]:
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return list(faults(folder))


def test_every_document_has_a_place_in_the_navigation_and_no_other_has_one() -> None:
    named = [name for names in NAVIGATION.values() for name in names if not name.endswith("/") and name != "gallery"]
    pages = [str(path.with_suffix("")) for path in documents() if path != HOME]
    assert sorted(named) == sorted(pages)


def test_links_to_code_lead_to_pages_that_show_it_and_others_stay_as_they_are(tmp_path: Path) -> None:
    stage(tmp_path, {Path("gallery.md"): "# Recipes\n"})
    algorithms = (tmp_path / "docs" / "algorithms.md").read_text()
    assert "](../code/reasonrl/algorithms/advantages.py.md)" in algorithms
    assert "def group_normalized" in (tmp_path / "code" / "reasonrl" / "algorithms" / "advantages.py.md").read_text()
    assert "](../../index.md#begin)" in (tmp_path / "docs" / "rewards" / "tutorial.md").read_text()
    assert "](docs/rewards/README.md)" in (tmp_path / INDEX).read_text()


def test_the_gallery_shows_every_recipe_with_its_run_file() -> None:
    (text,) = gallery_pages().values()
    for path in RECIPES.glob("*.yaml"):
        assert f"## {path.stem}\n" in text
        assert path.read_text().rstrip() in text
    assert "reasonrl rm train rlhf-tiny-reward-model\n" in text


def test_links_that_lead_nowhere_and_what_comes_from_a_network_are_found(tmp_path: Path) -> None:
    found = site(
        tmp_path,
        {
            "index.html": '<a href="a/b.html#there">x</a><a href="a/b.html#gone">x</a><a href="gone.html">x</a>'
            '<a href="https://example.org">x</a><script src="https://example.org/x.js"></script>'
            '<link rel="stylesheet" href="//example.org/x.css"><img src="gone.png">',
            "a/b.html": '<h1 id="there">x</h1><a href="../index.html">x</a><a href="#there">x</a><a href="../..">x</a>',
            "x.css": 'body { background: url("https://example.org/x.png") }',
        },
    )
    assert found == [
        "a/b.html: links to ../.., which is not there",
        "index.html: would load https://example.org/x.js",
        "index.html: would load //example.org/x.css",
        "index.html: links to a/b.html#gone, which has no such place",
        "index.html: links to gone.html, which is not there",
        "index.html: links to gone.png, which is not there",
        'x.css: would load url("https://example.org/x.png',
    ]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None or find_spec("furo") is None, reason="needs the extra docs")
def test_the_site_is_built_without_a_network_and_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "tools.make_site", "--out", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ pages, 0 faults", done.stdout)
    built = tmp_path / "site"
    assert 'id="reasonrl.Score"' in (built / "api" / "reasonrl.html").read_text()
    assert (built / "searchindex.js").stat().st_size > 100_000, "search needs no server"
