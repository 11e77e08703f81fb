"""`l2a export` from the outside: budgets, spare pairs, a dry run, and folders that are refused."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from tiny_data import CLASSES, write_tiny

from l2a.cli import main
from l2a.formats import DataSettings, read_videos
from l2a.networks import build_trunk
from l2a.pairs import ScoredPair, read_pairs, write_pairs
from selector.card import SelectorCard
from selector.checkpoint import save_selector
from selector.network import SelectorConfig, new_selector
from semantic_match.embed import make_embedder
from train.video_table import VIDEOS, VideoRow, write_videos

SMALL = {
    "num_frames": 4, "height": 32, "width": 40, "crop": 32, "network": "tiny3d", "workers": 1,
    "min_gamma": 0.005, "preset": "ultrafast",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, its layers, settings, a pairs file of six pairs and two spare ones."""
    root = tmp_path_factory.mktemp("command")
    (root / "small.yaml").write_text(yaml.safe_dump(SMALL))
    data = write_tiny(root / "data", train_groups=2)
    words = ["prepare", str(data), "--config", str(root / "small.yaml")]
    assert main([*words, "--out", str(root / "chosen")]) == 0
    videos = read_videos(data, DataSettings()).of_split("train")
    pairs = [
        ScoredPair(f.id, b.id, 0.9 - i / 100, 2.0 - i, f.label, b.label)
        for i, (f, b) in enumerate(zip(videos, videos[4:], strict=False))
    ]
    meta = {"data_set": "data", "seed": 1, "settings": {"min_gamma": 0.005}}
    write_pairs(root / "chosen" / "pairs.parquet", pairs[:6], meta, pairs[6:8])
    return root


def call(place: Path, out: Path, *more: str, data: Path | None = None) -> list[str]:
    words = ["export", str(data or place / "data"), "--out", str(out)]
    words += ["--config", str(place / "small.yaml")]
    if "--selector" not in more:
        words += ["--pairs", str(place / "chosen" / "pairs.parquet")]
    return [*words, *more]


def listed(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "manifest.parquet").to_pylist()


def pairs_in(out: Path) -> list[tuple[str, str]]:
    return [(r["foreground"], r["background"]) for r in listed(out) if r["kind"] == "composite"]


