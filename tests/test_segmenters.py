"""Segmenters: masks from files, and motion."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from compositing.alignment import Shot, find_shots
from compositing.masks import Instance, VideoMasks, encode, to_json
from compositing.segmenters import make_segmenter, motion
from compositing.segmenters.mask_files import MaskFiles
from compositing.segmenters.motion import CATEGORY, find_moving
from compositing.settings import PrepareSettings
from l2a.errors import InputError
from l2a.media import Frames, read_frames
from l2a.videos import Video

SETTINGS = PrepareSettings()


def video(label: str, name: str = "a.avi") -> Video:
    path = Path("/data/videos") / label / name
    return Video(f"videos/{label}/{name}", path, label, "g", "train")


def frames(count: int, height: int = 6, width: int = 8) -> Frames:
    pixels = np.zeros((count, height, width, 3), np.uint8)
    return Frames(pixels, np.arange(count) / 25, 25.0)


def write_masks(path: Path, file_name: str, masks: NDArray[np.bool_]) -> None:
    found = VideoMasks(
        masks.shape[1], masks.shape[2], len(masks), (Instance("person", 1.0, encode(masks)),)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(to_json(found, file_name, {})), encoding="utf-8")


def numbered(count: int, height: int = 6, width: int = 8) -> NDArray[np.bool_]:
    """Masks that tell their frame: frame t has t + 1 pixels set."""
    flat = np.arange(height * width)[None] <= np.arange(count)[:, None]
    return flat.reshape(count, height, width)


def sizes(masks: VideoMasks) -> list[int]:
    return [int(n) for n in masks.union(SETTINGS).sum(axis=(1, 2))]


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no segmenter 'mrcnn'.*masks.*motion"):
        make_segmenter("mrcnn")
    with pytest.raises(InputError, match="'motion' takes no argument, but was given 'fast'"):
        make_segmenter("motion:fast")
    with pytest.raises(InputError, match="needs a path"):
        make_segmenter("masks")
    with pytest.raises(InputError, match="no masks at /nowhere"):
        make_segmenter("masks:/nowhere")


@pytest.mark.parametrize("name", ["run/a.avi", "videos/run/a.avi"])
def test_file_names_may_be_relative_to_the_root_or_to_videos(tmp_path: Path, name: str) -> None:
    write_masks(tmp_path / "run.json", name, numbered(3))
    for path in (tmp_path, tmp_path / "run.json"):
        assert sizes(make_segmenter(f"masks:{path}")(video("run"), frames(3))) == [1, 2, 3]


def test_a_class_without_masks_is_refused_before_any_work(tmp_path: Path) -> None:
    write_masks(tmp_path / "run.json", "run/a.avi", numbered(3))
    segmenter = make_segmenter(f"masks:{tmp_path}")
    segmenter.check([video("run"), video("run", "unknown.avi")])
    with pytest.raises(InputError, match=r"no masks for the class golf, wave.*golf\.json"):
        segmenter.check([video("run"), video("wave"), video("golf")])


def test_one_video_without_masks_gets_a_note_and_no_error(tmp_path: Path) -> None:
    write_masks(tmp_path / "run.json", "run/a.avi", numbered(3))
    masks = make_segmenter(f"masks:{tmp_path}")(video("run", "b.avi"), frames(4))
    assert masks.note == f"no masks for it: {tmp_path.name} names others, such as run/a.avi"
    assert masks.union(SETTINGS).shape == (4, 6, 8)
    assert not masks.instances


def test_masks_of_another_length_or_shape_are_not_used(tmp_path: Path) -> None:
    write_masks(tmp_path / "run.json", "run/a.avi", numbered(10))
    segmenter = make_segmenter(f"masks:{tmp_path}")
    for count in (7, 13):
        expected = f"masks of another length: they are of 10 frames and the video has {count}"
        assert segmenter(video("run"), frames(count)).note == expected
    assert (
        "masks of another shape: they are 6x8 and the video 8x6"
        in segmenter(video("run"), frames(10, 8, 6)).note
    )
    assert sizes(segmenter(video("run"), frames(9))) == list(range(1, 10))
    assert sizes(segmenter(video("run"), frames(12)))[-3:] == [10, 10, 10]
    # Twice the size is the same shape: masks keep their own size.
    assert segmenter(video("run"), frames(10, 12, 16)).union(SETTINGS).shape == (10, 6, 8)


def test_a_file_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_masks(tmp_path / "run.json", "run/a.avi", numbered(3))
    write_masks(tmp_path / "wave.json", "wave/a.avi", numbered(3))
    opened: list[str] = []
    read_bytes = Path.read_bytes

    def counting(self: Path) -> bytes:
        opened.append(self.name)
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", counting)
    segmenter = MaskFiles(tmp_path)
    for _ in range(3):
        segmenter(video("run"), frames(3))
    assert opened == ["run.json"]


def test_identity_follows_the_contents_and_not_the_place(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_masks(tmp_path / folder / "run.json", "run/a.avi", numbered(3))
    one, two = (MaskFiles(tmp_path / folder).identity for folder in ("one", "two"))
    write_masks(tmp_path / "two" / "run.json", "run/a.avi", numbered(4))
    assert one == two != MaskFiles(tmp_path / "two").identity


def test_a_label_that_looks_like_a_path_opens_nothing(tmp_path: Path) -> None:
    write_masks(tmp_path / "secret.json", "x/a.avi", numbered(3))
    write_masks(tmp_path / "masks" / "run.json", "run/a.avi", numbered(3))
    with pytest.raises(
        InputError, match=r"has masks for none of these videos.*\.\./secret/a\.avi is exp"
    ):
        MaskFiles(tmp_path / "masks").check([video("../secret")])


@pytest.mark.clips
def test_real_masks_lie_on_the_real_actors(clips_root: Path) -> None:
    root = clips_root / "jhmdb12"
    path = min((root / "videos" / "swing_baseball").glob("*.avi"))
    batter = Video(f"videos/swing_baseball/{path.name}", path, "swing_baseball", "g", "train")
    source = read_frames(path)
    given = make_segmenter(f"masks:{root / 'masks'}")(batter, source)
    assert given.num_frames == len(source.frames)
    mask = given.union(SETTINGS)
    assert 0.01 < mask.mean() < 0.5
    moving = find_moving(source.frames)
    # Found by other means, what moves lies mostly on the actor: nothing is shifted or mirrored.
    hits, mirrored = (float((moving & m).sum() / m.sum()) for m in (mask, mask[:, :, ::-1]))
    assert hits > 2 * mirrored


def textured(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    coarse = rng.integers(30, 226, (height // 6 + 2, width // 6 + 2, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def walker(pan: float, count: int = 24) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A disc walks over a textured scene, from left to right; the camera pans by `pan` a frame."""
    rng = np.random.default_rng(0)
    scene = textured(rng, 120, 300)
    pixels = np.empty((count, 120, 160, 3), np.uint8)
    masks = np.zeros((count, 120, 160), np.bool_)
    for t in range(count):
        shift = np.array([[1, 0, -10 - pan * t], [0, 1, 0.0]])
        pixels[t] = cv2.warpAffine(scene, shift, (160, 120), flags=cv2.INTER_LINEAR)
        rows, columns = np.mgrid[:120, :160]
        masks[t] = (rows - 70) ** 2 + (columns - 25 - 4.5 * t) ** 2 < 18**2
        pixels[t][masks[t]] = (230, 40, 200)
    noise = rng.integers(-4, 5, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8), masks


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("pan", [0.0, 1.7])
def test_motion_finds_a_walker_though_the_camera_pans(pan: float) -> None:
    pixels, truth = walker(pan)
    assert overlap(find_moving(pixels), truth) > 0.85


