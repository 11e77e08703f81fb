"""A Selector on other data sets: as it is, trained further, exported with, and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_data import CLASSES, write_tiny

from l2a.cli import main
from l2a.errors import InputError
from l2a.networks import build_trunk
from l2a.pairs import read_pairs, read_spares
from selector.card import SelectorCard
from selector.checkpoint import load_selector, save_selector
from selector.network import SelectorConfig, new_selector
from semantic_match.embed import make_embedder
from train.choosing import PairChooser
from train.environment import CompositingEnvironment
from train.report.choice import stage_one
from train.transfer import Reuse, refuse_unused

STATIC = make_embedder("static")
CONFIG = SelectorConfig(128, STATIC.dim, hidden=(16, 8), agreement_scale=8.0, dropout=0.5)
CARD = SelectorCard(
    CONFIG, "tiny3d", "random", False, STATIC.identity, num_frames=4, height=32, width=40, crop=32,
    classes=("ShootBow", "Typing"), reward="credit", steps=10, seed=0,
)  # fmt: skip
SMALL = {
    "num_frames": 4, "height": 32, "width": 40, "crop": 32, "network": "tiny3d", "epochs": 1,
    "warmup_epochs": 1, "selector_steps": 6, "selector_batch": 8, "selector_lr": 1e-4,
    "checkpoint_every": 2, "validation_clips": 4, "budget": 3, "min_gamma": 0.005, "workers": 1,
    "lr": 0.01,
}  # fmt: skip


def store(folder: Path, card: SelectorCard = CARD, seed: int = 0, trunk: bool = True) -> Path:
    """An untrained Selector; its standardiser is as new."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_trunk("tiny3d")
    save_selector(folder, new_selector(card.config, seed), network if trunk else None, card)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Selector, two data sets with other classes than its own, their layers, settings."""
    root = tmp_path_factory.mktemp("reuse")
    store(root / "selector")
    (root / "small.yaml").write_text(yaml.safe_dump(SMALL))
    for name, classes in (("three", CLASSES), ("four", (*CLASSES, "Bowling"))):
        write_tiny(root / name, classes, train_groups=3)
        words = ["prepare", str(root / name), "--config", str(root / "small.yaml")]
        assert main([*words, "--out", str(root / f"{name}-look")]) == 0
    return root


def words(place: Path, command: str, out: Path, *more: str, data: str = "four") -> list[str]:
    return [
        command, str(place / data), "--out", str(out), "--config", str(place / "small.yaml"),
        "--layers", str(place / f"{data}-look" / "layers"), *more,
    ]  # fmt: skip


def settings_of(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "run.yaml").read_text())["settings"]


def test_choosing_and_exporting_in_one_call_and_never_twice(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four classes where the Selector knew two others."""
    out = tmp_path / "augmented"
    call = words(place, "export", out, "--selector", str(place / "selector"))
    assert main(call) == 0
    assert "3 clips made" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        "README.md", "classes.txt", "manifest.parquet", "metadata.parquet", "videos", ".export",
    }  # fmt: skip
    beside = tmp_path / "augmented-selection"
    pairs, meta = read_pairs(beside / "pairs.parquet")
    assert len(pairs) == 3 and meta["selection"] == "selector"
    spares = read_spares(beside / "pairs.parquet")
    assert len(spares) == 10 and not set(spares) & set(pairs)
    assert spares[0].logit >= spares[-1].logit
    assert (beside / "composites.png").is_file() and (beside / "matches.png").is_file()
    assert settings_of(beside)["selector"] == str(place / "selector")
    assert settings_of(beside)["hidden"] == [16, 8]

    def never(*args: object) -> None:
        raise AssertionError("chosen twice")

    monkeypatch.setattr("train.choosing.PairChooser.best", never)
    assert main(call) == 0
    assert "0 clips made, 3 reused" in capsys.readouterr().out
    # Another encoding of the same pairs is another export, and no other choice.
    (out / ".export" / "settings.json").unlink()
    for clip in (out / "videos").iterdir():
        clip.unlink()
    assert main([*call, "--crf", "30"]) == 0
    assert "3 clips made" in capsys.readouterr().out


