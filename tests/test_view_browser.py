"""`reasonrl view` in a real browser: from the list to the reward lab, live, by keyboard, and with hostile rollouts."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browsers import Opened, chromium, opened, playwright
from reported_runs import policy_run, rollout, step_of_rollouts
from viewed_runs import HOSTILE, append_step, run_of, served, with_tokens

from reasonrl.run.files.directory import RunDirectory

pytestmark = pytest.mark.slow

expect = playwright.expect

RIGHT = {"name": "numeric_answer", "label": "right", "params": {"sources": ["answer_tag"]}}
LONG = 5_000_000
"""Characters of the longest rollout."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Any: a browser of playwright."""
    with chromium() as started:
        yield started


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONRL_CACHE", str(tmp_path / "cache"))


@contextmanager
def seen(browser: Any, folder: Path, *, width: int = 1280, **context: Any) -> Iterator[tuple[Opened, str]]:
    """Serve a folder and open it; nothing may be said on the console, and nothing asked of anybody else."""
    with served(folder) as url, opened(browser, url, width=width, **context) as window:
        yield window, url
        assert window.problems == []
        assert {address for address in window.requests if not address.startswith((url, "data:"))} == set()


def h1(window: Opened) -> str:
    return str(window.page.locator("h1").inner_text())


def wait(window: Opened, text: str) -> None:
    window.page.get_by_text(text).first.wait_for(timeout=15_000)


@pytest.mark.parametrize("width", [1000, 1600])
def test_from_the_list_to_the_reward_lab(browser: Any, tmp_path: Path, width: int) -> None:
    members = [
        with_tokens(
            f"<answer> {2 + place % 2} </answer>", group=place // 4, sample=place % 4, reward=float(place % 2 == 0)
        )
        for place in range(8)
    ]
    policy_run(tmp_path, "first", steps=4, settings={"rewards": [RIGHT]}, rollouts={1: members, 2: step_of_rollouts(2)})
    with seen(browser, tmp_path, width=width) as (window, _):
        page = window.page
        page.get_by_role("link", name="first").click()
        page.locator("#steps", has_text="step 4 of 4").wait_for()
        assert page.locator(".chart canvas").count() > 5
        _fits(window)
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Rollouts").click()
        wait(window, "1 to 20 of 20")
        page.get_by_label("Text").fill("answer> 3")
        wait(window, "1 to 4 of 4")
        assert page.locator("mark").first.inner_text() == "answer> 3"
        page.get_by_label("Lowest score").fill("0.5")
        page.get_by_label("Lowest score").press("Enter")
        wait(window, "No rollout passes these filters.")
        assert "low=0.5" in page.url
        page.get_by_role("button", name="Clear all").click()
        wait(window, "1 to 20 of 20")
        _fits(window)
        page.get_by_role("link", name="group").first.click()
        wait(window, "Group 1 of step 1")
        assert page.locator(".sibling").count() == 4
        assert page.locator(".sibling").nth(1).locator(".why").inner_text() == "answered '2', wanted '2'"
        assert "advantage +0.5" in page.locator(".sibling").first.inner_text()
        page.locator(".sibling a").nth(1).click()
        wait(window, "Rollout 2 of 4, step 1")
        _fits(window)
        page.get_by_role("link", name="Open in the reward lab").click()
        wait(window, "Reward lab")
        page.locator("textarea").first.wait_for()
        expect(page.locator("textarea").first).to_have_value(re.compile("<answer> 3 </answer>"))
        page.get_by_role("button", name="Score", exact=True).click()
        wait(window, "Weighted sum")
        row = page.locator("table tbody tr").first
        assert "right" in row.inner_text()
        assert "answered '3', wanted '2'" in row.inner_text()
        _fits(window)


def _fits(window: Opened) -> None:
    """The page itself never scrolls sideways."""
    assert window.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_tokens_have_a_color_and_their_numbers(browser: Any, tmp_path: Path) -> None:
    run_of(tmp_path, {1: [with_tokens("Sure.")]})
    with seen(browser, tmp_path) as (window, url):
        page = window.page
        page.goto(f"{url}#/run/first/rollout/{1 << 24}")
        tokens = page.locator(".tokens span")
        tokens.first.wait_for()
        assert [tokens.nth(place).get_attribute("class") or "" for place in (0, 1, 4)] == ["", "heat-2", "heat-3"]
        assert page.locator(".legend span").count() == 7
        tokens.nth(1).hover()
        assert 'token 2 · "u" · log-probability -0.25 · probability 0.7788 · entropy 0.125 nats' in _readout(page)
        page.locator(".tokens").focus()
        page.keyboard.press("End")
        assert "token 6 · no text · log-probability -1.25" in _readout(page)
        page.keyboard.press("ArrowLeft")
        assert "token 5" in _readout(page)
        page.get_by_label("Color of the tokens").select_option("entropy")
        assert [tokens.nth(place).get_attribute("class") for place in (0, 1, 4)] == ["", "heat-2", "heat-3 at"]


