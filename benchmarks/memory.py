"""Whether memory grows with the videos, or with the episodes: peaks of whole commands.

    python benchmarks/memory.py                              # hours on one core
    python benchmarks/memory.py --videos 250 750 2500 --episodes 1000 10000

`l2a prepare`, `train` (bank, batches, report) and `export` run on data sets of so many tiny videos
(64x64, 8 frames), each a link to one of a hundred, with a recording of its own; every fifth is a
test video. `l2a few-shot evaluate` runs on one small data set with so many episodes. Each command
is a process of its own, whose memory is looked at twenty times a second: its peak is without pages
of files that it maps, such as the bank's, which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from tables import print_header, print_table, run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from tiny_data import write_tiny  # type: ignore[import-not-found]

from l2a.media import write_video

CLASSES = ("ClimbStairs", "JumpRope", "RideBike", "WaveHand")
_EACH = 25

SETTINGS = {
    "num_frames": 4, "height": 32, "width": 40, "crop": 32, "network": "tiny3d", "epochs": 1,
    "segmenter": "motion", "min_gamma": 0.001, "selection": "random", "repeats": 1, "workers": 1,
    "compare": False, "probe": 0.0, "scene_test": False, "format": "ucf101",
}  # fmt: skip

_WATCHED = """
import json, sys, threading, time
peak = [0]
def look():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            peak[0] = max(peak[0], int(line.split()[1]))
def watch():
    while True:
        look()
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
from l2a.cli import main
code = main(sys.argv[1:])
look()
print(json.dumps([code, peak[0] / 1024, time.process_time()]))
"""


def film(label: int, seed: int) -> np.ndarray:
    """uint8 `[8, 64, 64, 3]`: a bright square that crosses coarse noise as its class does."""
    rng = np.random.default_rng([label, seed])
    scene = rng.integers(20, 120, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    frames = np.repeat(scene[None], 8, axis=0)
    for t in range(8):
        top, left = ((7 * t, 20), (20, 7 * t), (7 * t, 7 * t), (49 - 7 * t, 7 * t))[label]
        frames[t, top : top + 14, left : left + 10] = (230, 200 + seed % 40, 90)
    return frames


def make_data(root: Path, videos: int) -> Path:
    """A data set of `videos` links in UCF101's layout."""
    films, data = root / "films", root / f"data-{videos}"
    for label, name in enumerate(CLASSES):
        for seed in range(_EACH):
            path = films / f"{name}-{seed}.mp4"
            if not path.exists():
                write_video(path, film(label, seed), fps=8.0)
    lists: dict[str, list[str]] = {"trainlist01.txt": [], "testlist01.txt": []}
    for index in range(videos):
        name, seed = CLASSES[index % len(CLASSES)], index // len(CLASSES)
        file = f"{name}/v_{name}_g{seed:05}_c01.mp4"
        path = data / "videos" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(films / f"{name}-{seed % _EACH}.mp4", path)
        lists["testlist01.txt" if seed % 5 == 4 else "trainlist01.txt"].append(file)
    (data / "splits").mkdir()
    lists["classInd.txt"] = [f"{label + 1} {name}" for label, name in enumerate(CLASSES)]
    for name, lines in lists.items():
        (data / "splits" / name).write_text("\n".join(lines) + "\n")
    return data


def watched(words: list[str]) -> tuple[float, float, float]:
    """Peak memory in MB, seconds, and seconds of the processor, of an `l2a` command."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, *words], capture_output=True, text=True, check=False
    )
    if done.returncode or not done.stdout.splitlines():
        raise RuntimeError(done.stderr[-2000:])
    code, peak, processor = json.loads(done.stdout.splitlines()[-1])
    if code:
        raise RuntimeError(done.stderr[-2000:])
    return peak, time.monotonic() - began, processor


def of_videos(root: Path, videos: int) -> list[list[str]]:
    """Rows for prepare, train and export."""
    data, config = str(make_data(root, videos)), root / "settings.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    out = root / f"out-{videos}"
    shared = ["--config", str(config), "--layers", str(out / "layers")]
    commands = {
        "prepare": ["prepare", data, *shared, "--out", str(out / "prepare")],
        "train": ["train", data, *shared, "--out", str(out / "train")],
        "export": ["export", data, "--pairs", str(out / "train/pairs.parquet"), "--workers", "1",
                   "--layers", str(out / "layers"), "--out", str(out / "export")],
    }  # fmt: skip
    return [_row(name, str(videos), watched(words)) for name, words in commands.items()]


def of_episodes(root: Path, episodes: list[int]) -> list[list[str]]:
    """Rows for the evaluation of few shots."""
    data = root / "few-data"
    write_tiny(data, ("Bend", "Climb", "Dive", "Jump", "Kick", "Wave"), train_groups=2)
    config, rows = root / "few.yaml", []
    small = {
        "num_frames": 4, "height": 32, "width": 40, "crop": 32, "network": "tiny3d",
        "segmenter": "motion", "min_gamma": 0.005, "workers": 1, "selection": "random",
        "freeze_trunk": True, "way": 2, "shots": [1], "candidates": 2, "validation_classes": 2,
        "novel_classes": 2,
    }  # fmt: skip
    config.write_text(yaml.safe_dump(small))
    for count in episodes:
        words = ["few-shot", "evaluate", str(data), "--config", str(config), "--episodes",
                 str(count), "--layers", str(root / "few-layers"), "--bank", str(root / "few-bank"),
                 "--out", str(root / f"few-{count}")]  # fmt: skip
        rows.append(_row("few-shot evaluate", f"{count} episodes", watched(words)))
    return rows


def _row(name: str, count: str, found: tuple[float, float, float]) -> list[str]:
    row = [name, count, *(f"{value:.0f}" for value in found)]
    print(row, file=sys.stderr, flush=True)
    return row


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, nargs="*", default=[1000, 3000, 10_000])
    parser.add_argument("--episodes", type=int, nargs="*", default=[1000, 10_000, 100_000])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = of_episodes(root, given.episodes)
        for videos in given.videos:
            rows += of_videos(root, videos)
    rows.sort(key=lambda row: row[0])
    print_header()
    heads = ["command", "videos", "MB at most", "s", "s of the processor"]
    print_table("Memory", heads, rows)


if __name__ == "__main__":
    run(main)