def test_every_layout_and_the_originals(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    layouts = "videofolder,mmaction2,pytorchvideo,torchvision,webdataset"
    assert main(call(place, out, "--layouts", layouts, "--include-real", "link")) == 0
    kinds = [row["kind"] for row in listed(out)]
    # The official training split, of which validation is a part.
    assert (kinds.count("composite"), kinds.count("real")) == (6, 12)
    for name in ("metadata.parquet", "mmaction2/list.txt", "pytorchvideo/list.csv",
                 "by_class/JumpRope", "webdataset/shard-000000.tar"):  # fmt: skip
        assert (out / name).exists()


def test_originals_are_those_that_drop_real_kept(place: Path, tmp_path: Path) -> None:
    ids = [video.id for video in read_videos(place / "data", DataSettings()).of_split("train")]
    values = [0.1] * 7
    rows = [VideoRow(id_, "a", id_, "train", *values, "", "", n < 2) for n, id_ in enumerate(ids)]
    table = place / "chosen" / VIDEOS
    write_videos(table, rows, {})
    try:
        assert main(call(place, tmp_path / "out", "--include-real", "link")) == 0
    finally:
        table.unlink()
    real = [row["foreground"] for row in listed(tmp_path / "out") if row["kind"] == "real"]
    assert real == ids[2:]


def test_a_budget_takes_the_best_of_each_class_then_more_and_never_fewer(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    pairs, _ = read_pairs(place / "chosen" / "pairs.parquet")
    assert main(call(place, out, "--budget", "2")) == 0
    # Four pairs of the first class rank above two of the second: the best two would be of one.
    assert [row.foreground_class for row in pairs] == [CLASSES[0]] * 4 + [CLASSES[1]] * 2
    assert pairs_in(out) == [(pairs[i].foreground, pairs[i].background) for i in (0, 4)]
    assert main(call(place, out, "--budget", "4")) == 0
    assert "2 clips made, 2 reused" in capsys.readouterr().out
    assert pairs_in(out) == [(pairs[i].foreground, pairs[i].background) for i in (0, 1, 2, 4)]
    assert main(call(place, out, "--budget", "3")) == 2
    assert "budget of 4, and 3 is less" in capsys.readouterr().err
    assert main(call(place, out, "--budget", "7")) == 2
    assert "budget is 7 and there are only 6 pairs" in capsys.readouterr().err


def test_a_video_that_is_no_video_is_replaced_by_spare_pairs(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no layers and can have none; the export of the others does not stop."""
    data = write_tiny(tmp_path / "data", train_groups=2)
    pairs, _ = read_pairs(place / "chosen" / "pairs.parquet")
    (data / "videos" / Path(pairs[1].foreground).relative_to("videos")
     if pairs[1].foreground.startswith("videos") else data / pairs[1].foreground
    ).write_bytes(b"no video")  # fmt: skip
    out, layers = tmp_path / "out", tmp_path / "layers"
    assert main(call(place, out, "--layers", str(layers), data=data)) == 0
    printed = capsys.readouterr().out
    gone = [row for row in pairs if pairs[1].foreground in (row.foreground, row.background)]
    assert len(pairs_in(out)) == 6
    assert f"{len(gone)} skipped, {len(gone)} of the clips are the next best" in printed
    assert pairs[1].foreground in (out / "skipped.csv").read_text()


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize("where", ["data", "data/videos", "data/augmented"])
def test_the_data_set_is_no_place_for_an_export(
    place: Path, where: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(place.rglob("*"))
    assert main(call(place, place / where, *more)) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert f"{where} lies in the data set" in message and "a folder outside of it" in message
    assert sorted(place.rglob("*")) == before


def test_a_dry_run_says_and_writes_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(call(place, out, "--dry-run")) == 0
    printed = capsys.readouterr().out
    assert "clips: 6, of which 0 are there already" in printed
    assert "measured on 4 of them" in printed and re.search(r"time: about \d+ seconds?\n", printed)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_counts_layers_of_other_settings_as_still_to_be_made(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(call(place, tmp_path / "out", "--dry-run", "--dilate", "0.1")) == 0
    assert "still to be segmented and inpainted" in capsys.readouterr().out


@pytest.fixture(scope="module")
def selector(place: Path) -> Path:
    embedder = make_embedder("static")
    config = SelectorConfig(128, embedder.dim, hidden=(16, 8))
    card = SelectorCard(
        config, "tiny3d", "random", False, embedder.identity, num_frames=4, height=32, width=40,
        crop=32, classes=("a", "b"), reward="credit", steps=1, seed=0,
    )  # fmt: skip
    for seed in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = build_trunk("tiny3d")
        folder = place / f"selector-{seed}"
        save_selector(folder, new_selector(config, seed), network, replace(card, seed=seed))
    return place / "selector-0"


def test_a_selector_chooses_more_into_the_same_folder(
    place: Path, selector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = call(place, out, "--selector", str(selector))
    assert main([*words, "--dry-run", "--budget", "3"]) == 0
    assert "clips: 3, of which 0" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []

    assert main([*words, "--budget", "3"]) == 0
    before = pairs_in(out)
    assert main([*words, "--budget", "6"]) == 0
    printed = capsys.readouterr()
    assert "3 clips made, 3 reused" in printed.out
    assert len(pairs_in(out)) == 6 and set(before) < set(pairs_in(out))
    assert "layers: 0 made" in printed.err
    assert {path.name for path in tmp_path.iterdir()} == {
        "out", "out-selection", "out-selection-6",
    }  # fmt: skip
    assert main([*words, "--budget", "6"]) == 0
    assert "0 clips made, 6 reused" in capsys.readouterr().out
    assert main([*words, "--budget", "2"]) == 2
    assert "budget of 6, and 2 is less" in capsys.readouterr().err
    other = call(place, out, "--selector", str(place / "selector-1"), "--budget", "7")
    assert main(other) == 2
    assert "chosen by another Selector or with other settings" in capsys.readouterr().err


def test_a_class_without_training_videos_keeps_its_number(place: Path, tmp_path: Path) -> None:
    """Else the numbers of all classes after it would be others than those of the test videos."""
    pairs, _ = read_pairs(place / "chosen" / "pairs.parquet")
    data = write_tiny(tmp_path / "data", train_groups=2)
    lists = data / "splits" / "trainlist01.txt"
    kept = [line for line in lists.read_text().splitlines(True) if "ClimbStairs" not in line]
    lists.write_text("".join(kept))
    chosen = [row for row in pairs if row.foreground_class != "ClimbStairs"]
    path = tmp_path / "chosen.parquet"
    write_pairs(path, chosen, {"data_set": "data", "seed": 1, "settings": {"min_gamma": 0.005}})
    words = ["export", str(data), "--pairs", str(path), "--out", str(tmp_path / "out")]
    layers = ["--layers", str(place / "chosen" / "layers")]
    assert main([*words, "--config", str(place / "small.yaml"), *layers]) == 0
    assert (tmp_path / "out" / "classes.txt").read_text().split() == list(CLASSES)
    labels = {(row["label"], row["label_index"]) for row in listed(tmp_path / "out")}
    assert labels <= set(zip(CLASSES, range(3), strict=True)) - {("ClimbStairs", 0)}


def test_a_damaged_record_of_the_choice_is_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "out-selection" / "run.yaml"
    record.parent.mkdir()
    record.write_text("settings: [half a")
    words = call(place, tmp_path / "out", "--selector", "nobody/nothing", "--budget", "3")
    for more in ([], ["--dry-run"]):
        assert main([*words, *more]) == 2
        assert f"{record} is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", str(2**32)])
def test_a_seed_that_generators_do_not_take(
    place: Path, tmp_path: Path, seed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(call(place, tmp_path / "out", "--seed", seed)) == 2
    assert f"seed is {seed}; give a whole number from 0 to" in capsys.readouterr().err


def test_placements_follow_from_the_seed_of_the_pairs_unless_another_is_given(
    place: Path, tmp_path: Path
) -> None:
    placements: dict[str, list[str]] = {}
    for seed in ("", "1", "2"):
        out, more = tmp_path / f"out{seed}", ("--seed", seed) if seed else ()
        assert main(call(place, out, "--shift", "0.4", "--budget", "2", *more)) == 0
        rows = listed(out)
        placements[seed] = [row["placement"] for row in rows]
        assert {row["seed"] for row in rows} == {int(seed or 1)}  # the pairs were chosen with 1
    assert placements[""] == placements["1"]
    assert not set(placements["1"]) & set(placements["2"])
    # Another seed in the same folder makes its clips anew.
    words = ["--shift", "0.4", "--budget", "2", "--seed", "2"]
    assert main(call(place, tmp_path / "out", *words)) == 0
    assert [row["placement"] for row in listed(tmp_path / "out")] == placements["2"]


@pytest.mark.parametrize("both", [True, False])
def test_pairs_or_a_selector(
    place: Path, tmp_path: Path, both: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(place / "data"), "--out", str(tmp_path / "out")]
    if both:
        pairs = str(place / "chosen" / "pairs.parquet")
        words += ["--pairs", pairs, "--selector", str(place / "selector-0")]
    assert main(words) == 2
    assert ("not both" in capsys.readouterr().err) == both
    assert not (tmp_path / "out").exists()


def test_the_example_trains_on_an_exported_folder(place: Path, tmp_path: Path) -> None:
    """With composites beside the real clips, and without: the user's two runs."""
    out, data = tmp_path / "out", place / "data"
    assert main(call(place, out, "--include-real", "link")) == 0
    script = Path(__file__).parents[1] / "examples" / "train_torchvision.py"
    words = [
        sys.executable, str(script), str(out), "--videos", str(data / "videos"),
        "--test", str(data / "splits" / "testlist01.txt"), "--steps", "2", "--size", "16",
        "--frames", "4",
    ]  # fmt: skip
    for composites in ("2", "0"):
        command = [*words, "--composites", composites]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        top1 = re.fullmatch(r"top-1 (\d\.\d{4}) on 6 clips\n", done.stdout)
        assert top1 and float(top1[1]) * 6 == pytest.approx(round(float(top1[1]) * 6), abs=1e-3)
    manifest = pq.read_table(out / "manifest.parquet")
    pq.write_table(manifest.slice(0, 6), out / "manifest.parquet")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr == f"{out} holds no real clips; export it with --include-real link\n"
