"""`l2a few-shot` on a tiny data set: both verbs, going on after a stop, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_data import write_tiny

from l2a.class_splits import ClassSplit
from l2a.cli import main
from l2a.errors import InputError
from l2a.files import write_json
from l2a.runs import Run
from l2a.videos import VideoSet
from selector.card import SelectorCard
from selector.network import SelectorConfig
from semantic_match.settings import MatchSettings
from train.few_shot.evaluation import Evaluation
from train.few_shot.ranking import check_new_to, partners
from train.few_shot.run_training import refuse_idle
from train.few_shot.training import EpisodeObjective
from train.settings.full import ClassifierSettings

CLASSES = ("Bend", "Climb", "Dive", "Jump", "Kick", "Wave")
SMALL: dict[str, Any] = {
    "num_frames": 4, "height": 32, "width": 40, "crop": 32, "network": "tiny3d",
    "segmenter": "motion", "min_gamma": 0.005, "workers": 1, "selector_steps": 2,
    "selector_batch": 8, "hidden": [16], "validation_clips": 4, "frozen_pairs": 20,
    "freeze_trunk": True, "way": 2, "shots": [1, 2], "episodes": 30, "chunk": 8, "candidates": 2,
    "validation_classes": 2, "novel_classes": 2, "validation_episodes": 6,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few-shot")
    write_tiny(folder / "data", CLASSES, train_groups=2)
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return folder


def words(place: Path, verb: str, target: str, *more: str) -> list[str]:
    return ["few-shot", verb, str(place / target), "--config", str(place / "small.yaml"), *more]


def test_a_stopped_comparison_goes_on_to_the_same_results(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = ("--layers", str(place / "layers"), "--bank", str(place / "bank"))
    whole = words(place, "evaluate", "data", "--compare", "--out", str(place / "whole"), *layers)
    assert main(whole) == 0
    shown = capsys.readouterr().out
    assert "prototype + L2A (selected)" in shown
    assert "Differences are over the same episodes" in shown
    split = yaml.safe_load((place / "whole" / "classes.yaml").read_text())
    assert [len(split[side]) for side in ("base", "validation", "novel")] == [2, 2, 2]

    given = ("--selector", str(place / "whole" / "selector"))
    other = place / "other.yaml"
    other.write_text(yaml.safe_dump(split | {"base": split["novel"], "novel": split["base"]}))
    seen = ("--class-split", str(other), "--composites", "selector", "--out", str(place / "seen"))
    assert main(words(place, "evaluate", "data", *seen, *given)) == 2
    assert "The Selector was trained on 2 novel classes (" in capsys.readouterr().err
    assert not (place / "seen").exists()
    part = words(
        place, "evaluate", "data", "--compare", "--out", str(place / "part"), *layers, *given
    )
    true, calls = Evaluation.values, 0

    def stops(self: Evaluation, *of: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 11:  # within the third of six parts
            raise KeyboardInterrupt
        return true(self, *of)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluation, "values", stops)
        assert main(part) == 130
    assert not (place / "part" / "metrics.json").exists()
    assert main(part) == 0
    for name in ("metrics.json", "table.txt", "episodes/selector-2.npy", "episodes/random-1.npy"):
        assert (place / "part" / name).read_bytes() == (place / "whole" / name).read_bytes(), name
    assert main(["report", str(place / "part")]) == 0
    page = (place / "part" / "report.html").read_text()
    assert "prototype + L2A (selected)" in page
    assert "selected − random" in page
    assert "Clips of one recording can be on both sides of an episode" in page


def test_a_trunk_is_trained_end_to_end_and_its_run_evaluated(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(place / "trained"))
    train = words(
        place, "train", "data", *out, "--no-freeze-trunk", "--train-episodes", "4",
        "--validate-every", "3", "--episodes-per-step", "1", "--train-queries", "1",
    )  # fmt: skip
    assert main(train) == 0
    learned = (place / "trained" / "method.safetensors").read_bytes()
    assert main(train) == 0  # nothing is left to do
    assert (place / "trained" / "method.safetensors").read_bytes() == learned
    history = json.loads((place / "trained" / "training" / "validation.json").read_text())
    assert list(history) == ["3", "4"]  # the last stretch is shorter, and measured, too
    episodes = place / "episodes.jsonl"
    evaluate = ["few-shot", "evaluate", str(place / "trained"), "--episode-file", str(episodes)]
    assert main(evaluate) == 0
    found = json.loads((place / "trained" / "evaluation" / "metrics.json").read_text())
    assert found["accuracy"]["none"]["2"]["episodes"] == SMALL["episodes"]
    again = [*evaluate, "--out", str(place / "again")]
    assert main(again) == 0  # the same episodes, from the file
    assert json.loads((place / "again" / "metrics.json").read_text()) == found
    assert found["group_disjoint"] is False
    capsys.readouterr()
    assert main([*again[:-1], str(place / "apart"), "--group-disjoint"]) == 2
    assert "was drawn without --group-disjoint" in capsys.readouterr().err
    assert not (place / "apart").exists()
    assert main([*again[:-1], str(place / "other"), "--seed", "1"]) == 2

    header, first, *rest = episodes.read_text().splitlines(keepends=True)
    episodes.write_text("".join([header, *rest, first]))
    capsys.readouterr()
    assert main(again) == 2
    assert "again/episodes holds accuracies of other episodes" in capsys.readouterr().err
    weights = place / "trained" / "method.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4] ^= 1  # in the last number
    weights.write_bytes(content)
    assert main(evaluate) == 2
    assert "was made with method_weights=" in capsys.readouterr().err


def test_settings_of_another_training_are_refused_but_in_a_run_of_before(tmp_path: Path) -> None:
    refuse_idle(ClassifierSettings(network="tiny3d", micro_batch=1), tmp_path)
    for own, instead in (
        ({"lr": 7.0}, "lr is 7.0, .* no use for; give --episode-lr in its place"),
        ({"epochs": 3}, "give --train-episodes"),
        ({"batch_size": 99}, "give --episodes-per-step"),
        ({"momentum": 0.1}, "the method's own optimiser has none"),
        ({"weight_decay": 0.9}, "leave it out"),
    ):
        with pytest.raises(InputError, match=instead):
            refuse_idle(ClassifierSettings(**own), tmp_path)
    run = Run.open(tmp_path / "run", "few-shot train", [])
    with pytest.raises(InputError, match="--episode-lr"):
        refuse_idle(ClassifierSettings(lr=7.0), run.folder)
    run.fix_settings()
    refuse_idle(ClassifierSettings(lr=7.0), run.folder)


def test_presets_of_few_shots_hold_nothing_that_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for preset in sorted((Path(__file__).parents[1] / "configs" / "paper").glob("few-shot-*.yaml")):
        words = ["few-shot", "train", str(place / "nothing"), "--config", str(preset)]
        assert main([*words, "--out", str(place / "none"), "--network", "tiny3d"]) == 2
        assert "no use for" not in capsys.readouterr().err


def test_a_training_without_memory_says_what_makes_it_smaller(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(EpisodeObjective, "loss", _out_of_memory)
    train = words(
        place, "train", "data", "--no-freeze-trunk", "--train-queries", "3", "--shots", "1",
        "--episodes-per-step", "4", "--micro-batch", "2", "--out", str(place / "small"),
    )  # fmt: skip
    assert main(train) == 1
    said = capsys.readouterr().err
    assert (
        "for a training on cpu with 2 of 4 episodes a step at once, each of 2 classes with 1 shot "
        "and 3 queries; give a smaller --micro-batch (such as 1), fewer --episodes-per-step, "
        "--train-queries or --shots, a smaller --crop or a lower --way, with another --out"
    ) in said


def _out_of_memory(*given: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_diverging_training_on_episodes_names_its_own_learning_rate(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diverging = words(
        place, "train", "data", "--out", str(place / "diverging"), "--no-freeze-trunk",
        "--train-episodes", "4", "--validate-every", "4", "--episodes-per-step", "1",
        "--train-queries", "1", "--episode-lr", "1e30",
    )  # fmt: skip
    assert main(diverging) == 1
    said = capsys.readouterr().err
    assert "give a lower --episode-lr (it is 1e+30), with another --out and the same --bank" in said


def test_layers_of_another_version_of_the_segmenter_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = place / "before"
    evaluate = words(place, "evaluate", "data", "--out", str(own))
    assert main(evaluate) == 0
    (own / "layers" / "records").mkdir(parents=True, exist_ok=True)
    write_json(own / "layers" / "records" / "!first.json", {"segmenter": "motion of before"})
    assert main(evaluate) == 2
    assert "was made with the segmenter 'motion of before'" in capsys.readouterr().err


def test_a_file_of_matches_may_name_several_novel_classes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("Kick: Bend\nJump: [Bend, Climb, Kick]\nBend: Climb\n")
    found = partners(("Jump", "Kick"), ("Bend", "Climb"), MatchSettings(matches=str(path)))
    # Kick is novel itself, and lends no scenes; Bend is not asked about.
    assert {name: set(lent) for name, lent in found.items()} == {
        "Jump": {"Bend", "Climb"}, "Kick": {"Bend"},
    }  # fmt: skip


def test_novel_classes_are_new_to_a_selector_of_the_same_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of Selectors from elsewhere a note names the classes that they have, too."""
    said: list[str] = []
    monkeypatch.setattr("train.few_shot.ranking.say", said.append)
    split = ClassSplit(("Bend", "Climb"), (), ("Jump", "Brush Hair"))
    videos = VideoSet(tmp_path / "mine", "folder", ("Bend", "Brush Hair", "Climb", "Jump"), ())
    card = SelectorCard(
        SelectorConfig(8, 4), "tiny3d", "random", False, "static", num_frames=4, height=32,
        width=40, crop=32, classes=("Bend", "Climb"), reward="credit", steps=1, seed=0, data="mine",
    )  # fmt: skip
    check_new_to(card, split, videos, begun=False)
    moved = replace(card, data="moved", classes=("Bend", "brush_hair", "Wave"))
    tuned = replace(card, finetuned_from=("climb", "jump"))
    for bad, named in ((replace(card, classes=("Jump", "Bend", "a")), "Jump"),
                       (moved, "Brush Hair"), (tuned, "Jump")):  # fmt: skip
        with pytest.raises(InputError, match=rf"trained on 1 novel class \(.?{named}"):
            check_new_to(bad, split, videos, begun=False)
    assert not said
    check_new_to(moved, split, videos, begun=True)
    assert said.pop() == (
        "note: the Selector was trained on 1 novel class (Brush Hair): nothing new to it"
    )
    # Of another data set, though its folder be called alike.
    check_new_to(replace(card, classes=("jump", *"abcd")), split, videos, begun=False)
    assert said.pop().startswith("note: the Selector was trained on mine that has 1 novel class (J")


