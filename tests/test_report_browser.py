"""A report in a real browser without a network: it draws, it is used by keyboard, and hostile texts do nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import Opened, chromium, opened
from reported_runs import policy_run, reward_model_run, write_many_metrics
from test_report import hostile_run

from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.report.writer import write_report

pytestmark = pytest.mark.slow

WIDTHS = (1280, 600)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Any: a browser of playwright."""
    with chromium() as found:
        yield found


def address(file: Path, *runs: RunDirectory) -> str:
    """Write the report of runs and return where a browser finds it."""
    write_report([run.path for run in runs], file)
    return file.as_uri()


def num_drawn(window: Opened) -> int:
    """Plots in which a curve of the first color of a light page is drawn."""
    return int(
        window.page.evaluate(
            """() => [...document.querySelectorAll("canvas")].filter((canvas) => {
              const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
              for (let at = 0; at < pixels.length; at += 4) {
                const [red, green, blue, alpha] = pixels.subarray(at, at + 4);
                if (alpha > 200 && Math.abs(red - 25) + Math.abs(green - 50) + Math.abs(blue - 178) < 40) return true;
              }
              return false;
            }).length"""
        )
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_opens_without_a_network_and_draws_every_main_chart(browser: Any, tmp_path: Path, width: int) -> None:
    place = address(tmp_path / "report.html", policy_run(tmp_path / "runs"))
    with opened(browser, place, width=width, offline=True) as window:
        assert window.page.locator("[data-chart]").count() > window.page.locator("canvas").count() > 8
        assert num_drawn(window) == window.page.locator(".charts >> nth=0").locator("[data-chart]").count()
        assert window.page.evaluate("document.scrollingElement.scrollWidth") <= width
        assert window.requests == [place]
        assert window.problems == []


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_texts_do_nothing(browser: Any, tmp_path: Path, width: int) -> None:
    run = hostile_run(tmp_path / "runs")
    with opened(browser, address(tmp_path / "report.html", run), width=width, offline=True) as window:
        for summary in window.page.locator("summary").all():
            summary.click()
        assert window.page.evaluate("window.hit") is None
        assert window.page.evaluate("document.scrollingElement.scrollWidth") <= width
        assert window.page.locator("main a:not([href^='#'])").count() == 0
        assert len(window.requests) == 1
        assert window.problems == []


def test_the_further_charts_are_drawn_when_they_are_opened(browser: Any, tmp_path: Path) -> None:
    run = policy_run(tmp_path / "runs")
    with opened(browser, address(tmp_path / "report.html", run), offline=True) as window:
        before = window.page.locator("canvas").count()
        window.page.get_by_text("further charts").click()
        window.page.wait_for_function(f"document.querySelectorAll('canvas').length > {before}")
        assert num_drawn(window) == window.page.locator("[data-chart]").count()
        assert window.problems == []


def test_a_plot_is_read_with_the_keyboard(browser: Any, tmp_path: Path) -> None:
    run = policy_run(tmp_path / "runs")
    run.append_event("alarm", "entropy_collapse: below 0.01", 6)
    with opened(browser, address(tmp_path / "report.html", run), offline=True) as window:
        chart = window.page.locator("[data-chart='0']")
        plot = chart.get_by_role("img")
        assert plot.get_attribute("aria-label").startswith("Reward; reward/mean: from 0.2 at step 1 to 0.7 at step 6")
        plot.focus()
        told = chart.locator("[aria-live]")
        for key, expected in (
            ("End", "step 6 · alarm: entropy_collapse: below 0.01 · reward/mean 0.7"),
            ("ArrowLeft", "step 5"),
            ("Home", "step 1"),
        ):
            window.page.keyboard.press(key)
            assert expected in told.text_content()
        chart.get_by_text("Values").click()
        assert chart.get_by_role("row").count() == 7
        assert window.problems == []


def test_runs_and_curves_can_be_hidden(browser: Any, tmp_path: Path) -> None:
    one, other = (policy_run(tmp_path / "runs", name) for name in ("one", "other"))
    with opened(browser, address(tmp_path / "report.html", one, other), offline=True) as window:
        chart = window.page.locator("[data-chart='0']")
        assert chart.get_by_role("button").all_text_contents() == ["one0.7", "other0.7"]
        window.page.get_by_role("checkbox", name="other").uncheck()
        assert chart.get_by_role("button").all_text_contents() == ["one0.7"]
        curve = chart.get_by_role("button", name="one")
        curve.click()
        assert curve.get_attribute("aria-pressed") == "false"
        assert window.problems == []


def test_text_tables_and_the_main_curves_are_there_without_scripts(browser: Any, tmp_path: Path) -> None:
    run = policy_run(tmp_path / "runs")
    place = address(tmp_path / "report.html", run)
    with opened(browser, place, offline=True, java_script_enabled=False) as window:
        assert "33.3% → 66.7%" in window.page.locator("#heldout").inner_text()
        assert window.page.locator("noscript svg").is_visible()
        assert window.page.get_by_role("row").count() > 20


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_light_and_dark_follow_the_system(browser: Any, tmp_path: Path, theme: str) -> None:
    place = address(tmp_path / "report.html", policy_run(tmp_path / "runs"))
    with opened(browser, place, offline=True, color_scheme=theme) as window:
        color = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert color == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[theme]
        assert window.problems == []


def test_the_charts_of_any_run_draw(browser: Any, tmp_path: Path) -> None:
    long = policy_run(tmp_path / "runs", "long")
    write_many_metrics(long, 2000, ["reward/mean", "policy/entropy"])
    for run in (
        reward_model_run(tmp_path / "runs"),
        long,
        policy_run(tmp_path / "runs", "new", steps=0, evaluations={}),
    ):
        with opened(browser, address(tmp_path / "report.html", run), offline=True) as window:
            assert num_drawn(window) == window.page.locator(".charts >> nth=0").locator("[data-chart]").count()
            assert window.problems == []
