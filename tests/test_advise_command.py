"""`l2a advise` from the command line: the page, the settings, and data that answer little."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_data import CLASSES, write_tiny

from l2a.arguments import parse
from l2a.cli import main
from l2a.clips import ClipBank
from l2a.files import read_json, write_json
from train.advice.answers import QUESTIONS
from train.command_table import ALL_GROUPS, COMMANDS
from train.frozen.features import FeatureBank

SMALL = [
    "--network", "tiny3d", "--weights", "null", "--num-frames", "4", "--height", "32",
    "--width", "40", "--crop", "32", "--segmenter", "motion", "--min-gamma", "0.005",
    "--draws", "2", "--folds", "3", "--pools", "1,any", "--workers", "1",
]  # fmt: skip


def spoil_test_videos(data: Path) -> None:
    """Whoever reads a test video from now on finds no video."""
    for name in (data / "splits" / "testlist01.txt").read_text().split():
        (data / "videos" / name).write_bytes(b"no video")


@pytest.fixture(scope="module")
def advised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("advise")
    data = write_tiny(folder / "data")
    spoil_test_videos(data)
    assert main(["advise", str(data), "--out", str(folder / "out"), *SMALL]) == 0
    return folder


def test_each_question_has_an_answer_with_figures(advised: Path) -> None:
    content = read_json(advised / "out" / "advice.json")
    assert list(content["answers"]) == list(QUESTIONS)
    for key, answer in content["answers"].items():
        assert answer["question"] == QUESTIONS[key]
        assert "cannot be said" not in answer["answer"], answer
        assert re.search(r"\d", answer["answer"])
    differences = content["answers"]["pays"]["differences"]
    assert list(differences) == ["1 | actor", "1 | mixed", "any | actor", "any | mixed"]
    assert {"mean", "error"} == set(differences["any | actor"]["loss"])
    assert set(content["answers"]["scenes"]) >= {"scene_alone", "mixed_rand", "scene_said"}


def test_no_test_video_is_read(advised: Path) -> None:
    """They are no videos any more: who reads one has it skipped."""
    assert not (advised / "out" / "skipped.csv").exists()
    place = advised / "out" / read_json(advised / "out" / "bank.json")["folder"]
    ids = json.loads((place / "index.json").read_text())["ids"]
    tests = (advised / "data" / "splits" / "testlist01.txt").read_text().split()
    assert len(ids) == 24
    assert not any(Path(test).name in id_ for id_ in ids for test in tests)


def test_the_page_is_self_contained(advised: Path) -> None:
    page = (advised / "out" / "advice.html").read_text(encoding="utf-8")
    for question in QUESTIONS.values():
        assert question in page
    assert "Contact sheet" in page
    assert "<script" not in page
    assert set(re.findall(r'(?:src|href)="([^"#]{1,5})', page)) <= {"data:"}
    for name in CLASSES:
        assert name in page


def test_a_training_takes_the_settings(advised: Path) -> None:
    path = advised / "out" / "advice.yaml"
    words = ["DATA", "--out", "o", "--config", str(path)]
    settings = parse("train", "", COMMANDS["train"].groups, words, known=ALL_GROUPS).flat()
    assert settings["freeze_trunk"] is True
    assert (settings["network"], settings["weights"]) == ("tiny3d", None)
    assert (settings["segmenter"], settings["crop"]) == ("motion", 32)
    assert settings["layers"] == (advised / "out" / "layers").resolve()
    assert settings["matches"] in ("1", "any")


def test_the_same_command_computes_nothing_again(
    advised: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError("computed again")

    before = read_json(advised / "out" / "advice.json")
    monkeypatch.setattr(FeatureBank, "of", refuse)
    monkeypatch.setattr(ClipBank, "write", refuse)
    monkeypatch.setattr("train.advice.study.Study.real_alone", refuse)
    words = ["advise", str(advised / "data"), "--out", str(advised / "out"), *SMALL]
    assert main(words) == 0
    assert read_json(advised / "out" / "advice.json") == before
    said = capsys.readouterr().out
    for number, question in enumerate(QUESTIONS.values(), 1):
        assert f"{number}. {question}" in said
    assert main([*words, "--draws", "3"]) == 2


def test_layers_of_another_version_of_the_segmenter_are_refused(
    advised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "out"
    shutil.copytree(advised / "out", own)
    write_json(own / "layers" / "records" / "!first.json", {"segmenter": "motion of before"})
    assert main(["advise", str(advised / "data"), "--out", str(own), *SMALL]) == 2
    assert "was made with the segmenter 'motion of before'" in capsys.readouterr().err


def test_one_recording_of_each_class_is_answered_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_tiny(tmp_path / "data", CLASSES[:2], train_groups=1)
    assert main(["advise", str(data), "--out", str(tmp_path / "out"), *SMALL]) == 0
    answers = read_json(tmp_path / "out" / "advice.json")["answers"]
    for key in set(QUESTIONS) - {"masks"}:
        assert "cannot be said" in answers[key]["answer"]
        assert "two recordings" in answers[key]["answer"]
    assert answers["masks"]["videos"] == 4
    assert "selection: none" in (tmp_path / "out" / "advice.yaml").read_text()
    assert "Traceback" not in capsys.readouterr().err


def test_without_the_package_of_the_eyes_masks_are_answered_all_the_same(
    advised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    layers = ["--layers", str(advised / "out" / "layers"), "--bank", str(tmp_path / "bank")]
    words = ["advise", str(advised / "data"), "--out", str(tmp_path / "out"), *SMALL[4:], *layers]
    assert main(words) == 0
    answers = read_json(tmp_path / "out" / "advice.json")["answers"]
    assert "l2a[pretrained]" in answers["eyes"]["answer"]
    assert answers["masks"]["videos"] == 18
    assert np.isfinite(answers["masks"]["fit"]["foreground"])
    # Who names a network gets a sentence, and no page.
    other = [*words, "--network", "tsn_efficientnet_lite0", "--weights", "null"]
    assert main([*other, "--out", str(tmp_path / "other")]) == 2