def _readout(page: Any) -> str:
    """Any: a page of playwright."""
    return str(page.locator(".readout").inner_text())


def test_everything_can_be_reached_by_keyboard(browser: Any, tmp_path: Path) -> None:
    policy_run(tmp_path, "first", steps=2)
    with seen(browser, tmp_path) as (window, url):
        page = window.page
        wait(window, "first")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.goto(f"{url}#/run/first/rollouts")
        wait(window, "1 to 24 of 24")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        wait(window, "Rollout 2 of 4, step 1")
        page.keyboard.press("ArrowRight")
        wait(window, "Rollout 3 of 4, step 1")
        page.keyboard.press("g")
        wait(window, "Group 1 of step 1")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Completion 2"
        page.keyboard.press("?")
        assert page.locator("#keys").is_visible()
        page.keyboard.press("Escape")
        assert not page.locator("#keys").is_visible()


def test_new_steps_appear_while_a_run_trains(browser: Any, tmp_path: Path) -> None:
    run = policy_run(tmp_path, "first", steps=3)
    run.set_status("running")
    with seen(browser, tmp_path) as (window, url), opened(browser, f"{url}#/run/first/rollouts") as other:
        wait(other, "1 to 36 of 36")
        window.page.get_by_role("link", name="first").click()
        window.page.locator("#steps", has_text="step 3 of 3").wait_for()
        append_step(run, 4, step_of_rollouts(4))
        run.append_event("alarm", "no_answer: none of the completions has an answer", 4)
        window.page.locator("#steps", has_text="step 4").wait_for(timeout=10_000)
        wait(window, "none of the completions has an answer")
        reward = window.page.locator(".chart").filter(has=window.page.get_by_text("Reward", exact=True))
        assert "at step 4" in reward.locator("[role=img]").get_attribute("aria-label")
        wait(other, "1 to 48 of 48")
        run.set_status("finished")
        window.page.locator(".chip", has_text="finished").wait_for(timeout=10_000)
        assert other.problems == []


def test_hostile_rollouts_do_nothing(browser: Any, tmp_path: Path) -> None:
    said = [
        rollout(1, 0, 0, completion=HOSTILE, prompt=HOSTILE, why=HOSTILE, answer=HOSTILE, task=HOSTILE),
        rollout(1, 0, 1, completion="y" * LONG + HOSTILE, prompt=HOSTILE),
        with_tokens(HOSTILE.replace("\x00", ""), sample=2, prompt=HOSTILE),
    ]
    run = run_of(tmp_path, {1: said})
    run.append_event("alarm", HOSTILE, 1)
    with seen(browser, tmp_path) as (window, url):
        page, base = window.page, 1 << 24
        page.on("dialog", lambda dialog: window.problems.append(f"dialog: {dialog.message}"))
        addresses = ["#/", "#/run/first", "#/run/first/rollouts", "#/run/first/rollouts?text=script", "#/lab?run=first"]
        addresses += [f"#/run/first/rollout/{base + place}" for place in range(3)]
        addresses += [f"#/run/first/group/{base}", f"#/lab?run=first&rollout={base}"]
        for address in addresses:
            page.goto(f"{url}{address}")
            page.locator("h1").wait_for()
            _is_text_alone(window)
        page.goto(f"{url}#/run/first/rollout/{base}")
        wait(window, "Rollout 1 of 3")
        text = page.locator(".model-text").last.inner_text()
        assert "<script>document.title = 'taken'</script>" in text
        assert "␛[2J␛[31mred" in text
        assert "⟨U+202E⟩gnp.exe⟨U+202C⟩" in text
        assert not set("\x1b\x00\x07\u202e\u202c\u2066\u200b") & set(page.content())
        assert page.locator(".model-text").last.evaluate("one => getComputedStyle(one).unicodeBidi") == "isolate"
        _shows_all(window, f"{url}#/run/first/rollout/{base + 1}")


