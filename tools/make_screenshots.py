"""Pictures of reports for the documentation, taken in Chromium without a network at two widths.

    python tools/make_screenshots.py runs/quickstart runs/smollm2-arithmetic

writes ``docs/images/report-NAME-WIDTH.png`` for each run, the beginning of its report in light colors.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from reasonrl.run.report.writer import write_report

IMAGES = Path(__file__).parent.parent / "docs" / "images"
SIZES = ((1280, 1300), (600, 1100))
"""Width and height in CSS pixels."""


def main(runs: list[Path]) -> None:
    """Take the pictures of all runs."""
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for run in runs:
            file = Path(folder) / f"{run.name}.html"
            write_report([run], file)
            for width, height in SIZES:
                _take(browser, file, width, height)
        browser.close()


def _take(browser: Browser, file: Path, width: int, height: int) -> None:
    """Take one picture; whatever the browser complains about ends it."""
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True, color_scheme="light")
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_timeout(300)
    assert not complaints, complaints
    target = IMAGES / f"report-{file.stem}-{width}.png"
    page.screenshot(path=target)
    print(target)
    context.close()


if __name__ == "__main__":
    main([Path(given) for given in sys.argv[1:]])
