"""The whole way on real clips with real masks: a few videos of four actions of JHMDB."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from l2a.cli import main
from l2a.formats import DataSettings, read_videos
from l2a.pairs import read_pairs

pytestmark = pytest.mark.clips

ACTIONS = ("golf", "clap", "run", "swing_baseball")
SETTINGS = {
    "num_frames": 8, "height": 48, "width": 64, "crop": 44, "network": "tiny3d", "epochs": 2,
    "warmup_epochs": 2, "selector_steps": 10, "selector_batch": 16, "hidden": [64, 32],
    "validation_clips": 12, "budget": 12, "composites_per_batch": 4, "export": True, "lr": 0.02,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(clips_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to ten training and four test videos of each action, with their lines of the split."""
    source, root = clips_root / "jhmdb12", tmp_path_factory.mktemp("real") / "data"
    (root / "splits").mkdir(parents=True)
    for action in ACTIONS:
        listed = (source / "splits" / f"{action}_test_split1.txt").read_text().splitlines()
        rows = [line.rsplit(maxsplit=1) for line in listed]
        chosen = [row for row in rows if row[1] == "1"][:10] + [r for r in rows if r[1] == "2"][:4]
        (root / "videos" / action).mkdir(parents=True)
        for name, _ in chosen:
            link = root / "videos" / action / name
            link.symlink_to(source / "videos" / action / name)
        text = "".join(f"{name} {tag}\n" for name, tag in chosen)
        (root / "splits" / f"{action}_test_split1.txt").write_text(text)
    return root


@pytest.fixture(scope="module")
def run(data: Path, clips_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    words = ["train", str(data), "--split", "1", "--config", str(folder / "config.yaml"),
             "--segmenter", f"masks:{clips_root / 'jhmdb12' / 'masks'}"]  # fmt: skip
    assert main([*words, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_it_ends_with_an_accuracy_and_pairs_of_exactly_the_budget(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test_clips"] == 16
    assert 0 <= metrics["arms"]["selector"]["top1_mean"] <= 1
    pairs, _ = read_pairs(run / "pairs.parquet")
    assert len(pairs) == 12
    assert not (run / "skipped.csv").exists()


def test_no_recording_of_the_composites_is_in_test(run: Path, data: Path) -> None:
    videos = {video.id: video for video in read_videos(data, DataSettings()).videos}
    test = {video.group for video in videos.values() if video.split == "test"}
    pairs, _ = read_pairs(run / "pairs.parquet")
    used = {id_ for pair in pairs for id_ in (pair.foreground, pair.background)}
    assert all(videos[id_].split == "train" for id_ in used)
    assert not {videos[id_].group for id_ in used} & test


def test_the_bank_keeps_frames_masks_and_backgrounds_together(run: Path) -> None:
    """Outside the mask and its rim the background is the frame itself; inside it is not."""
    from l2a.clips import ClipBank, RowState

    bank = ClipBank.open(next((run / "bank").iterdir()))
    inside, outside = [], []
    for row in np.flatnonzero(bank.state == RowState.LAYERS):
        mask = bank.masks[row]
        shifts = [np.roll(mask, step, axis) for axis in (1, 2) for step in (-4, 4)]
        far = ~np.logical_or.reduce([mask, *shifts])
        difference = np.abs(bank.frames[row].astype(int) - bank.backgrounds[row]).mean(-1)
        inside.append(difference[mask].mean())
        outside.append(difference[far].mean())
    assert np.median(outside) < 2
    assert np.median(inside) > 20


def test_the_export_is_read_by_hugging_face_datasets(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    import datasets

    loaded = datasets.load_dataset(
        "videofolder", data_dir=str(run / "export"), cache_dir=str(tmp_path / "cache")
    )["train"].cast_column("video", datasets.Video(decode=False))
    pairs, _ = read_pairs(run / "pairs.parquet")
    assert len(loaded) == 12
    soft = np.array(loaded["soft_label"])
    assert soft.shape == (12, len(ACTIONS))
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
    read = {(row["foreground"], row["background"]) for row in loaded}
    assert read == {(pair.foreground, pair.background) for pair in pairs}