def test_motion_gives_one_sure_instance_as_run_lengths() -> None:
    pixels, truth = walker(0.0)
    source = Frames(pixels, np.arange(len(pixels)) / 25, 25.0)
    masks = make_segmenter("motion")(video("run"), source)
    assert [(i.category, i.score) for i in masks.instances] == [(CATEGORY, 1.0)]
    assert overlap(masks.union(SETTINGS), truth) > 0.85


@pytest.mark.parametrize("pan", [0.0, 1.7])
def test_motion_looks_for_a_moving_camera_again_without_what_moves(
    pan: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, truth = walker(pan)
    ignored: list[NDArray[np.bool_] | None] = []

    def spy(frames: NDArray[np.uint8], ignore: NDArray[np.bool_] | None = None) -> list[Shot]:
        ignored.append(ignore)
        return find_shots(frames, ignore)

    monkeypatch.setattr(motion, "find_shots", spy)
    find_moving(pixels)
    assert ignored[0] is None
    assert len(ignored) == (2 if pan else 1)
    for ignore in ignored[1:]:
        assert ignore is not None
        assert (ignore & truth).sum() > 0.95 * truth.sum()
        assert ignore.sum() < 2 * truth.sum()


def test_motion_gives_each_shot_its_own_instance() -> None:
    """So that no gap is filled from the other side of a cut."""
    first, _ = walker(0.0)
    pixels = np.concatenate([first // 3, 170 + first[:, ::-1] // 3])
    source = Frames(pixels, np.arange(len(pixels)) / 25, 25.0)
    masks = make_segmenter("motion")(video("run"), source)
    assert [(i.category, i.score) for i in masks.instances] == [(CATEGORY, 1.0)] * 2
    seen = [[t for t, rle in enumerate(i.rles) if rle] for i in masks.instances]
    assert max(seen[0]) < len(first) <= min(seen[1])
    assert all(len(i.rles) == len(pixels) for i in masks.instances)
    np.testing.assert_array_equal(masks.merged(), find_moving(pixels))


def test_nothing_moves_in_a_noisy_still() -> None:
    rng = np.random.default_rng(1)
    still = textured(rng, 97, 131)[None].repeat(12, axis=0) + rng.normal(0, 5, (12, 97, 131, 3))
    source = Frames(np.clip(still, 0, 255).astype(np.uint8), np.arange(12) / 25, 25.0)
    masks = make_segmenter("motion")(video("run"), source)
    assert masks.note == "nothing moves in it"
    assert masks.union(SETTINGS).shape == (12, 97, 131)


def test_a_cut_is_not_a_motion() -> None:
    rng = np.random.default_rng(2)
    scenes = [textured(rng, 90, 120) // 2 + level for level in (0, 120)]
    pixels = np.stack([scenes[0]] * 8 + [scenes[1]] * 8)
    assert not find_moving(pixels).any()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_clips_too_short_to_have_a_background_have_no_motion(count: int) -> None:
    assert find_moving(np.zeros((count, 16, 16, 3), np.uint8)).shape == (count, 16, 16)


def test_where_somebody_stood_for_most_of_the_time_the_place_itself_is_not_found() -> None:
    pixels = np.stack([textured(np.random.default_rng(4), 120, 160)] * 20)
    truth = np.zeros(pixels.shape[:3], np.bool_)
    truth[4:18, 30:90, 60:90] = True
    pixels[truth] = (230, 40, 200)
    assert overlap(find_moving(pixels), truth) > 0.8  # 0 by the median alone
