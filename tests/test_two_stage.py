"""`l2a train` from files to accuracy on tiny videos: results, promises, resuming."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tiny_data import CLASSES, write_tiny
from tiny_run import write_small

from l2a.cli import main
from l2a.pairs import read_pairs
from selector.checkpoint import load_selector


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    return write_small(folder, epochs=2, hidden=[32, 16], repeats=1, probe=0.0, export=True)


@pytest.fixture(scope="module")
def run(data: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", str(data), "--config", str(config), "--out", str(out)]) == 0
    return out


def result(run: Path) -> tuple[bytes, ...]:
    """What must be equal in two runs: every number and every byte that came out."""
    clips = sorted((run / "export" / "videos").iterdir())
    return (
        (run / "metrics.json").read_bytes(),
        (run / "selector" / "selector.safetensors").read_bytes(),
        (run / "classifier.safetensors").read_bytes(),
        *(clip.name.encode() + clip.read_bytes() for clip in clips),
    )


def test_the_run_holds_what_the_design_promises(run: Path) -> None:
    for name in (
        "run.yaml", "stages.json", "contact_sheet.png", "matches.png", "matches.json",
        "composites.png", "confusion.png", "pairs.parquet", "classifier.safetensors",
        "metrics.json", "table.txt", "selector/selector.json", "export/metadata.parquet",
    ):  # fmt: skip
        assert (run / name).is_file(), name
    assert list((run / "stage_one" / "tensorboard").iterdir())


def test_the_budget_is_exact_and_every_arm_has_its_accuracy(run: Path) -> None:
    pairs, meta = read_pairs(run / "pairs.parquet")
    assert len(pairs) == len({(p.foreground, p.background) for p in pairs}) == 5 == meta["budget"]
    assert [p.omega for p in pairs] == sorted((p.omega for p in pairs), reverse=True)
    assert min(p.omega for p in pairs) == pytest.approx(meta["threshold"])
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["arms"]) == {"selector", "none", "random"}
    assert metrics["test_clips"] == 6


def test_composites_come_from_training_videos_alone(run: Path, data: Path) -> None:
    """Neither test videos, nor the groups that validation was carved from."""
    train = {
        line.split()[0] for line in (data / "splits" / "trainlist01.txt").read_text().splitlines()
    }
    prepared = [
        json.loads(path.read_text())["id"] for path in (run / "layers" / "records").iterdir()
    ]
    assert {id_.removeprefix("videos/") for id_ in prepared} < train
    val = train - {id_.removeprefix("videos/") for id_ in prepared}
    assert val
    assert not {v[:-8] for v in val} & {id_.removeprefix("videos/")[:-8] for id_ in prepared}
    pairs, _ = read_pairs(run / "pairs.parquet")
    assert {p.foreground for p in pairs} | {p.background for p in pairs} <= set(prepared)


def test_any_classes_meet_and_no_video_is_pasted_on_itself(run: Path) -> None:
    pairs, _ = read_pairs(run / "pairs.parquet")
    assert all(p.foreground != p.background for p in pairs)
    assert {p.foreground_class == p.background_class for p in pairs} == {True, False}


def test_the_selectors_card_says_what_it_was_made_with(run: Path) -> None:
    card = load_selector(run / "selector").card
    assert card.trunk == "tiny3d"
    assert card.classes == tuple(sorted(CLASSES))
    assert (card.num_frames, card.height, card.width, card.crop) == (4, 32, 40, 32)
    assert card.reward == "credit"


def test_the_same_seed_gives_the_same_bytes(
    data: Path, config: Path, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    assert (
        main(["train", str(data), "--config", str(config), "--out", str(out), "--workers", "2"])
        == 0
    )
    assert result(out) == result(run)


def test_the_same_command_again_does_nothing_twice(
    data: Path, config: Path, run: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Neither a training, nor features, nor the choice."""

    def never(*given: object, **named: object) -> None:
        raise AssertionError("it is done already")

    for name in ("choosing.select_drawn", "selecting.run_stage_one", "stage_two.Trainer",
                 "stage_one.Trainer", "frozen.features.FeatureBank.of"):  # fmt: skip
        monkeypatch.setattr(f"train.{name}", never)
    before, pairs = result(run), (run / "pairs.parquet").stat().st_mtime_ns
    assert main(["train", str(data), "--config", str(config), "--out", str(run)]) == 0
    assert result(run) == before
    assert (run / "pairs.parquet").stat().st_mtime_ns == pairs
    assert "was chosen before from these videos" in capsys.readouterr().err


