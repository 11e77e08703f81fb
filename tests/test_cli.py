"""The command line: one sentence and exit code 2 for what is wrong, help for what can be set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_data import CLASSES, write_tiny

from l2a.cli import COMMANDS, main
from l2a.pairs import ScoredPair, write_pairs
from selector.card import SelectorCard
from selector.checkpoint import save_selector
from selector.network import SelectorConfig, new_selector
from train.settings.full import FullSettings
from train.transfer import Reuse
from train.two_stage import Summary

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted([*(ROOT / "configs").rglob("*.yaml"), *(ROOT / "l2a").rglob("*.yaml")])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "data", train_groups=3)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence that a command line is refused with."""
    assert main(words) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("l2a: ")
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_names_every_setting_with_its_meaning(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for group in COMMANDS[name].groups:
        assert group.__doc__
        assert group.__doc__.splitlines()[0].split(" (")[0].rstrip(".") in shown


@pytest.mark.parametrize(
    ("metavar", "default"), [("RECORDING_CAP", "1"), ("REPEATS", "1"), ("SHIFT", "0.0")]
)
def test_help_says_every_default_even_zero_and_one(
    metavar: str, default: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    text = shown.rpartition(f" {metavar} ")[2].partition(" --")[0]
    assert f"default: {default})" in text


def test_every_setting_is_documented_and_unique() -> None:
    import dataclasses

    import docstring_parser

    for command in COMMANDS.values():
        names = [f.name for group in command.groups for f in dataclasses.fields(group)]
        assert len(names) == len(set(names))
        for group in command.groups:
            described = {
                p.arg_name
                for p in docstring_parser.parse_from_object(group).params
                if p.description
            }
            assert described == {f.name for f in dataclasses.fields(group)}, group


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_is_understood(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything up to the data set is fine: that is what is missing."""
    words = [
        "train",
        str(tmp_path / "nowhere"),
        "--out",
        str(tmp_path / "o"),
        "--config",
        str(path),
    ]
    assert "nowhere" in refused(words, capsys)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "no command 'trian'"),
        (["train"], "`l2a train` needs DATA and --out"),
        (["train", "DATA", "--out", "OUT", "--lr", "fast"], "is 'fast', but must be a finite num"),
        (["train", "DATA", "--out", "OUT", "--lr", "nan"], "--lr is 'nan', but must be a finite"),
        (["train", "DATA", "--out", "OUT", "--budget", "x"], "is 'x', but must be a whole number;"),
        (["train", "DATA", "--out", "OUT", "--hidden", "x"], "'x', but must be a list such as"),
        (
            ["train", "DATA", "--out", "OUT", "--flip=perhaps"],
            "flip is 'perhaps', but must be true",
        ),
        (["train", "DATA", "--out", "OUT", "--engine", "x"], "must be one of local, ray;"),
        (["train", "DATA", "--out", "OUT", "--label-rule", "x"], "--label-rule is 'x'"),
        (["train", "DATA", "--out", "OUT", "--lerning-rate", "1"], "--lerning-rate"),
        (["train", "DATA", "--out", "OUT", "--bugdet", "1"], "perhaps --budget is meant"),
        (["train", "DATA", "--out", "OUT", "--crop", "300"], "300"),
        (["train", "DATA", "--out", "OUT", "--seed=-1"], "seed is -1; give a whole number"),
        (["train", "DATA", "--out", "OUT", "--momentum=1"], "momentum is 1.0; give 0 or more"),
        (["train", "DATA", "--out", "OUT", "--weight-decay=-1"], "weight_decay is -1.0; give 0 or"),
        (["train", "DATA", "--out", "OUT", "--warmup-epochs=-1"], "warmup_epochs is -1; give 0"),
        (["train", "DATA", "--out", "OUT", "--environment-lr=0"], "environment_lr is 0.0; it must"),
        (["train", "DATA", "--out", "OUT", "--network", "r3d"], "no network 'r3d'"),
        (["train", "DATA", "--out", "OUT", "--weights", "gone.pth"], "gone.pth"),
        (
            ["train", "DATA", "--out", "OUT", "--trunk", "mc3_18", "--trunk-weights", "x.pth"],
            "x.pth",
        ),
        (["train", "DATA", "--out", "OUT", "--segmenter", "yolo"], "no segmenter 'yolo'"),
        (["train", "DATA", "--out", "OUT", "--inpainter", "x"], "no inpainter 'x'"),
        (["train", "DATA", "--out", "OUT", "--embedder", "x"], "no embedder 'x'"),
        (["train", "DATA", "--out", "OUT", "--format", "x"], "'x'"),
        (["train", "DATA", "--out", "OUT", "--split", "7"], "7"),
        (["train", "DATA", "--out", "OUT", "--selector", "gone"], "gone"),
        (["train", "DATA", "--out", "OUT", "--config", "gone.yaml"], "gone.yaml"),
        (["train", "DATA", "--out", "OUT", "--segmenter", "masks:gone"], "gone"),
        (["export", "DATA", "--out", "OUT", "--pairs", "gone.parquet"], "gone.parquet"),
        (["export", "DATA", "--out", "OUT"], "`l2a export` needs --pairs"),
        (["preview", "DATA", "--out", "OUT"], "`l2a preview` needs --pairs"),
        (["preview", "DATA", "--out", "OUT", "--pairs=gone.parquet"], "gone.parquet"),
        (["prepare", "DATA", "--out", "OUT", "--preview", "--segmenter", "x"], "segmenter 'x'"),
        (["evaluate", "DATA", "--out", "OUT", "--classifier", "gone"], "gone"),
        (
            ["evaluate", "DATA", "--out", "OUT", "--classifier", "x", "--subset", "tset"],
            "--subset is 'tset', but must be one of test, val, train",
        ),
        (["train", "DATA", "--out", "OUT", "--layers", "DATA"], "the data set itself"),
        (["train", "DATA", "--out", "DATA"], "the data set itself"),
        (["train", "DATA", "--out", "OUT", "--methods", "tcl"], "give --setting semi-supervised"),
        (["train", "DATA", "--out", "OUT", "--rounds", "3"], "rounds is set, which --setting full"),
        (
            ["train", "DATA", "--out", "OUT", "--compare", "yes"],
            "follows --compare, which takes no value; write --compare or --no-compare;",
        ),
        (
            ["train", "DATA", "--out", "OUT", "--hidden", "256,", "128"],
            "--hidden is '256, 128', but must be a list such as 256,128;",
        ),
        (["match", "DATA", "--map", "m.jpg"], "m.jpg; name a file that ends with .png or .pdf."),
        (["match", "DATA", "--map", "DATA"], "is a folder; name a file in it."),
        (["check", "DATA", "--json", "DATA"], "is a folder; name a file in it."),
        (["report", "OUT", "--out", "DATA"], "is a folder; name a file in it."),
        (["few-shot", "DATA"], "is followed by one of train, evaluate, and not by"),
        (["evaluate", "DATA", "--out", "OUT", "--classifier", "DATA"], "is not a file; check the"),
        (["train", "DATA", "--out", "OUT", "--embedder", "sent2vec:gone"], "check the path."),
        (["train", "gone", "--out", "OUT"], "gone"),
        (["match", "gone"], "gone"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(
    words: list[str], sentence: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"DATA": str(data), "OUT": str(tmp_path / "out")}
    assert sentence in refused([places.get(word, word) for word in words], capsys)
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_a_folder_and_a_setting_twice_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "settings.yaml"
    place.write_text("epochs: 3\nlr: 0.1\nepochs: 4\n")
    words = ["train", str(data), "--out", str(place)]
    assert f"{place} is a file; give --out" in refused(words, capsys)
    words = ["train", str(data), "--out", str(tmp_path / "out"), "--config", str(place)]
    assert f"{place} sets epochs twice; keep one" in refused(words, capsys)
    assert not (tmp_path / "out").exists()
    assert place.read_text().count("epochs") == 2


def test_a_failed_write_names_the_file_that_was_asked_for(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map.tsv").mkdir()
    assert main(["match", str(data), "--map", str(tmp_path / "map.png")]) == 1
    message = capsys.readouterr().err
    assert (
        message
        == f"l2a: Is a directory ({tmp_path}/map.tsv); check the disk and the permissions.\n"
    )


def test_a_command_that_runs_out_of_memory_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_memory(words: list[str]) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has")

    monkeypatch.setattr("l2a.cli._run", no_memory)
    assert main(["train"]) == 1
    said = capsys.readouterr().err
    assert "Out of memory: CUDA out of memory. Tried to allocate 2 GiB; fewer" in said
    assert "a smaller --micro-batch or --batch-size" in said


def test_several_mistakes_are_said_together(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(["train", str(data), "--out", str(tmp_path / "o"), "--alpha", "-1",
                       "--selector-steps", "0", "--epochs", "0"], capsys)  # fmt: skip
    assert all(name in message.lower() for name in ("alpha", "selector_steps", "epochs"))


def test_an_empty_folder_and_a_single_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(
        ["train", str(tmp_path / "empty"), "--out", str(tmp_path / "o")], capsys
    )
    one = write_tiny(tmp_path / "one", ("JumpRope",), train_groups=2)
    assert "JumpRope" in refused(["train", str(one), "--out", str(tmp_path / "o")], capsys)
    assert not (tmp_path / "o").exists()


def test_a_class_without_a_mask_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    size = {"height": 48, "width": 64, "length": 12}
    rows = [{"id": n, "file_name": f"v_JumpRope_g0{n}_c01", **size} for n in range(1, 5)]
    (masks / "JumpRope.json").write_text(json.dumps({"videos": rows, "annotations": []}))
    words = ["prepare", str(data), "--out", str(tmp_path / "o"), "--segmenter", f"masks:{masks}"]
    said = refused(words, capsys)
    assert "has no masks for the class ClimbStairs" in said
    assert "such as v_JumpRope_g01_c01, where videos/ClimbStairs/v_ClimbStairs_g0" in said


def test_a_budget_larger_than_the_pool(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(data), "--out", str(tmp_path / "o"), "--budget", "100000",
             "--network", "tiny3d", "--min-gamma", "0.005", "--workers", "1"]  # fmt: skip
    message = refused(words, capsys)
    assert "100000" in message
    assert "pool" in message
    # The folder is not spoilt by it: another mistake is answered as if it were the first.
    assert "200000" in refused([*words, "--budget", "200000", "--height", "120"], capsys)
    # The clips of the other height are still there: another run may read them.
    assert len(list((tmp_path / "o" / "bank").iterdir())) == 2


def test_a_selector_of_another_embedder_or_geometry(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from l2a.networks import build_trunk

    config = SelectorConfig(feature_dim=128, label_dim=7, hidden=(8,))
    trunk = build_trunk("tiny3d")
    card = SelectorCard(
        config, "tiny3d", "random", False, "sent2vec@0123", num_frames=4, height=32, width=40,
        crop=32, classes=("a", "b"), reward="credit", steps=1, seed=0,
    )  # fmt: skip
    save_selector(tmp_path / "selector", new_selector(config, 0), trunk, card)
    words = ["select", str(data), "--selector", str(tmp_path / "selector"), "--workers", "1",
             "--min-gamma", "0.005"]  # fmt: skip
    assert "num_frames 4 and not 8" in refused([*words, "--out", str(tmp_path / "a")], capsys)
    words += ["--num-frames", "4", "--height", "32", "--width", "40", "--crop", "32"]
    message = refused([*words, "--out", str(tmp_path / "b"), "--budget", "2"], capsys)
    assert "sent2vec@0123" in message
    assert "static@" in message


def test_a_config_with_an_unknown_name_suggests_the_right_one(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"epoch": 3}))
    words = ["train", str(data), "--out", str(tmp_path / "o"), "--config", str(path)]
    assert "perhaps 'epochs' is meant" in refused(words, capsys)


def test_yaml_is_read_by_a_safe_loader(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"epochs: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    words = ["train", str(data), "--out", str(tmp_path / "o"), "--config", str(path)]
    assert "not a readable YAML file" in refused(words, capsys)
    assert not (tmp_path / "made").exists()


def test_the_command_line_overrides_the_config(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"dilate": 0.1, "humans_only": True, "epochs": 7}))
    words = ["prepare", str(data), "--out", str(tmp_path / "o"), "--config", str(path),
             "--dilate", "0.03", "--workers", "1"]  # fmt: skip
    assert main(words) == 0
    settings = yaml.safe_load((tmp_path / "o" / "run.yaml").read_text())["settings"]
    assert (settings["dilate"], settings["humans_only"]) == (0.03, True)


def test_a_named_store_that_is_new_is_said_with_what_it_costs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = tmp_path / "layres"
    words = ["prepare", str(data), "--out", str(tmp_path / "o"), "--workers", "1",
             "--layers", str(layers)]  # fmt: skip
    assert main(words) == 0
    shown = capsys.readouterr().err
    assert f"{layers} holds no layers yet, so all will be made there; if there should" in shown
    assert f"layers: 12 of 12 videos to make in {layers}, segmenter motion, inpainter" in shown
    assert main(words) == 0
    shown = capsys.readouterr().err
    assert "holds no layers yet" not in shown
    assert "videos to make" not in shown


def test_a_prepared_folder_lists_what_is_unfit_and_draws_it_with_its_reason(
    data: Path, tmp_path: Path
) -> None:
    """Where no video of a class is fit, an unfit one stands for it on the sheet."""
    import numpy as np
    from PIL import Image

    from compositing.pictures import WARNING

    words = ["prepare", str(data), "--out", str(tmp_path / "o"), "--workers", "1"]
    assert main([*words, "--min-gamma", "0.6"]) == 0
    listed = (tmp_path / "o" / "unfit.csv").read_text().splitlines()
    assert listed[0] == "video,side,reason"
    assert any("foreground,mask too small" in line for line in listed)
    sheet = np.asarray(Image.open(tmp_path / "o" / "contact_sheet.png"))
    assert sheet.shape[0] == 28 + len(CLASSES) * (108 + 22 + 16)
    assert (sheet == WARNING).all(axis=2).any()
    # With other limits the same folder has nothing to complain of.
    assert main([*words, "--min-gamma", "0.005", "--max-unseen", "1"]) == 0
    assert not (tmp_path / "o" / "unfit.csv").exists()
    sheet = np.asarray(Image.open(tmp_path / "o" / "contact_sheet.png"))
    assert sheet.shape[0] == 28 + len(CLASSES) * (108 + 22)
    assert not (sheet == WARNING).all(axis=2).any()


def test_match_prints_and_draws_the_classes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["match", str(data), "--matches", "2", "--map", str(tmp_path / "map.png")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:7]]
    assert {(row[0], row[1]) for row in rows} == {
        (a, b) for a in CLASSES for b in CLASSES if a != b
    }
    assert all(-1 <= float(row[2]) <= 1 for row in rows)
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_check_lists_what_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_tiny(tmp_path / "data", train_groups=2)
    (data / "videos" / "JumpRope" / "v_JumpRope_g01_c02.mp4").write_bytes(b"")
    assert main(["check", str(data)]) == 0
    shown = capsys.readouterr().out
    assert "v_JumpRope_g01_c02.mp4" in shown
    assert "v_JumpRope_g01_c01.mp4" not in shown


def test_the_demo_is_a_training_on_generated_videos_and_one_seed_decides_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    from train.commands import demo
    from train.commands import train as command

    def train(data: Path, out: Path, settings: FullSettings, reuse: Reuse | None) -> Summary:
        seen.update(data=data, out=out, settings=settings)
        return Summary((), "the table", out)

    monkeypatch.setattr(demo, "generate_demo", lambda folder, **made: seen.update(made))
    monkeypatch.setattr(command, "train", train)
    assert main(["demo", "--out", str(tmp_path), "--demo-seed", "5"]) == 0
    assert seen["seed"] == seen["settings"].run.seed == 5
    assert (seen["data"], seen["out"]) == (tmp_path / "data", tmp_path / "run")
    assert seen["settings"].stage_two.compare
    assert seen["settings"].classifier.network == "tiny3d"


@pytest.mark.parametrize(
    "words",
    [
        "train",
        "ablate",
        "prepare",
        "advise --network tiny3d --weights null",
        "preview --augment videomix",
        "preview --pairs PAIRS",
        "export --pairs PAIRS",
        "export --pairs PAIRS --dry-run",
        "export --selector unread --dry-run",
    ],
)
@pytest.mark.parametrize("option", ["--out", "--layers", "--bank"])
def test_no_command_writes_among_the_files_of_the_data_set(
    words: str, option: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (f"videos/JumpRope/v_JumpRope_g01_c0{n}.mp4" for n in (1, 2))
    pairs = [ScoredPair(first, second, 0.5, 0.5, "JumpRope", "JumpRope")]
    write_pairs(tmp_path / "pairs.parquet", pairs, {})
    command = words.replace("PAIRS", str(tmp_path / "pairs.parquet")).split()
    command.insert(1, str(data))
    if option != "--out":
        command += ["--out", str(tmp_path / "out")]
    folder = data / "videos" if option == "--bank" else data
    before = sorted(data.rglob("*"))
    assert "the data set" in refused([*command, option, str(folder)], capsys)
    assert sorted(data.rglob("*")) == before
