"""How fast data sets are listed: files a second for every layout, on a warm cache.

    python benchmarks/listing_speed.py --files 200000
    python benchmarks/listing_speed.py --files 200000 --against OLD    # another checkout next to it

Empty files in class folders, made once in a temporary folder, are read as every layout in turn: a
process of its own reads them five times, and the fastest counts, when the system has all folders in
its cache. What is timed is `read_videos` and the fingerprint of its result, as `l2a train` begins,
in seconds of the processor: on a machine that does nothing else, those are all there are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tables import print_header, print_table, run

LAYOUTS = ("folder", "lists", "kinetics", "hmdb51", "ucf101")

_READ = """
import sys, time, json, pathlib
from l2a.formats import DataSettings, read_videos
root, format, annotations = sys.argv[1:]
place = pathlib.Path(annotations) if annotations else None
times = []
for _ in range(5):
    start = time.process_time()
    videos = read_videos(pathlib.Path(root), DataSettings(format=format, annotations=place))
    mark = videos.fingerprint()
    times.append(time.process_time() - start)
print(json.dumps([min(times), len(videos), mark]))
"""


def make_data(root: Path, files: int, classes: int) -> None:
    """Empty files `videos/<class>/<name>`, named as Kinetics' are, and lists for each layout."""
    rows = list(_rows(files, classes))
    for label in dict.fromkeys(label for label, _, _ in rows):
        (root / "data/videos" / label).mkdir(parents=True)
    for label, name, _ in rows:
        os.close(os.open(root / "data/videos" / label / name, os.O_CREAT | os.O_WRONLY))
    number = {label: index for index, label in enumerate(sorted({row[0] for row in rows}))}
    texts: dict[str, list[str]] = {
        "kinetics/all.csv": ["label,youtube_id,time_start,time_end,split"]
    }
    for label, name, split in rows:
        path = f"{label}/{name}"
        texts.setdefault(f"lists/{split}.txt", []).append(f"{path} {number[label]}")
        texts.setdefault(f"ucf101/{split}list01.txt", []).append(f"{path} {number[label] + 1}")
        tag = 1 if split == "train" else 2
        texts.setdefault(f"hmdb51/{label}_test_split1.txt", []).append(f"{name} {tag}")
        youtube, start, end = name.removesuffix(".mp4").rsplit("_", 2)
        texts["kinetics/all.csv"].append(f"{label},{youtube},{int(start)},{int(end)},{split}")
    for place, lines in texts.items():
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).write_text("\n".join(lines) + "\n")


def _rows(files: int, classes: int) -> Iterator[tuple[str, str, str]]:
    """(class, file name, split): every fifth video is a test video, two come from a recording."""
    for index in range(files):
        name = (
            f"v{index // 2 % (files // 3 + 1):010}_{index % 2 * 10:06}_{index % 2 * 10 + 10:06}.mp4"
        )
        yield f"class_{index % classes:03}", name, "test" if index % 5 == 4 else "train"


def measure(root: Path, layout: str, code: Path) -> tuple[float, int, str]:
    """Seconds, number of videos and fingerprint of one layout, read by the code in `code`."""
    annotations = "" if layout == "folder" else str(root / layout)
    words = [sys.executable, "-c", _READ, str(root / "data"), layout, annotations]
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(code)}, check=True, capture_output=True
    )
    seconds, count, mark = json.loads(done.stdout)
    return float(seconds), int(count), str(mark)


def main() -> None:
    """Make the files, read them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument(
        "--against", type=Path, help="the folder of another checkout to compare with"
    )
    given = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    codes = {"here": here} | ({"there": given.against.resolve()} if given.against else {})
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_data(root, given.files, given.classes)
        rows = []
        for layout in LAYOUTS:
            read = {name: measure(root, layout, code) for name, code in codes.items()}
            same = len({(count, mark) for _, count, mark in read.values()}) == 1
            row = [layout, str(read["here"][1])]
            for seconds, count, _ in read.values():
                row += [f"{seconds:.2f}", f"{count / seconds:,.0f}"]
            rows.append([*row, "yes" if same else "no"] if len(codes) > 1 else row)
    heads = ["layout", "videos"]
    for name in codes:
        heads += [f"s {name}", f"files/s {name}"]
    print_header()
    print_table("Listing", [*heads, "same result"] if len(codes) > 1 else heads, rows)


if __name__ == "__main__":
    run(main)