def test_a_finished_selector_chooses_again_without_being_trained_again(
    data: Path, config: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between stage one and the choice."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "pairs.parquet").unlink()
    monkeypatch.setattr("train.stage_one.warm_up", None)
    monkeypatch.setattr("train.frozen.features.FeatureBank.of", None)  # all are there
    assert main(["train", str(data), "--config", str(config), "--out", str(copy)]) == 0
    assert read_pairs(copy / "pairs.parquet")[0] == read_pairs(run / "pairs.parquet")[0]


def test_killed_at_any_time_it_ends_with_the_same_result(
    data: Path, config: Path, run: Path, tmp_path: Path
) -> None:
    """SIGKILL after ever longer times, the same command again each time, until it gets through."""
    out = tmp_path / "killed"
    words = ["train", str(data), "--config", str(config), "--out", str(out)]
    command = [sys.executable, "-c", "import sys, l2a.cli; sys.exit(l2a.cli.main())", *words]
    kills = 0
    for seconds in (3.0, 4.0, 5.0, 6.0, 7.0, 9.0, 12.0, 600.0):
        with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL) as process:  # fmt: skip
            deadline = time.monotonic() + seconds
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                continue
        assert process.returncode == 0
        break
    assert kills >= 1
    assert result(out) == result(run)


def test_going_on_with_other_settings_is_refused(
    data: Path, config: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(data), "--config", str(config), "--out", str(run), "--lr", "0.02"]
    assert main(words) == 2
    assert "lr=0.01 and not 0.02" in capsys.readouterr().err


def test_a_selector_is_used_again_on_other_classes(config: Path, run: Path, tmp_path: Path) -> None:
    other = write_tiny(tmp_path / "other", ("Bowling", "PlayingGuitar"), train_groups=3)
    base = ["--config", str(config), "--selector", str(run / "selector"), "--budget", "3"]
    assert main(["select", str(other), *base, "--out", str(tmp_path / "chosen")]) == 0
    pairs, _ = read_pairs(tmp_path / "chosen" / "pairs.parquet")
    assert len(pairs) == 3
    words = ["train", str(other), *base, "--no-compare", "--out", str(tmp_path / "second")]
    assert main(words) == 0
    assert not (tmp_path / "second" / "stage_one").exists()


def test_no_video_and_no_match_takes_more_than_its_share(
    data: Path, config: Path, run: Path, tmp_path: Path
) -> None:
    words = ["select", str(data), "--config", str(config), "--selector", str(run / "selector")]
    assert main([*words, "--budget", "12", "--out", str(tmp_path / "chosen")]) == 0
    pairs, _ = read_pairs(tmp_path / "chosen" / "pairs.parquet")
    # 18 fit videos, three matches: two even shares are 1.3, one and a half are 6.
    assert max(Counter(p.foreground for p in pairs).values()) <= 2
    assert max(Counter(p.background for p in pairs).values()) <= 2
    assert max(Counter(p.foreground_class for p in pairs).values()) <= 6


