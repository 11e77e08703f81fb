"""Kills commands at random moments, thirty times each, and compares what comes out in the end.

    python benchmarks/kill.py                                   # half an hour to an hour
    python benchmarks/kill.py --of few-shot --kills 10 --seed 1

Four jobs on tiny videos: `semi-supervised`, two rounds with four methods, a teacher and an export;
`few-shot`, a trunk trained on episodes and its evaluation with composites; `ablation`, two rows by
two seeds; `export`, in every layout, with the real clips copied. Each is run once undisturbed. Then
its commands are started and, after a random time, killed by SIGKILL with all their processes, and
started again, until they get through; when they do before all kills are spent, what they left is
compared and the job begins anew in an empty folder. Every file must have the same bytes as that of
the undisturbed job, but for those that hold times: logs, TensorBoard's events, seconds of stages,
reports, and the entries of JSON files in `TIMES`. Ends with 1 where something differs or a command
fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tables import print_header, print_table, run

from l2a.checkpoints import load_tensors
from l2a.locks import LOCKS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from tiny_data import CLASSES, write_tiny  # type: ignore[import-not-found]
from tiny_run import SMALL  # type: ignore[import-not-found]

TIMES = ("cost", "seconds", "clips_per_second", "minutes", "hours")
"""Entries of JSON files that hold times, or what was done in which try."""

TIMED = (
    "run.log",
    "stages.json",
    "speed.json",
    "report.html",
    "events.out.*",
    "ablation.csv",
    "table.txt",
)
"""Files that hold times, or that name where they lie."""

Words = Callable[[Path], list[list[str]]]


@dataclass(frozen=True)
class Job:
    """Commands that make one folder, one after another.

    Attributes:
        commands: folder for everything ─► words after `l2a` of each command.
        out: the part of the folder that is compared.
    """

    commands: Words
    out: str = "run"


def make_job(name: str, root: Path) -> Job:
    """Write a job's data and settings below `root`."""
    data, config = root / f"{name}-data", root / f"{name}.yaml"
    if name == "few-shot":
        write_tiny(data, ("Bend", "Climb", "Dive", "Jump", "Kick", "Wave"), train_groups=2)
        config.write_text(yaml.safe_dump(_few_shot()))
        shared = ["--config", str(config)]
        return Job(lambda out: [
            ["few-shot", "train", str(data), *shared, "--out", str(out / "run")],
            ["few-shot", "evaluate", str(out / "run"), "--compare"],
        ])  # fmt: skip
    if name == "ablation":
        write_tiny(data, (*CLASSES, "RideBike"), train_groups=2)
        small = {"compare": False, "probe": 0, "repeats": 1, "epochs": 4}
        config.write_text(yaml.safe_dump(SMALL | small))
        table = root / "table.yaml"
        rows = {"plain": {"selection": "random"}, "chosen": {"boxes": True}}
        named = {row: {"about": row, "settings": settings} for row, settings in rows.items()}
        table.write_text(yaml.safe_dump({"baseline": "plain", "rows": named}, sort_keys=False))
        words = ["ablate", str(data), "--config", str(config), "--table", str(table)]
        return Job(lambda out: [[*words, "--seeds", "0", "1", "--out", str(out / "run")]])
    if name == "export":
        write_tiny(data, train_groups=5)
        config.write_text(yaml.safe_dump(SMALL | {"compare": False, "selection": "random"}))
        made = root / "exported-run"
        subprocess.run(
            command(["train", str(data), "--config", str(config), "--out", str(made)]),
            check=True, capture_output=True,
        )  # fmt: skip
        words = ["export", str(data), "--pairs", str(made / "pairs.parquet")]
        words += ["--layouts", "videofolder,mmaction2,pytorchvideo,torchvision,fiftyone,webdataset"]
        words += ["--include-real", "copy", "--segmenter", str(SMALL["segmenter"])]
        layers = str(made / "layers")
        return Job(lambda out: [[*words, "--layers", layers, "--out", str(out / "run")]])
    write_tiny(data, train_groups=5)
    config.write_text(yaml.safe_dump(SMALL | _semi_supervised()))
    words = ["train", str(data), "--config", str(config)]
    return Job(lambda out: [[*words, "--out", str(out / "run")]])


