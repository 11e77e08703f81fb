"""The generated data set: the same bytes, the right scenes, true masks, a reader's view of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from l2a.demo import SETTINGS, generate_demo, render_clip, stage_recording
from l2a.demo.figures import cast_actor, draw_figure
from l2a.demo.generate import _groups
from l2a.demo.motions import MOTIONS
from l2a.demo.scenes import SCENES, paint_scene
from l2a.errors import InputError
from l2a.formats import DataSettings, read_videos
from l2a.media import read_frames
from l2a.videos import carve_validation

SIZE = (120, 160)


def generate(folder: Path, **changed: object) -> dict[str, bytes]:
    small = {"per_class_train": 2, "per_class_test": 1, "num_frames": 6, "size": (48, 64)}
    generate_demo(folder, **{**small, **changed})  # type: ignore[arg-type]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = generate(tmp_path / "a", seed=3)
    assert generate(tmp_path / "b", seed=3) == first
    other = generate(tmp_path / "c", seed=4)
    assert other.keys() == first.keys()
    videos = [name for name in first if name.endswith(".mp4")]
    assert all(first[name] != other[name] for name in videos)


def test_the_layout_is_ucf101_s(tmp_path: Path) -> None:
    files = generate(tmp_path)
    classes = files["splits/classInd.txt"].decode().splitlines()
    assert classes == [f"{n} {label}" for n, label in enumerate(sorted(MOTIONS), start=1)]
    train = files["splits/trainlist01.txt"].decode().splitlines()
    test = files["splits/testlist01.txt"].decode().splitlines()
    assert train[:2] == [
        "Dancing/v_Dancing_g02_c01.mp4 1",
        "Dancing/v_Dancing_g02_c02.mp4 1",
    ]
    assert train[-1] == "Squatting/v_Squatting_g02_c02.mp4 6"
    assert test == [f"{label}/v_{label}_g01_c01.mp4" for label in MOTIONS]
    listed = {f"videos/{line.split()[0]}" for line in train + test}
    assert listed == {name for name in files if name.endswith(".mp4")}


def test_a_validation_split_of_its_own_is_read_as_one(tmp_path: Path) -> None:
    files = generate(tmp_path, per_class_val=2)
    assert len(files["splits/vallist01.txt"].splitlines()) == 2 * len(MOTIONS)
    videos = read_videos(tmp_path, DataSettings())
    counts = Counter(video.split for video in videos.videos)
    assert counts == {"train": 12, "val": 12, "test": 6}
    assert carve_validation(videos, 0.5, 0) == videos


def test_videos_are_real_ones(tmp_path: Path) -> None:
    generate(tmp_path)
    video = read_frames(tmp_path / "videos" / "Squatting" / "v_Squatting_g01_c01.mp4")
    assert video.frames.shape == (6, 48, 64, 3)
    assert video.fps == pytest.approx(24.0)


def test_a_complete_folder_is_left_alone_and_a_half_one_is_mended(tmp_path: Path) -> None:
    whole = generate(tmp_path)
    victim = tmp_path / "videos" / "Squatting" / "v_Squatting_g01_c01.mp4"
    stamp = victim.stat().st_mtime_ns
    assert generate(tmp_path) == whole
    assert victim.stat().st_mtime_ns == stamp
    victim.unlink()
    (tmp_path / "demo.json").unlink()
    assert generate(tmp_path) == whole
    with pytest.raises(InputError, match=f"{tmp_path} holds a demo made with other settings"):
        generate(tmp_path, seed=9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"per_class_train": 0}, "per_class_train is 0"),
        ({"per_class_test": -2}, "per_class_test is -2"),
        ({"per_class_val": -1}, "per_class_val is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"size": (40, 64)}, "size is 40x64"),
        ({"home_share": 1.5}, r"home_share is 1\.5"),
    ],
)
def test_senseless_arguments_are_refused(
    tmp_path: Path, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        generate(tmp_path / "demo", **wrong)
    assert not (tmp_path / "demo").exists()


def test_train_is_at_home_and_test_is_evenly_anywhere_else() -> None:
    groups = list(_groups(train=20, val=10, test=10, home_share=1.0))
    for label, motion in MOTIONS.items():
        train = [group for group in groups if group.label == label and group.split == "train"]
        test = [group for group in groups if group.label == label and group.split == "test"]
        assert {group.scene for group in train} == {motion.home}
        elsewhere = dict.fromkeys(set(SCENES) - {motion.home}, 1)
        assert Counter(group.scene for group in test) == elsewhere
        val = [group for group in groups if group.label == label and group.split == "val"]
        assert Counter(group.scene for group in val) == elsewhere
        assert sum(group.clips for group in train) == 20
        assert sum(group.clips for group in test) == 10
        assert not {group.number for group in train} & {group.number for group in test}
    assert {motion.home for motion in MOTIONS.values()} == set(SCENES)


def test_some_recordings_can_be_made_away_from_home() -> None:
    groups = [g for g in _groups(train=20, val=0, test=2, home_share=0.6) if g.split == "train"]
    at_home = [group.scene == MOTIONS[group.label].home for group in groups]
    assert sum(at_home) == 36
    assert len(at_home) == 60


def test_more_videos_leave_the_others_as_they_are() -> None:
    few = {(g.label, g.stream, g.scene) for g in _groups(train=8, val=2, test=4, home_share=1.0)}
    many = {(g.label, g.stream, g.scene) for g in _groups(train=16, val=4, test=10, home_share=1.0)}
    assert few < many


@pytest.mark.parametrize("label", MOTIONS)
def test_the_truth_about_the_layers_is_true(label: str) -> None:
    rng = np.random.default_rng(5)
    recording = stage_recording(label, MOTIONS[label].home, 0, SIZE, rng)
    clip = render_clip(recording, 32, rng)
    assert clip.frames.shape == clip.background.shape == (32, *SIZE, 3)
    assert clip.mask.shape == (32, *SIZE)
    difference = np.abs(clip.frames.astype(int) - clip.background).max(-1)
    far = np.array([_grown(mask, 3) for mask in clip.mask])
    assert difference[~far].max() <= 4  # noise alone
    assert (difference[clip.mask] > 4).mean() > 0.9
    assert 0.05 < clip.mask.mean() < 0.16
    # The actor stays in the picture, and leaves most of what it covers free for most of the time.
    assert not clip.mask[:, 0].any()
    assert clip.mask[:, :, [0, -1]].mean() < 0.01
    covered = clip.mask.mean(0)
    assert (covered[covered > 0] < 0.5).mean() > 0.8


def test_clips_of_a_group_share_actor_and_scene_and_differ_in_movement() -> None:
    recording = stage_recording("Dancing", "street", 0, SIZE, np.random.default_rng(0))
    first = render_clip(recording, 8, np.random.default_rng(1))
    second = render_clip(recording, 8, np.random.default_rng(2))
    free = ~(first.mask | second.mask).any(0)
    still = np.abs(first.background[0].astype(int) - second.background[0])[free]
    assert still.mean() < 12
    assert (first.mask != second.mask).any()


@pytest.mark.parametrize("label", MOTIONS)
def test_a_motion_is_a_cycle_without_jumps(label: str) -> None:
    pose = MOTIONS[label].pose
    phases = np.linspace(0, 1, 401).tolist()
    for name in ("active", "other", "foot", "crouch", "jump", "lean"):
        path = np.array([getattr(pose(phase % 1), name) for phase in phases])
        assert np.abs(np.diff(path)).max() < 0.02
    # a ball changes hands, but the three together are a cycle
    balls = [sorted(pose(phase % 1).balls, key=lambda b: (b.real, b.imag)) for phase in phases]
    assert np.allclose(balls[0], balls[-1])


def test_motions_differ_from_each_other() -> None:
    """By what they do with hands, hips and feet over a cycle, and not by one pose alone."""
    phases = np.linspace(0, 1, 24, endpoint=False).tolist()
    spectra = {}
    for label, motion in MOTIONS.items():
        poses = [motion.pose(phase) for phase in phases]
        rows = np.array([[p.active, p.other, p.foot, p.crouch * 1j, p.jump * 1j] for p in poses])
        spectra[label] = np.abs(np.fft.fft(rows, axis=0))[1:]  # movement only: no mean, no phase
    labels = sorted(spectra)
    for i, one in enumerate(labels):
        for other in labels[i + 1 :]:
            assert np.abs(spectra[one] - spectra[other]).max() > 0.5


def test_a_figure_has_the_height_it_says() -> None:
    actor = cast_actor(0, np.random.default_rng(0))
    pose = MOTIONS["Squatting"].pose(0.0)
    colour, coverage = draw_figure(SIZE, actor, pose, "nothing", 80 + 110j, 0.0)
    rows = np.flatnonzero((coverage[:, :, 0] > 0.5).any(1))
    assert (rows[-1] + 1 - rows[0]) / SIZE[0] == pytest.approx(actor.height, abs=0.06)
    assert abs(rows[-1] - 110) <= 3
    assert (colour <= 255 * coverage + 1).all()


def test_clothes_tell_nothing_of_the_action() -> None:
    def wardrobe(label: str, seed: int) -> list[object]:
        rng = np.random.default_rng(seed)
        recordings = [stage_recording(label, "gym", n, (48, 64), rng) for n in range(12)]
        return [(r.actor.shirt, r.actor.trousers, r.actor.prop) for r in recordings]

    first, *others = (wardrobe(label, seed) for seed, label in enumerate(MOTIONS))
    assert len(set(first)) == 12
    assert all(other == first for other in others)


@pytest.mark.parametrize("kind", SCENES)
def test_places_of_a_kind_look_alike_but_not_the_same(kind: str) -> None:
    one, other = (paint_scene(kind, SIZE, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.shape == (*SIZE, 3)
    assert 0 <= one.min() <= one.max() <= 255
    assert np.abs(one - other).mean() > 5
    assert paint_scene(kind, (45, 61), np.random.default_rng(0)).shape == (45, 61, 3)


def test_the_settings_lie_beside_the_code() -> None:
    assert SETTINGS.is_file()


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    padded = np.pad(mask, by)
    rows, columns = mask.shape
    shifts = range(2 * by + 1)
    return np.any([padded[y : y + rows, x : x + columns] for y in shifts for x in shifts], axis=0)
