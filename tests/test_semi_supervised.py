"""The semi-supervised setting from files: stages, rounds, methods, resuming, leaks and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from tiny_data import write_tiny
from tiny_run import train_tiny, write_small

from l2a.cli import main
from l2a.errors import InputError
from l2a.pairs import read_pairs
from train.semi_supervised.checks import refuse_idle
from train.settings.semi import SemiSettings

SEMI: dict[str, Any] = {
    "setting": "semi-supervised", "labelled_share": 0.5, "pseudo_threshold": 0.0, "repeats": 1,
    "compare": False, "probe": 0.0, "methods": "fixmatch tcl", "selector_steps": 3,
    "scene_test": False, "rounds": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("semi")
    write_tiny(folder / "data", train_groups=5)
    return train_tiny(folder, **SEMI, bank=str(folder / "banks"))


def rows_of(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(run / "pseudo_labels.parquet").to_pylist()
    return found


def test_arms_stand_beside_labelled_clips_alone(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(metrics["arms"]) == ["selector", "supervised", "fixmatch", "tcl"]
    steps = {name: arm["cost"]["steps"] for name, arm in metrics["arms"].items()}
    assert len(set(steps.values())) == 1
    assert (
        metrics["arms"]["fixmatch"]["cost"]["clips"]
        > metrics["arms"]["supervised"]["cost"]["clips"]
    )
    assert "labelled clips alone" in (run / "table.txt").read_text()


def test_every_round_labels_every_unlabelled_video_and_no_other(run: Path) -> None:
    rows = rows_of(run)
    rounds = {number: [row for row in rows if row["round"] == number] for number in (1, 2)}
    videos = {row["video"] for row in rounds[1]}
    assert len(rounds[1]) == len(rounds[2]) == len(videos)
    assert {row["video"] for row in rounds[2]} == videos
    lists = (run.parent / "data" / "splits" / "testlist01.txt").read_text().split()
    assert not videos & {f"videos/{line}" for line in lists}
    assert all(row["truth"] in row["video"] for row in rows)


def test_pairs_hold_pseudo_labelled_videos_under_their_pseudo_label(run: Path) -> None:
    given = {row["video"]: row["label"] for row in rows_of(run) if row["round"] == 2}
    pairs, _ = read_pairs(run / "pairs.parquet")
    used = [(pair.foreground, pair.foreground_class) for pair in pairs]
    used += [(pair.background, pair.background_class) for pair in pairs]
    seen = [(video, label) for video, label in used if video in given]
    assert seen
    assert all(given[video] == label for video, label in seen)


def test_the_switch_of_pseudo_labelled_clips_changes_what_is_trained_on(
    run: Path, tmp_path: Path
) -> None:
    config = write_small(
        tmp_path, **(SEMI | {"methods": "none", "rounds": 1, "selection": "none"}),
        train_on_pseudo=False,
    )  # fmt: skip
    words = ["train", str(run.parent / "data"), "--config", str(config)]
    words += ["--bank", str(run.parent / "banks"), "--out"]
    # Without composites and pseudo-labelled clips nothing is left but the labelled ones.
    for switch, same in (("no-train-on-pseudo", True), ("train-on-pseudo", False)):
        assert main([*words, str(tmp_path / switch), f"--{switch}"]) == 0
        stage = tmp_path / switch / "stage_two"
        alone, none = (
            (stage / arm / "classifier.safetensors").read_bytes()
            for arm in ("supervised-0", "none-0")
        )
        assert (alone == none) is same


def test_what_was_finished_is_not_done_again_and_ends_the_same(run: Path, tmp_path: Path) -> None:
    kept = {name: (run / name).read_bytes() for name in ("metrics.json", "pseudo_labels.parquet")}
    for name in ("stage_two/selector-0", "rounds/2"):
        for path in sorted((run / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    labeller = (run / "stage_two/supervised-0/classifier.safetensors").stat().st_mtime_ns
    config = run.parent / "small.yaml"
    words = ["train", str(run.parent / "data"), "--config", str(config), "--out", str(run)]
    assert main(words) == 0
    assert (run / "stage_two/supervised-0/classifier.safetensors").stat().st_mtime_ns == labeller
    assert (run / "pseudo_labels.parquet").read_bytes() == kept["pseudo_labels.parquet"]
    before, after = json.loads(kept["metrics.json"]), json.loads((run / "metrics.json").read_text())
    for arms in (before["arms"], after["arms"]):
        for arm in arms.values():
            arm.pop("cost")
    assert before == after


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labelled_share": None}, "All training videos"),
        ({"pseudo_threshold": 1.0}, "the surest of"),
        ({"methods": "fixmach"}, "no method 'fixmach'"),
        ({"freeze_trunk": True, "methods": "s4l"}, "teaches the trunk"),
        ({"freeze_trunk": True, "methods": "none", "teacher": "efficientnet_lite0"}, "The teacher"),
        ({"teacher": "resnet_18"}, "resnet18"),
        ({"pseudo_threshold": 2}, "pseudo_threshold"),
    ],
)
def test_mistakes_are_a_sentence(
    run: Path, tmp_path: Path, changes: dict[str, Any], said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    config = write_small(tmp_path, **(SEMI | {"methods": "none", "epochs": 1} | changes))
    data, out = run.parent / "data", tmp_path / "out"
    words = ["train", str(data), "--config", str(config), "--out", str(out)]
    words += ["--layers", str(run / "layers"), "--bank", str(run.parent / "banks")]
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_unlabelled_videos_of_which_none_can_be_read_are_said_after_preparing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "half.mp4").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    given = {"labelled_share": None, "unlabelled": str(tmp_path / "more"), "unlabelled_set": "rest"}
    config = write_small(tmp_path, **(SEMI | {"methods": "none", "epochs": 1} | given))
    words = ["train", str(run.parent / "data"), "--config", str(config)]
    words += ["--layers", str(run / "layers"), "--bank", str(run.parent / "banks")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "No unlabelled video of" in said and "half.mp4" in said
    assert not (tmp_path / "out" / "stage_two").exists()


def test_settings_without_use_are_refused_but_in_a_run_of_before(
    tmp_path: Path,
) -> None:
    with pytest.raises(
        InputError, match="rounds is set, which --setting full has no use for; give"
    ):
        refuse_idle(SemiSettings(rounds=2), tmp_path)
    refuse_idle(SemiSettings(rounds=2, setting="semi-supervised"), tmp_path)
    refuse_idle(SemiSettings(methods="none"), tmp_path)
    (tmp_path / "run.yaml").touch()
    refuse_idle(SemiSettings(rounds=2), tmp_path)


def test_tcl_s_preset_has_the_disjoint_lists_of_its_code() -> None:
    preset = Path(__file__).parents[1] / "configs" / "methods" / "tcl.yaml"
    assert yaml.safe_load(preset.read_text())["data"]["unlabelled_set"] == "rest"