def _few_shot() -> dict[str, Any]:
    """Settings of training on episodes and of their evaluation."""
    return {
        "num_frames": 4, "height": 32, "width": 40, "crop": 32, "network": "tiny3d",
        "segmenter": "motion", "min_gamma": 0.005, "workers": 1, "selector_steps": 6,
        "selector_batch": 8, "hidden": [16], "validation_clips": 4, "frozen_pairs": 20,
        "freeze_trunk": False, "way": 2, "shots": [1, 2], "episodes": 60, "chunk": 8,
        "candidates": 2, "validation_classes": 2, "novel_classes": 2, "validation_episodes": 6,
        "train_episodes": 40, "validate_every": 10, "episodes_per_step": 2, "train_queries": 1,
    }  # fmt: skip


def _semi_supervised() -> dict[str, Any]:
    """Settings of two rounds with four methods and a teacher."""
    return {
        "setting": "semi-supervised", "labelled_share": 0.5, "pseudo_threshold": 0.0, "repeats": 1,
        "compare": False, "probe": 0.0, "methods": "fixmatch tcl mean-teacher actorcut-id",
        "selector_steps": 6, "scene_test": False, "rounds": 2, "epochs": 4,
        "teacher": "efficientnet_lite0", "export": True,
    }  # fmt: skip


JOBS = ("few-shot", "ablation", "semi-supervised", "export")


def command(words: Sequence[str]) -> list[str]:
    """`l2a` with this Python."""
    return [sys.executable, "-m", "l2a", *words]


def undisturbed(job: Job, out: Path) -> float:
    """Run a job; returns its seconds."""
    began = time.monotonic()
    for words in job.commands(out):
        with (out / "said").open("ab") as said:
            subprocess.run(command(words), check=True, stdout=said, stderr=said)
    return time.monotonic() - began


@dataclass
class Tally:
    """What became of a job: kills, its ends that were compared, what differed, how it failed."""

    kills: int = 0
    ends: int = 0
    stages: int = 0
    differing: tuple[str, ...] = ()
    failed: str = ""


def disturbed(job: Job, out: Path, longest: float, kills: int, rng: random.Random) -> Tally:
    """Run a job to its end, killing it at most `kills` times, each up to `longest` seconds after
    its run folder was opened."""
    tally, struck = Tally(), set()
    for words in job.commands(out):
        while True:
            with (
                (out / "said").open("ab") as said,
                subprocess.Popen(
                    command(words), stdout=said, stderr=said, start_new_session=True
                ) as process,
            ):
                if tally.kills < kills and _still_runs(process, out, rng.uniform(0, longest)):
                    os.killpg(process.pid, signal.SIGKILL)
                    tally.kills += 1
                    struck.add(last_stage(out))
                    continue
                process.wait()
            if process.returncode:
                said_last = (out / "said").read_text(errors="replace").splitlines()[-1:]
                tally.failed = f"l2a {words[0]} ended with {process.returncode}: {said_last}"
                return tally
            break
    tally.ends, tally.stages = 1, len(struck)
    return tally


def _still_runs(process: subprocess.Popen[bytes], out: Path, seconds: float) -> bool:
    """Whether a command runs `seconds` after it has opened its run folder, waiting for that."""
    before = _written(out)
    while _written(out) == before:
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _written(out: Path) -> int:
    """Bytes of all logs below a folder, and whether anything is there: an export has no log."""
    return sum(path.stat().st_size for path in out.rglob("run.log")) + (out / "run").exists()


