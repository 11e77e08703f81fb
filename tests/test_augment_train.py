"""Augmentations in `l2a train` and `l2a preview`: arms, masks that travel, the same bytes again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from banks import GEOMETRY, epoch_of, make_source, trainer_of
from tiny_data import CLASSES, write_tiny
from tiny_run import write_small
from torch import Tensor

from l2a.augment import Augmentation, CutMix, ObjectMix, VideoMix
from l2a.cli import main
from l2a.errors import InputError
from l2a.media import read_frames
from train.arms import check_arms, plan_arms
from train.batches import Augment, ClipBatch, ClipSource
from train.classifier import make_classifier
from train.mix import TrainingMix, augmented
from train.settings.full import ClassifierSettings, StageTwoSettings

NO_PAIRS = np.empty((0, 2), np.int64)
ROWS = np.arange(9)
OURS: dict[str, object] = {
    "selector_steps": 4, "budget": 4, "max_unseen": 1.0, "compare": False, "repeats": 1,
    "probe": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return make_source(tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("config"), **OURS)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


# Which arms


def test_each_augmentation_is_an_arm_of_its_own() -> None:
    stage = StageTwoSettings(compare=True, augment="videomix:alpha=2 selector+objectmix+or")
    arms = plan_arms(stage)
    assert [(arm.name, arm.pairs) for arm in arms] == [
        ("selector", "selector"), ("none", "none"), ("random", "random"),
        ("videomix:alpha=2", "none"), ("selector+objectmix+or", "selector"),
    ]  # fmt: skip
    assert [arm.augmentation for arm in arms] == [
        None, None, None, VideoMix(alpha=2), ObjectMix(over_time=True),
    ]  # fmt: skip
    assert [arm.needs_layers for arm in arms] == [False, False, False, False, True]
    assert [arm.name for arm in plan_arms(StageTwoSettings(augment=("mixup", "flip,cutmix")))] == [
        "selector", "mixup", "flip,cutmix",
    ]  # fmt: skip


def test_a_class_that_is_not_there_is_found_before_any_work() -> None:
    arms = plan_arms(StageTwoSettings(augment="objectmix flip:1+3"))
    check_arms(arms, 4)
    with pytest.raises(InputError, match=r"--augment flip:1\+3: .*0\.\.2, not \(1, 3\)"):
        check_arms(arms, 3)


@pytest.mark.parametrize(
    ("augment", "sentence"),
    [
        ("mixdown", "no augmentation 'mixdown'; choose one of: actorcut,"),
        ("videomix:alpha=-1", "In 'videomix:alpha=-1': alpha must be above 0, and finite, not -1"),
        ("selector", "no augmentation 'selector'"),
        ("mixup cutmix mixup", "--augment names mixup twice; leave one out."),
        ("flip:7", "--augment flip:7: fixed_classes must lie in 0..2, not (7,)."),
        ("cutout:fill=0.45", "--augment cutout:fill=0.45: fill is 0.45, and clips of bytes"),
    ],
)
def test_a_wrong_augmentation_is_refused_before_anything_is_written(
    augment: str, sentence: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("train", "preview"):
        words = [command, str(data), "--out", str(tmp_path / "out"), "--augment", augment]
        assert sentence in refused(words, capsys)
        assert not (tmp_path / "out").exists()


# Batches


def at(clips: Tensor, masks: Tensor) -> Tensor:
    """The pixels of clips [B, T, h, w, 3] that masks [B, T, h, w] cover."""
    return clips[masks]


def test_masks_are_cut_and_mirrored_with_their_clips(tmp_path: Path) -> None:
    """Wherever the views lie: a clip that is white where its mask is says so itself."""
    source = make_source(tmp_path / "bank")
    bank = source.bank
    for row in range(len(bank)):
        bank.frames[row] = np.where(bank.masks[row][..., None], 255, 0)
    bank.backgrounds[:] = 0
    for seed in range(5):
        real = source.real(ROWS, Augment(np.random.default_rng(seed)), masks=True)
        pairs = np.array([[1, 5], [4, 3], [7, 2]])
        made = source.composites(pairs, Augment(np.random.default_rng(seed)), masks=True)
        for batch in (real, made):
            assert batch.masks is not None and batch.masks.any()
            assert torch.equal(batch.clips == 255, batch.masks[..., None].expand_as(batch.clips))
    assert source.real(ROWS).masks is None and source.composites(pairs).masks is None


def test_an_augmented_batch_is_the_augmentation_of_the_same_real_batch(source: ClipSource) -> None:
    plain = TrainingMix(ROWS, NO_PAIRS, 0)
    mixed = TrainingMix(ROWS, NO_PAIRS, 0, augmentation=VideoMix())
    changed = 0
    for one, two in zip(
        epoch_of(source, plain, 4, True, 5, 1), epoch_of(source, mixed, 4, True, 5, 1), strict=True
    ):
        assert (two.clips.shape, two.clips.dtype) == (one.clips.shape, torch.uint8)
        sums = two.labels.sum(1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
        # Every pixel is of the clip that stood there, or of one of its batch.
        here = (two.clips[:, None] == one.clips[None]).all(-1).any(1)
        assert here.all()
        changed += not torch.equal(one.clips, two.clips)
    assert changed


def test_objects_are_pasted_by_the_masks_of_the_bank(source: ClipSource) -> None:
    mix = TrainingMix(ROWS, NO_PAIRS, 0, augmentation=ObjectMix(probability=1))
    batch = epoch_of(source, mix, 3, True, 0, 0)[0]
    real = source.real(
        np.random.default_rng([0, 0]).permutation(ROWS)[:3],
        Augment(np.random.default_rng([0, 0, 0, 0])), masks=True,
    )  # fmt: skip
    assert real.masks is not None
    assert torch.equal(at(batch.clips, real.masks), at(real.clips, real.masks))
    assert not torch.equal(batch.clips, real.clips)


def test_composites_are_augmented_with_the_real_clips(source: ClipSource) -> None:
    pairs = np.array([[0, 1], [3, 4]])
    mix = TrainingMix(ROWS, pairs, 2, augmentation=ObjectMix(probability=1))
    plain = epoch_of(source, TrainingMix(ROWS, pairs, 2), 3, False, 0, 0)[0]
    batch = epoch_of(source, mix, 3, False, 0, 0)[0]
    assert len(batch.labels) == 5
    assert not torch.equal(batch.clips[3:], plain.clips[3:])  # the composites


def test_what_is_drawn_follows_from_seed_epoch_and_step(
    source: ClipSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    mix = TrainingMix(ROWS, NO_PAIRS, 0, augmentation=CutMix(probability=1, per_clip=True))

    def clips(seed: int, epoch: int) -> list[Tensor]:
        return [batch.clips for batch in epoch_of(source, mix, 4, False, seed, epoch)]

    again = clips(3, 1)
    clips(3, 0)  # what came before does not matter
    assert all(torch.equal(a, b) for a, b in zip(again, clips(3, 1), strict=True))
    batch = source.real(ROWS[:4])
    one, two, other = (augmented(batch, VideoMix(), seed) for seed in ([1, 2], [1, 2], [1, 3]))
    assert torch.equal(one.clips, two.clips) and torch.equal(one.labels, two.labels)
    assert not torch.equal(one.clips, other.clips)

    seeds: list[tuple[int, ...]] = []

    def note(batch: ClipBatch, augmentation: Augmentation, seed: Sequence[int]) -> ClipBatch:
        seeds.append(tuple(seed))
        return batch

    monkeypatch.setattr("train.mix.augmented", note)
    for seed, epoch in ((3, 0), (3, 1), (4, 0)):
        clips(seed, epoch)
    assert len(set(seeds)) == len(seeds) == 3 * 3  # three steps each


def test_an_interrupted_training_ends_with_the_same_weights(
    source: ClipSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.trainer.SECONDS_BETWEEN_STATES", 0.0)
    settings = ClassifierSettings(network="tiny3d", batch_size=4, lr=0.05)
    mix, state = (
        TrainingMix(ROWS, NO_PAIRS, 0, augmentation=VideoMix()),
        tmp_path / "state.safetensors",
    )

    class Killed(Exception):
        pass

    def die(epoch: int, figures: dict[str, float]) -> None:
        if epoch == 1:
            raise Killed

    whole, killed, again = (make_classifier(settings, 3, 0, torch.device("cpu")) for _ in range(3))
    trainer_of(whole, source, mix, settings, 3, seed=9).train()
    with pytest.raises(Killed):
        trainer_of(killed, source, mix, settings, 3, seed=9, state=state).train(die)
    trainer_of(again, source, mix, settings, 3, seed=9, state=state).train()
    for key, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


# The commands


def test_train_compares_augmentations_side_by_side(
    data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(data), "--config", str(config), "--selection", "none"]
    words += ["--augment", "videomix:per-frame objectmix random+mixup"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    table = (tmp_path / "run" / "table.txt").read_text()
    assert [line.split("  ")[0] for line in table.splitlines()[1:-1]] == [
        "no composites", "videomix:per-frame", "objectmix", "random pairs + mixup",
    ]  # fmt: skip
    assert table in capsys.readouterr().out
    arms = json.loads((tmp_path / "run" / "metrics.json").read_text())["arms"]
    assert list(arms) == ["none", "videomix:per-frame", "objectmix", "random+mixup"]
    places = sorted(path.name for path in (tmp_path / "run" / "stage_two").iterdir())
    assert places == ["none-0", "objectmix-0", "random+mixup-0", "videomix_per-frame-0"]
    weights = [
        (tmp_path / "run" / "stage_two" / place / "classifier.safetensors").read_bytes()
        for place in places
    ]
    assert len(set(weights)) == 4
    # Masks were needed and so made; an augmentation alone asks no layers, and trains the same.
    assert (tmp_path / "run" / "layers").is_dir()
    alone = [*words[:-1], "videomix:per-frame", "--out", str(tmp_path / "alone")]
    assert main(alone) == 0
    assert not (tmp_path / "alone" / "layers").is_dir()
    place = Path("stage_two") / "videomix_per-frame-0" / "classifier.safetensors"
    assert (tmp_path / "alone" / place).read_bytes() == (tmp_path / "run" / place).read_bytes()


def test_a_yaml_list_names_augmentations_too(data: Path, config: Path, tmp_path: Path) -> None:
    path = write_small(tmp_path, **OURS, augment=["videomix", "flip,cutmix"])
    words = ["preview", str(data), "--config", str(path), "--count", "1"]
    assert main([*words, "--out", str(tmp_path / "look")]) == 0
    shown = yaml.safe_load((tmp_path / "look" / "run.yaml").read_text())["settings"]["augment"]
    assert shown == ["videomix", "flip,cutmix"]
    assert len(list((tmp_path / "look" / "augment").iterdir())) == 1


def test_a_preview_draws_clips_before_and_after(
    data: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    words = ["preview", str(data), "--config", str(config), "--out", str(tmp_path / "look")]
    words += ["--augment", "videomix objectmix selector+mixup"]
    assert main([*words, "--count", "3"]) == 0
    out = capsys.readouterr().out
    assert f"augmentations: {tmp_path / 'look' / 'augment.png'}" in out
    with Image.open(tmp_path / "look" / "augment.png") as picture:
        sheet = np.asarray(picture)
    # Three clips, each as it is and by three augmentations: a title of 16 pixels above 112.
    assert sheet.shape == (6 + 3 * (4 * (16 + 112 + 6) + 12), 6 + 6 * 118, 3)
    clips = sorted((tmp_path / "look" / "augment").iterdir())
    assert [clip.name for clip in clips] == ["01.mp4", "02.mp4", "03.mp4"]
    for clip in clips:
        frames = read_frames(clip).frames.astype(np.int16)
        assert frames.shape == (16, 112, 4 * 118, 3)
        before, *after = (frames[:, :, i * 118 : i * 118 + 112] for i in range(4))
        for done in after:  # every clip is changed by every augmentation
            assert np.abs(done - before).mean() > 1
    assert (tmp_path / "look-layers").is_dir()  # made for the masks
    first = (tmp_path / "look" / "augment.png").read_bytes()
    assert main([*words, "--count", "2"]) == 0
    assert len(list((tmp_path / "look" / "augment").iterdir())) == 2
    assert main([*words, "--count", "3"]) == 0
    assert (tmp_path / "look" / "augment.png").read_bytes() == first


def test_a_preview_of_no_clips_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["preview", str(data), "--augment", "flip", "--count", "0"]
    assert "count is 0; it must be at least 1." in refused(
        [*words, "--out", str(tmp_path / "look")], capsys
    )
    assert not (tmp_path / "look").exists()


def test_a_preview_looks_for_a_draw_that_changes_every_clip(source: ClipSource) -> None:
    """Of two clips every second draw makes each its own partner."""
    from train.augment_preview import _clear_example

    batch = source.real(ROWS[:2])
    for seed in range(6):
        done = _clear_example(batch, VideoMix(), seed)
        assert (done.clips != batch.clips).flatten(1).any(1).all()


def test_the_classes_of_a_label_are_written_largest_first() -> None:
    from train.augment_preview import _weights

    assert _weights([0.25, 0.0, 0.75], CLASSES) == "0.75 WaveHand, 0.25 ClimbStairs"


def test_bank_geometry_is_what_these_tests_count_on() -> None:
    assert GEOMETRY.crop < GEOMETRY.height < GEOMETRY.width  # there is something to cut away
