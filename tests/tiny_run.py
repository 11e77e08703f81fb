"""A run of `l2a train` on the tiny data set, as small as it can be and still have every part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tiny_data import write_tiny

from l2a.cli import main

SMALL: dict[str, Any] = {
    "num_frames": 4, "height": 32, "width": 40, "crop": 32, "network": "tiny3d", "epochs": 1,
    "warmup_epochs": 1, "selector_steps": 6, "selector_batch": 8, "hidden": [16],
    "checkpoint_every": 2, "validation_clips": 6, "budget": 5, "composites_per_batch": 2,
    "segmenter": "motion", "min_gamma": 0.005, "compare": True, "repeats": 2, "probe": 0.2,
    "workers": 1, "lr": 0.01,
}  # fmt: skip


def write_small(folder: Path, **settings: object) -> Path:
    """Write `SMALL` and what differs from it as a settings file; returns the file."""
    config = folder / "small.yaml"
    config.write_text(yaml.safe_dump(SMALL | settings))
    return config


def train_tiny(folder: Path, **settings: object) -> Path:
    """Train on `folder`/data, which is written if need be; returns the run's folder."""
    if not (folder / "data").is_dir():
        write_tiny(folder / "data")
    config = write_small(folder, **settings)
    words = ["train", str(folder / "data"), "--config", str(config), "--out", str(folder / "run")]
    assert main(words) == 0
    return folder / "run"