def last_stage(out: Path) -> str:
    """The last stage that some log below a folder tells of."""
    logs = sorted(out.rglob("run.log"), key=lambda path: path.stat().st_mtime_ns)
    lines = logs[-1].read_text(errors="replace").splitlines() if logs else []
    return next((line.partition("── ")[2] for line in reversed(lines) if "── " in line), "")


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder that must be the same ─► a checksum of it."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        timed = any(path.match(pattern) for pattern in TIMED)
        if timed or path.name in LOCKS or not path.is_file():
            continue
        if _SHARD.fullmatch(path.name):  # which rows one holds depends on where a try began
            found[str(path.parent.relative_to(folder) / "*.safetensors")] = _of_shards(path.parent)
        else:
            found[str(path.relative_to(folder))] = _digest(path)
    return found


_SHARD = re.compile(r"[0-9a-f]{32}\.safetensors")


def _of_shards(folder: Path) -> str:
    """A checksum of all rows that the files of `train.frozen.shards` hold, in order of keys."""
    parts = [load_tensors(path)[0] for path in sorted(folder.glob("*.safetensors"))]
    digest = hashlib.sha256()
    keys, first = np.unique(torch.cat([part["keys"] for part in parts]), return_index=True)
    digest.update(keys.tobytes())
    for name in sorted(parts[0].keys() - {"keys"}):
        digest.update(torch.cat([part[name] for part in parts])[first].numpy().tobytes())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".json":
        content = json.dumps(_timeless(json.loads(content)), sort_keys=True).encode()
    elif path.suffix == ".safetensors":
        tensors, values = load_tensors(path)
        content = json.dumps(_timeless(values), sort_keys=True).encode()
        for key in sorted(tensors):
            content += key.encode() + tensors[key].numpy().tobytes()
    return hashlib.sha256(content).hexdigest()


def _timeless(value: Any) -> Any:
    """A JSON document without what `TIMES` names."""
    if isinstance(value, Mapping):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Names of files that are not the same in both, or not there."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def strike(name: str, root: Path, options: argparse.Namespace) -> list[str]:
    """Run one job as often as its kills last; returns the row of the table."""
    job, rng = make_job(name, root), random.Random(f"{name} {options.seed}")
    out = root / name  # the same for all: files hold it
    out.mkdir()
    seconds = undisturbed(job, out)
    expected = contents(out / job.out)
    out.rename(root / f"{name}-whole")
    longest = options.longest or seconds / 6
    print(f"{name}: {seconds:.0f} s undisturbed, {len(expected)} files", flush=True)
    sums = Tally()
    while sums.kills < options.kills and not (sums.failed or sums.differing):
        out.mkdir()
        tally = disturbed(job, out, longest, options.kills - sums.kills, rng)
        sums.kills += tally.kills
        sums.ends += tally.ends
        sums.stages = max(sums.stages, tally.stages)
        sums.failed = tally.failed
        if not tally.failed:
            sums.differing = tuple(differing(expected, contents(out / job.out)))
            print(f"{name}: {sums.kills} kills, differing: {sums.differing}", flush=True)
        if not (sums.failed or sums.differing):
            shutil.rmtree(out)  # else it is kept, to be looked at
    verdict = sums.failed or (f"differ: {', '.join(sums.differing)}" if sums.differing else "same")
    return [name, f"{seconds:.0f}", str(sums.kills), str(sums.ends), str(sums.stages),
            str(len(expected)), verdict]  # fmt: skip


def main() -> None:
    """Kill, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--of", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--kills", type=int, default=30, help="of each")
    parser.add_argument("--longest", type=float, help="seconds, see `disturbed`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a new folder for everything, which stays")
    given = parser.parse_args()
    root = given.keep or Path(tempfile.mkdtemp(prefix="kill-"))
    root.mkdir(parents=True, exist_ok=True)
    rows = [strike(name, root, given) for name in given.of]
    print_header()
    header = ["job", "s undisturbed", "kills", "ends", "stages struck", "files", "files' bytes"]
    print_table("Kills by SIGKILL", header, rows)
    if all(row[-1] == "same" for row in rows):
        if given.keep is None:
            shutil.rmtree(root)
        return
    print(f"what differs lies in {root}")
    sys.exit(1)


if __name__ == "__main__":
    run(main)
