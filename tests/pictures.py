"""`python -m tests.pictures`: takes the pictures of the page that the README shows, from the demo."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import sync_playwright

from argosy.client import Client
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.support.browser import ARGUMENTS, chromium

PICTURES = ROOT / "worker" / "docs" / "pictures"


@contextmanager
def demo() -> Iterator[dict[str, str]]:
    """A demo that stays up; what it prints: the page's address, the token, and its environment."""
    command = [sys.executable, "-m", "argosy.cli", "demo", "--keep", "--media", "240"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        told: dict[str, str] = {}
        for line in process.stderr or ():
            if found := re.match(r"\s*(?:export (\w+)='(.*)'|(page|sign in) +(\S+))", line):
                told[found[1] or found[3]] = found[2] or found[4]
            if "argosy launch" in line:
                break
        try:
            yield told
        finally:
            process.terminate()


def _fill(told: dict[str, str]) -> Any:
    """Launches of every kind; the one that is shown by itself."""
    fields: dict[str, Any] = {name[7:].lower(): value for name, value in told.items() if name.startswith("ARGOSY_")}
    settings = Settings(**fields)
    with Client(settings) as client:
        for algorithm, media in (("fan-out", 40), ("pipeline", 90), ("flaky", 12)):
            client.launch(algorithm, project=1, user=1, media_ids=range(1, media + 1))
        fails = client.launch("fails", project=1, user=1, media_ids=range(1, 121)).gid
        client.launch("count-media", project=1, user=1, media_ids=range(1, 900))
        client.launch("hello", project=1, user=1, media_ids=range(1, 400))
        return fails


def main() -> None:
    """Take them."""
    PICTURES.mkdir(exist_ok=True)
    with demo() as told, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 720})
        page.goto(told["page"])
        page.get_by_label("Token").fill(told["sign in"])
        page.get_by_role("button", name="Sign in").click()
        fails = _fill(told)
        page.locator(".split", has_text=re.compile("[1-9][0-9] Failed")).first.wait_for(timeout=120_000)
        page.screenshot(path=PICTURES / "launches.png")
        page.goto(f"{told['page']}/launch/{fails}?status=Failed")
        page.locator("#live-state", has_text="Live").wait_for()
        page.screenshot(path=PICTURES / "launch.png")
        browser.close()
    for picture in PICTURES.glob("*.png"):
        sys.stdout.write(f"{picture.name}: {picture.stat().st_size // 1000} KB\n")


if __name__ == "__main__":
    os.environ.pop("ARGOSY_DATABASE_URL", None)
    main()