def _is_text_alone(window: Opened) -> None:
    """No element came out of a text, and no script ran."""
    page = window.page
    assert "taken" not in page.title()
    assert page.locator("main script, main img, main a[href^='javascript'], main iframe").count() == 0


def _shows_all(window: Opened, address: str) -> None:
    """A text of 5 MB is shown in part, and whole when that is asked for."""
    window.page.goto(address)
    wait(window, "20,000 of")
    assert len(window.page.locator(".model-text").last.inner_text()) == 20_000
    window.page.get_by_role("button", name="Show all").click()
    window.page.get_by_role("status").filter(has_text="The whole text is shown.").wait_for(
        state="attached", timeout=60_000
    )
    shown = window.page.locator(".model-text").last
    assert shown.evaluate("one => one.textContent.length") > LONG
    assert shown.evaluate("one => one.textContent.includes('⟨U+202E⟩gnp.exe')")


def test_two_checkpoints_are_compared_by_problem(browser: Any, tmp_path: Path) -> None:
    policy_run(tmp_path, "first", steps=3)
    with seen(browser, tmp_path, width=1000) as (window, url):
        page = window.page
        page.goto(f"{url}#/run/first/evals")
        page.get_by_role("button", name="Paired by problem").click()
        wait(window, "won 3")
        wait(window, "lost 1")
        page.get_by_label("Problems").select_option("lost")
        wait(window, "1 to 1 of 1")
        page.locator("summary").first.click()
        page.locator(".pair .sample").first.wait_for()
        assert page.locator(".pair .sample").count() == 2
        page.goto(f"{url}#/run/first/evals/3/sums")
        page.get_by_label("Completions").select_option("wrong")
        wait(window, "1 to 2 of 2")
        _fits(window)


def test_dark_and_light_are_kept(browser: Any, tmp_path: Path) -> None:
    policy_run(tmp_path, "first", steps=1)
    with seen(browser, tmp_path, color_scheme="dark") as (window, url):
        page = window.page
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_label("Dark or light").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
        page.goto(f"{url}#/lab")
        page.reload()
        assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_another_page_cannot_ask_the_lab(browser: Any, tmp_path: Path) -> None:
    """A page of another origin sends what a form can send, and what it cannot read the answer of."""
    policy_run(tmp_path, "first", steps=1)
    body = json.dumps({"run": "first", "rewards": [{"source": "run", "name": "exact"}], "completions": ["2"]})
    with served(tmp_path) as url, opened(browser, "data:text/html,<p>another page") as window:
        for type_ in ("text/plain", "application/json"):
            sent = window.page.evaluate(
                "([url, body, type]) => fetch(url, {method: 'POST', body, headers: {'Content-Type': type}})"
                ".then(reply => reply.status, () => 'refused')",
                [f"{url}api/lab", body, type_],
            )
            assert sent == "refused"


def test_a_run_that_really_trains_is_followed(browser: Any, tmp_path: Path) -> None:
    """Two steps of quickstart, with entropies: curves grow, and rollouts come with their tokens."""
    runs = tmp_path / "runs"
    runs.mkdir()
    settings = ["run.steps=2", f"run.root={runs}", "rollout.token_entropy=true", "evaluation.suites=[]"]
    settings += ["learner.warmup_steps=0", "rollout.prompts_per_step=4"]
    with seen(browser, runs) as (window, url), training("quickstart", settings):
        page = window.page
        page.get_by_role("link", name="quickstart").click(timeout=120_000)
        page.locator("#steps", has_text="step 2 of 2").wait_for(timeout=120_000)
        page.locator(".chip", has_text="finished").wait_for(timeout=60_000)
        page.goto(f"{url}#/run/quickstart/rollout/{2 << 24}")
        page.locator(".tokens span").first.wait_for()
        page.locator(".tokens").focus()
        page.keyboard.press("ArrowRight")
        assert "entropy" in _readout(page)
    records = RunDirectory.open(runs / "quickstart").read_rollouts(2)
    assert all(record.tokens and len(record.tokens.entropies) == record.completion_tokens for record in records)
    assert all(record.tokens and record.tokens.ends[-1] == len(record.completion) for record in records)


@contextmanager
def training(recipe: str, settings: Sequence[str]) -> Iterator[None]:
    """Train in another process; it is ended at the end if it has not ended before."""
    command = [sys.executable, "-m", "reasonrl", "train", recipe, *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as run:
        try:
            yield
            assert run.wait(60) == 0, run.stderr and run.stderr.read()
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGTERM)
