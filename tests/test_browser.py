"""The report and exported clips in a real browser. Not run by default, but by `make test-browser`.

H.264 is what browsers play everywhere; a file that PyAV reads back need not be one that they show.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from browser import chromium, complaints, open_page, playing
from tiny_run import train_tiny

from l2a.cli import main

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("browser"), repeats=1)


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with chromium() as page:
        yield page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_plays_and_fits(page: Any, run: Path, width: int, dark: bool) -> None:
    open_page(page, run / "report.html", width, dark)
    videos = playing(page)
    assert len(videos) == 8 + 12  # pairs, and the videos worth least
    for video in videos:
        assert video["error"] is None
        assert video["ready"] >= 2
        assert video["moved"] > 0
    sizes = page.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert len(sizes) == 9  # three clips: themselves, and a map of each of their classes
    assert all(sizes)
    page.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
    wide = page.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    assert complaints(page) == []


def test_the_report_is_as_light_or_dark_as_the_reader_wants(page: Any, run: Path) -> None:
    """Text and chart lines stand out from the paper by 4.5 to 1 and by 3 to 1 (WCAG 2.2, AA)."""
    grounds = {}
    for dark in (False, True):
        open_page(page, run / "report.html", dark=dark)
        shades = page.execute_script(
            "const style = chosen => getComputedStyle(document.querySelector(chosen));"
            "const seen = (chosen, name) => style(chosen)[name].match(/[0-9.]+/g).map(Number);"
            "return { ground: seen('html', 'backgroundColor'), text: seen('p', 'color'),"
            "  soft: seen('figcaption', 'color'), link: seen('nav a', 'color'),"
            "  axis: seen('#stage-one svg text', 'fill') }"
        )
        ground = grounds[dark] = luminance(shades.pop("ground"))
        for name, shade in shades.items():
            high, low = sorted((luminance(shade), ground), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, name
    assert grounds[True] < 0.1 < 0.9 < grounds[False]


def luminance(colour: list[float]) -> float:
    """Relative luminance of sRGB 0..255 (WCAG 2.2)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (value / 255 for value in colour[:3])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_exported_clips_play_as_stated(page: Any, run: Path, tmp_path: Path) -> None:
    """The clips of every face: those that lie in folders, and those in shards."""
    out = tmp_path / "export"
    layouts = "videofolder,mmaction2,pytorchvideo,torchvision,webdataset"
    words = ["export", str(run.parent / "data"), "--pairs", str(run / "pairs.parquet")]
    assert main([*words, "--out", str(out), "--layouts", layouts, "--workers", "1"]) == 0
    for shard in (out / "webdataset").glob("*.tar"):
        with tarfile.open(shard) as tar:
            tar.extractall(out / "unpacked", filter="data")
    stated = {Path(row["file_name"]).name: row
              for row in pq.read_table(out / "manifest.parquet").to_pylist()}  # fmt: skip
    clips = sorted(out.rglob("*.mp4"))
    for place in ("videos", "by_class", "unpacked"):
        assert sum(place in clip.parts for clip in clips) == len(stated) == 5
    everything = tmp_path / "clips.html"
    everything.write_text("".join(f'<video src="{clip.as_uri()}" muted></video>' for clip in clips))
    open_page(page, everything)
    for clip, shown in zip(clips, playing(page), strict=True):
        row = stated[clip.name]
        assert shown["error"] is None, clip
        assert shown["ready"] >= 2
        assert shown["moved"] > 0
        assert (shown["height"], shown["width"]) == (row["height"], row["width"])
        assert shown["duration"] == pytest.approx(row["num_frames"] / row["fps"], abs=0.01)
    assert complaints(page) == []