@pytest.mark.parametrize("chosen", ["by a Selector", "at random"])
def test_one_recording_stands_in_front_of_another_once(
    chosen: str, data: Path, config: Path, run: Path, tmp_path: Path
) -> None:
    """Two clips of each of nine recordings are left for training: 27 pairs of recordings."""
    words = [str(data), "--config", str(config), "--layers", str(run / "layers"), "--budget", "20"]
    words += ["--foreground-cap", "0", "--background-cap", "0", "--class-cap", "0"]
    if chosen == "at random":
        words = ["train", *words, "--selection", "random", "--no-compare", "--no-export"]
    else:
        words = ["select", *words, "--selector", str(run / "selector")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    pairs, _ = read_pairs(tmp_path / "out" / "pairs.parquet")
    shots = {(p.foreground.rpartition("_c")[0], p.background.rpartition("_c")[0]) for p in pairs}
    assert len(shots) == len(pairs) == 20


def test_a_balanced_choice_is_even_and_says_how_it_was_made(
    data: Path, config: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["select", str(data), "--config", str(config), "--selector", str(run / "selector")]
    words += ["--layers", str(run / "layers"), "--scoring", "bfloat16", "--out", str(tmp_path)]
    assert main([*words, "--budget", "12", "--balance", "equal"]) == 0
    pairs, meta = read_pairs(tmp_path / "pairs.parquet")
    assert sorted(Counter(p.foreground_class for p in pairs).values()) == [4, 4, 4]
    assert (meta["balance"], meta["scoring"]) == ("equal", "bfloat16")
    assert meta["caps"]["foreground"] == 2 * 2 ** meta["caps_doubled"]
    assert f"selected 12 of {meta['considered']} pairs, ω ≥ " in capsys.readouterr().err


def test_evaluating_again_gives_the_same_accuracy(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(data), "--classifier", str(run / "classifier.safetensors")]
    assert main([*words, "--out", str(tmp_path / "eval"), "--workers", "1"]) == 0
    again = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    first = json.loads((run / "metrics.json").read_text())["arms"]["selector"]["repeats"][0]
    assert again["confusion"] == first["confusion"]
    assert len((tmp_path / "eval" / "predictions.csv").read_text().splitlines()) == 7
    assert "clips: 6/6 videos" in capsys.readouterr().err  # those of the test split alone


def test_a_batch_without_real_clips_is_refused_before_any_work(
    data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(data), "--config", str(config), "--out", str(tmp_path / "out")]
    more = ["--replace-real", "--batch-size", "2", "--composites-per-batch", "2"]
    assert main([*words, *more]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "composites_per_batch is 2 and takes the whole batch" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_split_of_which_no_video_can_be_read_is_refused(
    command: str, data: Path, config: Path, run: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    tested = (broken / "splits" / "testlist01.txt").read_text().splitlines()
    for line in (*tested, "JumpRope/v_JumpRope_g01_c01.mp4"):  # the last is for training
        (broken / "videos" / line).write_bytes(b"")
    trained = str(run / "classifier.safetensors")
    ways = {
        "train": ["--config", str(config)],
        "evaluate": ["--classifier", trained, "--workers", "1"],
    }
    assert main([command, str(broken), *ways[command], "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"l2a: No test video of {broken} could be read, such as ")
    assert any(f"{line} (" in message for line in tested)
    assert message.endswith(f"; `l2a check {broken}` lists them all.")


def test_an_export_of_its_own_equals_the_runs(data: Path, run: Path, tmp_path: Path) -> None:
    words = ["export", str(data), "--pairs", str(run / "pairs.parquet"), "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "export")]) == 0
    ours = {p.name: p.read_bytes() for p in (tmp_path / "export" / "videos").iterdir()}
    theirs = {p.name: p.read_bytes() for p in (run / "export" / "videos").iterdir()}
    assert ours == theirs


def test_broken_videos_are_skipped_counted_and_listed(
    data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    train = broken / "videos" / "JumpRope"
    (train / "v_JumpRope_g01_c01.mp4").write_bytes(b"")
    truncated = train / "v_JumpRope_g02_c01.mp4"
    truncated.write_bytes(truncated.read_bytes()[:700])
    test = broken / "videos" / "WaveHand" / "v_WaveHand_g05_c01.mp4"
    test.write_bytes(b"")
    words = ["train", str(broken), "--config", str(config), "--out", str(tmp_path / "run")]
    assert main([*words, "--no-compare", "--no-export"]) == 0
    listed = (tmp_path / "run" / "skipped.csv").read_text()
    for name in ("v_JumpRope_g01_c01", "v_JumpRope_g02_c01", "v_WaveHand_g05_c01"):
        assert listed.count(name) == 1
    assert "3 videos skipped" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test_clips"] == 5
