"""A page in headless Chromium, where it is installed."""

import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def errors_in_browser(page: Path) -> list[str]:
    """Load a page and return the lines of its console; without an error there are none."""
    assert CHROMIUM
    picture = page.with_suffix(".png")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.with_suffix('.profile')}",
         "--enable-logging=stderr", "--v=0", f"--screenshot={picture}", "--window-size=1000,1200", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert picture.stat().st_size > 10_000, "the page is empty"
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]