def test_several_processes_are_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for verb in ("train", "evaluate"):
        assert main(words(place, verb, "data", "--out", str(place / "none"))) == 2
        said = capsys.readouterr().err
        assert f"`l2a few-shot {verb}` was started in 2 processes" in said


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--shots", "9"], "too few for 9 shots and 1 query; give fewer shots"),
        (["--method", "trix"], "no few-shot method 'trix'; choose one of: prototype, arn, trx."),
        (["--method", "arn"], "ARN needs clips of 16 frames or more"),
        (["--method", "arn", "--num-frames", "8"], "these have 8; give --num-frames 16."),
        (["--method", "arn", "--num-frames", "16"], "has weights that are learned"),
        (["--way", "3"], "Episodes of 3 classes cannot be drawn from 2 classes"),
        (["--novel-classes", "5"], "leave 0 base classes"),
        (["--shots", "0"], "shots is '0'; give whole numbers from 1"),
        (["--class-split", "SPLIT"], "'Jmup' (nearest: 'Jump'"),
    ],
)
def test_what_is_refused(
    more: list[str], sentence: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = place / "split.yaml"
    split.write_text("base: [Bend, Climb]\nnovel: [Jmup, Kick]\n")
    more = [str(split) if word == "SPLIT" else word for word in more]
    assert main(words(place, "evaluate", "data", "--out", str(place / "none"), *more)) == 2
    assert sentence in capsys.readouterr().err
    assert not (place / "none").exists()


def test_without_a_folder_nothing_is_done(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("train", "evaluate"):
        assert main(words(place, verb, "data")) == 2
        assert "needs --out" in capsys.readouterr().err
    assert main(["few-shot", "measure", str(place / "data")]) == 2
    assert "train, evaluate" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "evaluate"])
@pytest.mark.parametrize("option", ["--out", "--layers", "--bank"])
def test_nothing_is_written_among_the_files_of_the_data_set(
    place: Path, tmp_path: Path, verb: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = place / "data"
    folder = data / "videos" if option == "--bank" else data
    out = () if option == "--out" else ("--out", str(tmp_path / "out"))
    before = sorted(data.rglob("*"))
    few = ("--train-queries", "2")
    assert main(words(place, verb, "data", *few, *out, option, str(folder))) == 2
    assert "the data set" in capsys.readouterr().err.splitlines()[-1]
    assert sorted(data.rglob("*")) == before