def test_a_selector_trained_further_is_saved_and_chooses(place: Path, tmp_path: Path) -> None:
    call = words(place, "select", tmp_path / "run", "--selector", str(place / "selector"))
    assert main([*call, "--finetune-selector"]) == 0
    before, after = load_selector(place / "selector"), load_selector(tmp_path / "run" / "selector")
    assert after.card.config == CONFIG
    assert after.card.finetuned_from == CARD.classes
    assert after.card.classes == tuple(sorted((*CLASSES, "Bowling")))
    assert after.card.steps == 10 + 6
    assert not torch.equal(before.selector.first.weight, after.selector.first.weight)
    # It begins where the other stopped: six steps at 1e-4 are no way from there.
    moved = (before.selector.first.weight - after.selector.first.weight).abs().max()
    assert moved < 6 * 1.1e-4
    # The trunk and the standardiser are the ones it came with.
    assert torch.equal(before.selector.feature_scale, after.selector.feature_scale)
    for ours, theirs in zip(before.trunk.parameters(), after.trunk.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    settings = settings_of(tmp_path / "run")
    assert settings["finetune_selector"] is True
    pairs, _ = read_pairs(tmp_path / "run" / "pairs.parquet")
    assert len(pairs) == 3


def test_pairs_of_a_selector_beside_are_said_to_be_its_own(place: Path, tmp_path: Path) -> None:
    """Where no other arm has pairs, the run's are those of the Selector from before."""
    call = words(
        place, "train", tmp_path / "run", "--setting", "semi-supervised", "--labelled-share",
        "0.7", "--pseudo-threshold", "0", "--methods", "none", "--selection", "none",
        "--no-compare", "--pretrained-selector", str(place / "selector"),
    )  # fmt: skip
    assert main(call) == 0
    pairs, meta = read_pairs(tmp_path / "run" / "pairs.parquet")
    assert meta["selection"] == "selector"
    assert len({pair.omega for pair in pairs}) > 1


def test_a_killed_fine_tuning_goes_on_with_the_same_result(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("--selector", str(place / "selector"), "--finetune-selector", "--no-compare")
    whole, killed = (
        words(place, "train", tmp_path / name, *more, data="three") for name in ("whole", "killed")
    )
    assert main(whole) == 0
    steps: list[int] = []

    def counted(*args: Any) -> Any:
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return real(*args)

    real = CompositingEnvironment.step
    with monkeypatch.context() as patch:
        patch.setattr(CompositingEnvironment, "step", counted)
        assert main(killed) == 130
    assert (tmp_path / "killed" / "stage_one" / "selector-state.safetensors").is_file()
    steps.clear()
    monkeypatch.setattr(
        CompositingEnvironment, "step", lambda *args: steps.append(1) or real(*args)
    )
    assert main(killed) == 0
    assert len(steps) == 4  # two were saved
    for name in ("selector/selector.safetensors", "metrics.json", "classifier.safetensors"):
        ours, theirs = (tmp_path / run / name for run in ("whole", "killed"))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_one_hot_is_fine_tuned_on_its_own_classes_and_refused_on_others(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The label mode is the Selector's, whatever the settings say."""
    config = replace(CONFIG, labels="one-hot", label_dim=3)
    card = replace(CARD, config=config, embedder="", classes=tuple(sorted(CLASSES)))
    store(tmp_path / "one-hot", card)
    more = ("--selector", str(tmp_path / "one-hot"), "--finetune-selector")
    assert main(words(place, "select", tmp_path / "four", *more)) == 2
    assert "class 0 was ClimbStairs, here it is Bowling" in capsys.readouterr().err
    assert main(words(place, "select", tmp_path / "three", *more, data="three")) == 0
    assert load_selector(tmp_path / "three" / "selector").card.config == config


def test_the_network_is_the_checkpoints_and_another_one_is_said_to_be_unused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--selector", str(place / "selector"), "--hidden", "[4]", "--trunk", "mc3_18")
    call = words(place, "train", tmp_path / "run", *more, "--no-compare", data="three")
    assert main(call) == 0
    shown = capsys.readouterr().err
    assert "note: hidden (4,) is not used; the Selector" in shown
    assert "has (16, 8)" in shown
    assert "note: trunk mc3_18 is not used" in shown
    assert "agreement_scale" not in shown
    assert settings_of(tmp_path / "run")["hidden"] == [16, 8]
    assert not (tmp_path / "run" / "stage_one").exists()


def test_another_selector_under_the_same_name_is_noticed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a branch on the Hub that moved between two tries."""
    answers = [store(tmp_path / "first"), store(tmp_path / "second", seed=1)]
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **asked: str(answers.pop(0))
    )
    call = words(place, "select", tmp_path / "run", "--selector", "user/name@v1")
    assert main(call) == 0
    assert settings_of(tmp_path / "run")["selector"] == "user/name@v1"
    assert main(call) == 2
    assert "was made with selector_weights=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "card", "sentence"),
    [
        ("train", {"embedder": "sent2vec@0123"}, "trained with the embedder sent2vec@0123"),
        ("export", {"config": replace(CONFIG, label_dim=7)}, "(7 numbers)"),
        ("select", {"num_frames": 8, "width": 48},
         "num_frames 8 and not 4, width 48 and not 40; set --num-frames 8 --width 48."),
        ("train", {"trunk": "none"}, "was stored without its trunk"),
        ("export", {"trunk": "none"}, "was stored without its trunk"),
        ("select", {"format_version": 1}, "has format version 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_written(
    command: str, card: dict[str, Any], sentence: str, place: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    without = card.get("trunk") == "none"
    given = store(tmp_path / "given", CARD if without else replace(CARD, **card), trunk=not without)
    assert main(words(place, command, tmp_path / "out", "--selector", str(given))) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in message
    assert {path.name for path in tmp_path.iterdir()} == {"given"}


@pytest.mark.parametrize(
    ("command", "more", "sentence"),
    [
        ("train", ["--finetune-selector"], "name it with --selector"),
        ("train", ["--selector="], "--selector is empty"),
        ("train", ["--selector", "GIVEN", "--finetune-selector", "--selection", "random"],
         "--selection random uses none"),
        ("train", ["--selector", "GIVEN", "--selection", "random"],
         "selection is random, which uses none; give --selection selector"),
        ("train", ["--selector", "GIVEN", "--selection", "none"],
         "give --selection selector, which goes before what a settings file such as that of l2a "
         "advise says, or leave --selector out."),
        ("train", ["--reward-folds", "99", "--freeze-trunk"],
         "recordings of training and validation to deal into folds; give --reward-folds "),
        ("select", ["--finetune-selector"], "needs --selector"),
        ("export", ["--finetune-selector", "--pairs", "PAIRS"], "name it with --selector"),
        ("export", [], "give one of the two."),
        ("export", ["--selector", "GIVEN", "--pairs", "PAIRS"], "not both."),
        ("export", ["--selector", "no/such/folder"], "neither a folder here"),
        ("select", ["--selector", "GIVEN", "--budget", "0"], "budget is 0"),
        ("select", ["--selector", "GIVEN", "--finetune-selector", "--network", "x"],
         "no network 'x'"),
        *((command, ["--selector", "GIVEN", "--matches", "MATCHES"], "Bowlin")
          for command in ("train", "select", "export")),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_anything_is_written(
    command: str, more: list[str], sentence: str, place: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from l2a.pairs import write_pairs

    (tmp_path / "in").mkdir()
    write_pairs(tmp_path / "in" / "pairs.parquet", [], {"settings": {}})
    (tmp_path / "in" / "matches.yaml").write_text("ClimbStairs: Bowlin\n")
    stand = {
        "GIVEN": place / "selector", "PAIRS": tmp_path / "in" / "pairs.parquet",
        "MATCHES": tmp_path / "in" / "matches.yaml",
    }  # fmt: skip
    more = [str(stand.get(word, word)) for word in more]
    assert main(words(place, command, tmp_path / "out", *more)) == 2
    assert sentence in capsys.readouterr().err.strip().splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_a_run_that_an_earlier_version_began_with_a_selector_for_nothing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("train.transfer.say", said.append)
    with pytest.raises(InputError, match="leave --selector out"):
        refuse_unused(Reuse("S"), "random", tmp_path)
    (tmp_path / "run.yaml").write_text("command: train\n")
    refuse_unused(Reuse("S"), "random", tmp_path)
    assert said == ["note: --selector S is not used: --selection random uses none"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"selection": "random"}, "The Selector S was given, and no arm used it."),
        ({"selection": "selector"}, "The Selector was trained before, in another run: S."),
    ],
)
def test_the_report_says_whether_a_given_selector_was_used(
    settings: dict[str, str], sentence: str
) -> None:
    source = SimpleNamespace(
        settings={"selector": "S"} | settings, command="train", json=lambda *path: None
    )
    assert stage_one(source) == sentence  # type: ignore[arg-type]


def test_a_choice_that_drops_all_pairs_says_how_to_go_on(tmp_path: Path) -> None:
    prepared = SimpleNamespace(again="another --out and --layers L --bank B")
    matching = SimpleNamespace(without=lambda dropped, prepared: SimpleNamespace(pool=()))
    chooser = object.__new__(PairChooser)
    for name, value in (("prepared", prepared), ("matching", matching), ("drop_real", 0.5)):
        object.__setattr__(chooser, name, value)
    (tmp_path / "selector").mkdir()
    for kept, more in ((None, ""), (tmp_path / "selector", f" --selector {tmp_path}/selector")):
        with pytest.raises(InputError) as refused:
            chooser.without(np.array([0]), kept)
        assert f"with another --out and --layers L --bank B{more}, so" in str(refused.value)
