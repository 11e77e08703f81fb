"""Headless Chromium for tests: pages and videos as people's browsers show them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

# As root Chromium wants --no-sandbox; the others keep it from talking to its makers.
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


@contextmanager
def chromium() -> Iterator[Any]:
    """A Chromium with a profile of its own, as selenium's driver; it ends with the block."""
    browser, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not browser or not driver:
        pytest.exit(
            "There is no chromium with chromedriver; install both, on Debian by "
            "`apt-get install chromium chromium-driver`.",
            returncode=2,
        )
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        page = webdriver.Chrome(options, Service(driver))
        try:
            yield page
        finally:
            page.quit()


def open_page(page: Any, path: Path, width: int = 1280, dark: bool = False) -> None:
    """Open a file at a width in CSS pixels, in light or in dark."""
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    page.get(path.resolve().as_uri())


def playing(page: Any, seconds: float = 20.0) -> list[dict[str, Any]]:
    """Every video of the page, played until its time has moved on.

    Returns:
        For each: ready (readyState), moved (seconds that it went on), width, height, duration,
        error (its code and message, or None).

    Waits at most `seconds` for all of them.
    """
    page.execute_script(
        "for (const video of document.querySelectorAll('video')) {"
        " video.muted = true; video.dataset.from = video.currentTime; video.dataset.far = 0;"
        " video.addEventListener('timeupdate', () => { video.dataset.far = Math.max("
        "   video.dataset.far, Math.abs(video.currentTime - video.dataset.from)); });"
        " video.play().catch(() => {}); }"
    )
    script = (
        "return [...document.querySelectorAll('video')].map(video => ({"
        " ready: video.readyState, moved: Number(video.dataset.far), width: video.videoWidth,"
        " height: video.videoHeight, duration: video.duration,"
        " error: video.error && `${video.error.code} ${video.error.message}` }))"
    )
    deadline = time.monotonic() + seconds
    while True:
        found: list[dict[str, Any]] = page.execute_script(script)
        done = all(one["error"] or (one["ready"] >= 2 and one["moved"] > 0) for one in found)
        if done or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def complaints(page: Any) -> list[str]:
    """What the page's console has said since the last call: warnings and errors."""
    return [
        entry["message"]
        for entry in page.get_log("browser")
        if entry["level"] in ("WARNING", "SEVERE")
    ]
