"""Masks from files: what other programs write, whose they are, and which frames they are of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from compositing.making import LayerMaker
from compositing.masks import Instance, VideoMasks, encode
from compositing.records import unfit_counts
from compositing.segmenters.mask_files import MaskFiles
from compositing.segmenters.mask_files.timing import time_masks
from compositing.settings import PrepareSettings
from l2a.errors import InputError
from l2a.formats.unlabelled import below_folder
from l2a.media import Frames, read_frames, sample_indices, write_video
from l2a.videos import Video

Bool = NDArray[np.bool_]

SETTINGS = PrepareSettings(inpainter="none", max_gap=12, min_speck=0.0)
HEIGHT, WIDTH, COUNT = 24, 32, 6


def actor(count: int = COUNT) -> Bool:
    """A box that moves to the right by a pixel a frame: no two frames are alike."""
    masks = np.zeros((count, HEIGHT, WIDTH), np.bool_)
    for t in range(count):
        masks[t, 6:18, 3 + t : 11 + t] = True
    return masks


def video(video_id: str = "run/a.mp4", root: Path = Path("/data")) -> Video:
    return Video(video_id, root / video_id, video_id.split("/")[-2], "g", "train")


def frames(count: int = COUNT, total: int | None = None) -> Frames:
    """As decoded: all of `total` frames, or as many as `count` chosen uniformly in time."""
    chosen = None if total is None else sample_indices(np.arange(total) / 25, count)
    pixels = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    return Frames(pixels, np.arange(count) / 25, 25.0, numbers=chosen, num_decoded=total)


def text_of(mask: Bool) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": encode(mask[None])[0]}


def bytes_of(mask: Bool) -> dict[str, Any]:
    return {**text_of(mask), "counts": repr(str(text_of(mask)["counts"]).encode())}


def list_of(mask: Bool) -> dict[str, Any]:
    flat = mask.ravel(order="F").astype(int)
    changes = np.flatnonzero(np.diff(flat, prepend=0))
    return {**text_of(mask), "counts": np.diff(changes, prepend=0, append=len(flat)).tolist()}


def polygon_of(mask: Bool) -> list[list[float]]:
    """The corners of a box, as pycocotools fills them: pixel edges."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return [[float(side) for corner in corners for side in corner]]


def document(masks: Bool | None = None, form: Any = text_of, **video_fields: Any) -> dict[str, Any]:
    """A YouTube-VIS document of run/a.mp4, with one person in it."""
    given_masks = actor() if masks is None else masks
    row = {"id": 1, "file_name": "run/a.mp4", "height": HEIGHT, "width": WIDTH}
    row |= {"length": len(given_masks), **video_fields}
    segmentations = [form(mask) if mask.any() else None for mask in given_masks]
    return {
        "videos": [{key: value for key, value in row.items() if value is not None}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"id": 1, "video_id": 1, "category_id": 1, "segmentations": segmentations}],
    }


def images(names: list[str], masks: Bool, form: Any = text_of, **fields: Any) -> dict[str, Any]:
    """A COCO document whose images are the frames of a video, in another order."""
    listed = [
        {"id": 10 + n, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for n, name in enumerate(names)
    ]
    annotations = [
        {"id": n, "image_id": 10 + n, "category_id": 1, "segmentation": form(mask), **fields}
        for n, mask in enumerate(masks)
        if mask.any()
    ]
    return {
        "images": listed[::-1],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": annotations,
    }


def written(folder: Path, value: object) -> MaskFiles:
    (folder / "masks.json").write_text(json.dumps(value), encoding="utf-8")
    return MaskFiles(folder / "masks.json")


def union(masks: VideoMasks) -> Bool:
    return masks.union(replace(SETTINGS, max_gap=0))


def write_pictures(
    folder: Path, labels: NDArray[Any], palette: bool = True, start: int = 0
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, values in enumerate(labels.astype(np.uint8), start):
        picture = Image.fromarray(values)
        if palette:
            picture = picture.convert("P")
            picture.putdata(values.ravel().tolist())
            picture.putpalette(list(range(256)) * 3)
        picture.save(folder / f"{number:05}.png")


# What other programs write


@pytest.mark.parametrize("form", [text_of, bytes_of, list_of, polygon_of])
def test_every_form_of_a_mask_gives_the_same_masks(tmp_path: Path, form: Any) -> None:
    masks = written(tmp_path, document(form=form))(video(), frames())
    np.testing.assert_array_equal(union(masks), actor())
    assert [(i.category, i.score) for i in masks.instances] == [("person", 1.0)]


def test_several_polygons_and_a_flat_one_are_filled(tmp_path: Path) -> None:
    both = document(form=lambda mask: [*polygon_of(mask), [0, 20, 4, 20, 4, 24, 0, 24]])
    expected = actor()
    expected[:, 20:24, 0:4] = True
    np.testing.assert_array_equal(union(written(tmp_path, both)(video(), frames())), expected)
    flat = document(form=lambda mask: polygon_of(mask)[0])
    np.testing.assert_array_equal(union(written(tmp_path, flat)(video(), frames())), actor())


def test_real_youtube_vis_names_frames_and_not_videos(tmp_path: Path) -> None:
    names = [f"run/a/{t:05}.jpg" for t in range(COUNT)]
    segmenter = written(tmp_path, document(file_name=None, file_names=names))
    np.testing.assert_array_equal(union(segmenter(video(), frames())), actor())


@pytest.mark.parametrize("first", [0, 1])
def test_frames_that_are_named_by_number_are_taken_by_it(tmp_path: Path, first: int) -> None:
    chosen = [0, 2, 3, 5]
    names = [f"JPEGImages/a/{t + first:05}.jpg" for t in chosen]
    segmenter = written(tmp_path, document(actor()[chosen], file_name=None, file_names=names))
    found = union(segmenter(video(), frames()))
    np.testing.assert_array_equal(found[chosen], actor()[chosen])
    assert not found[[1, 4]].any()


def test_results_have_their_names_from_the_file_beside_them(tmp_path: Path) -> None:
    whole = document()
    results = [{**whole["annotations"][0], "score": 0.75}]
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match=r"list of results, which do not name.*there is no file"):
        MaskFiles(tmp_path / "results.json").check([video()])
    (tmp_path / "instances.json").write_text(json.dumps({**whole, "annotations": None}))
    masks = MaskFiles(tmp_path)(video(), frames())
    np.testing.assert_array_equal(union(masks), actor())
    assert masks.instances[0].score == 0.75
    (tmp_path / "instances.json").write_text(json.dumps(whole))
    with pytest.raises(InputError, match=r"results\.json and instances\.json both have masks"):
        MaskFiles(tmp_path).check([video()])


@pytest.mark.parametrize(
    "name", ["run/a/{:05}.jpg", "a/frame_{:06}.png", "a_{:04}.jpg", "images/a/img{}.jpg"]
)
def test_images_of_coco_are_frames(tmp_path: Path, name: str) -> None:
    names = [name.format(8 + t) for t in range(COUNT)]  # "8" comes after "10" as a text
    for fields in ({}, {"track_id": 7}, {"attributes": {"track_id": 3}}):
        value = images(names, actor(), **fields)
        # What begins at number 8 begins at frame 8.
        masks = written(tmp_path, value)(video(), frames(8 + COUNT))
        assert len(masks.instances) == 1
        np.testing.assert_array_equal(union(masks)[8:], actor())
        assert not union(masks)[:8].any()


def test_images_may_name_their_videos_apart(tmp_path: Path) -> None:
    value = images([f"{t}.jpg" for t in range(COUNT)], actor(), instance_id=1, score=0.5)
    for row in value["images"]:
        row |= {"video_id": 3, "frame_id": int(row["file_name"].split(".")[0])}
    value["videos"] = [{"id": 3, "name": "run/a"}]
    masks = written(tmp_path, value)(video(), frames())
    np.testing.assert_array_equal(union(masks), actor())
    assert masks.instances[0].score == 0.5


def test_parts_of_a_track_in_one_frame_are_one_mask(tmp_path: Path) -> None:
    value = images([f"a/{t}.jpg" for t in range(COUNT)], actor(), track_id=1)
    corner = np.zeros((HEIGHT, WIDTH), np.bool_)
    corner[:3, :3] = True
    value["annotations"].append(
        {"id": 99, "image_id": 10, "category_id": 1, "segmentation": text_of(corner), "track_id": 1}
    )
    (instance,) = (masks := written(tmp_path, value)(video(), frames())).instances
    assert all(instance.rles)
    np.testing.assert_array_equal(union(masks)[0], actor()[0] | corner)


@pytest.mark.parametrize("palette", [True, False])
def test_pictures_hold_numbered_instances_and_void(tmp_path: Path, palette: bool) -> None:
    labels = actor().astype(np.uint8) * 3
    labels[:, 20:, :] = 9
    labels[:, :2, :] = 255  # DAVIS: not to be judged
    write_pictures(tmp_path / "Annotations" / "480p" / "a", labels, palette)
    masks = MaskFiles(tmp_path)(video(), frames())
    assert [i.category for i in masks.instances] == ["object"] * 2
    for instance, value in zip(masks.instances, (3, 9), strict=True):
        alone = replace(masks, instances=(instance,))
        np.testing.assert_array_equal(union(alone), labels == value)


def columns(*values: int) -> NDArray[np.uint8]:
    """Pictures in which each value has some columns of its own."""
    parts = np.arange(WIDTH) * len(values) // WIDTH
    row = np.array(values, np.uint8)[parts]
    return np.broadcast_to(row, (COUNT, HEIGHT, WIDTH)).copy()


def disc(brightest: int, radius: float = 7.0, softness: float = 1.0) -> NDArray[np.uint8]:
    """Pictures of a disc with a linear edge, `softness` pixels wide."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = radius - np.hypot(rows - 11.5, columns - 15.5)
    levels = np.round(np.clip(inside / softness + 0.5, 0, 1) * brightest).astype(np.uint8)
    return np.broadcast_to(levels, (COUNT, HEIGHT, WIDTH)).copy()


def resized() -> NDArray[np.uint8]:
    """Pictures of a box that was resized: three levels around it."""
    levels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for inset, level in enumerate((64, 128, 191, 255)):
        levels[3 + inset : 21 - inset, 5 + inset : 27 - inset] = level
    return np.broadcast_to(levels, (COUNT, HEIGHT, WIDTH)).copy()


@pytest.mark.parametrize(
    ("pictures", "level", "threshold"),
    [
        (resized(), r"191 below 255", 128),
        (disc(255), r"\d+ below 255", 128),
        (disc(254), r"\d+ below 254", 128),
        (disc(200), r"\d+ below 200", 101),
        (disc(255, softness=5), r"\d+ below 255", 128),
        (disc(255, radius=1, softness=3), r"\d+ below \d+", r"\d+"),
    ],
)
def test_grey_masks_with_soft_edges_are_refused(
    tmp_path: Path, clips: list[Video], pictures: NDArray[np.uint8], level: str, threshold: object
) -> None:
    for clip in clips:
        write_pictures(tmp_path / "masks" / clip.path.stem, pictures, False)
        write_clip(clip.path, COUNT)
    with pytest.raises(
        InputError,
        match=rf"masks damaged: ./00000\.png has soft edges, with grey levels such as {level}: save"
        rf" masks without smoothing, thresholded at {threshold}, or instances by number, in a"
        r" palette or as 1 to 100; write them again",
    ):
        MaskFiles(tmp_path / "masks").check(clips)


def squares(*values: int, side: int = 8) -> NDArray[np.uint8]:
    """Pictures of squares in a row, each with a value of its own, with nothing between."""
    labels = np.zeros((COUNT, HEIGHT, WIDTH), np.uint8)
    for place, value in enumerate(values):
        labels[:, 4 : 4 + side, 2 + side * place : 2 + side * (place + 1)] = value
    return labels


def with_leash() -> NDArray[np.uint8]:
    """A large instance, and one a pixel wide that begins at it."""
    labels = squares(113)
    labels[:, 8, 10:30] = 75
    return labels


@pytest.mark.parametrize(
    ("labels", "instances"),
    [
        (squares(38, 75, 113), [38, 75, 113]),
        (squares(38, 75, 113, side=2), [38, 75, 113]),
        (squares(113, 75, 38, 255, side=7), [38, 75, 113]),
        (with_leash(), [75, 113]),
        (columns(0, 64, 128, 191, 255), [64, 128, 191]),
    ],
)
def test_grey_pictures_of_numbered_instances_are_read(
    tmp_path: Path, labels: NDArray[np.uint8], instances: list[int]
) -> None:
    write_pictures(tmp_path / "a", labels, False)
    masks = MaskFiles(tmp_path)(video(), frames())
    for instance, value in zip(masks.instances, instances, strict=True):
        alone = replace(masks, instances=(instance,))
        np.testing.assert_array_equal(union(alone), labels == value)


@pytest.mark.parametrize(
    ("values", "palette", "instances"),
    [((0, 1, 2, 255), False, [1, 2]), ((0, 100, 255), False, [100]), ((0, 128), False, [128]),
     ((0, 64, 128, 191, 255), True, [64, 128, 191])],
)  # fmt: skip
def test_numbers_of_instances_are_no_soft_edges(
    tmp_path: Path, values: tuple[int, ...], palette: bool, instances: list[int]
) -> None:
    labels = columns(*values)
    write_pictures(tmp_path / "a", labels, palette)
    masks = MaskFiles(tmp_path)(video(), frames())
    for instance, value in zip(masks.instances, instances, strict=True):
        alone = replace(masks, instances=(instance,))
        np.testing.assert_array_equal(union(alone), labels == value)


@pytest.mark.parametrize("value", [1, 255])
def test_a_folder_for_each_instance(tmp_path: Path, value: int) -> None:
    other = np.roll(actor(), 4, axis=1)
    write_pictures(tmp_path / "a" / "000", actor() * value, value == 1)
    write_pictures(tmp_path / "a" / "001", other[:4] * value, value == 1)
    masks = MaskFiles(tmp_path)(video(), frames())
    one, two = (union(replace(masks, instances=(i,))) for i in masks.instances)
    np.testing.assert_array_equal(one, actor())
    np.testing.assert_array_equal(two[:4], other[:4])
    assert not two[4:].any()


def test_a_number_may_be_a_video_or_an_instance_and_names_decide(tmp_path: Path) -> None:
    write_pictures(tmp_path / "run" / "001", actor() * 1)
    write_pictures(tmp_path / "run" / "002", actor()[::-1] * 1)
    segmenter = MaskFiles(tmp_path)
    np.testing.assert_array_equal(union(segmenter(video("run/001.mp4"), frames())), actor())
    assert len(segmenter(video("sport/run.mp4"), frames()).instances) == 2


def test_grey_pictures_in_colour_and_of_few_bits_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for t, mask in enumerate(actor()):
        picture = Image.fromarray(mask)
        if t % 2:
            picture = Image.fromarray(np.repeat(mask[..., None] * np.uint8(1), 3, axis=2))
        picture.save(folder / f"{t}.png")
    np.testing.assert_array_equal(union(MaskFiles(tmp_path)(video(), frames())), actor())


def test_a_folder_with_gaps_leaves_those_frames_without_masks(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", actor(), start=1)
    (tmp_path / "a" / "00003.png").unlink()
    found = union(MaskFiles(tmp_path)(video(), frames()))
    assert found.any(axis=(1, 2)).tolist() == [True, True, False, True, True, True]
    np.testing.assert_array_equal(found[3:], actor()[3:])


def test_what_a_folder_is_must_be_clear(tmp_path: Path) -> None:
    write_pictures(tmp_path / "loose", actor())
    with pytest.raises(InputError, match="PNG files lie in it directly"):
        MaskFiles(tmp_path / "loose").check([video()])
    written(tmp_path, document())
    with pytest.raises(InputError, match=r"holds both masks\.json and loose/00000\.png"):
        MaskFiles(tmp_path)
    write_pictures(tmp_path / "two" / "a", actor())
    write_pictures(tmp_path / "two" / "a" / "001", actor())
    with pytest.raises(InputError, match=r"PNG files lie both in a and in a/001"):
        MaskFiles(tmp_path / "two").check([video()])


def test_a_contact_sheet_beside_the_files_is_no_mask(tmp_path: Path) -> None:
    segmenter = written(tmp_path, document())
    Image.new("L", (8, 8)).save(tmp_path / "sheet.png")
    assert MaskFiles(tmp_path)(video(), frames()) == segmenter(video(), frames())


def test_the_identity_of_pictures_follows_their_contents_and_not_their_place(
    tmp_path: Path,
) -> None:
    for place in ("one", "deep/two", "three"):
        write_pictures(tmp_path / place / "a", actor())
    write_pictures(tmp_path / "three" / "a", actor()[::-1])
    one, two, three = (MaskFiles(tmp_path / p).identity for p in ("one", "deep/two", "three"))
    assert one == two != three
    (tmp_path / "one" / "a").rename(tmp_path / "one" / "b")
    assert MaskFiles(tmp_path / "one").identity != two


BOXES = st.lists(
    st.none()
    | st.tuples(
        st.integers(0, HEIGHT - 3), st.integers(0, WIDTH - 3), st.integers(2, 9), st.integers(2, 9)
    ),
    min_size=1,
    max_size=5,
)


@given(BOXES)
def test_all_kinds_of_files_give_the_same_masks(tmp_path: Path, boxes: list[Any]) -> None:
    masks = np.zeros((len(boxes), HEIGHT, WIDTH), np.bool_)
    for mask, box in zip(masks, boxes, strict=True):
        if box:
            top, left, height, width = box
            mask[top : top + height, left : left + width] = True
    found = []
    for form in (text_of, bytes_of, list_of, polygon_of):
        found.append(written(tmp_path, document(masks, form)))
        names = [f"a/{t}.jpg" for t in range(len(masks))]
        found.append(written(tmp_path, images(names, masks, form, track_id=1)))
    place = tmp_path / f"{abs(hash(masks.tobytes()))}"
    write_pictures(place / "a", masks)
    found.append(MaskFiles(place))
    for segmenter in found:
        given_masks = segmenter(video(), frames(len(masks)))
        np.testing.assert_array_equal(union(given_masks), masks)


# Whose masks they are


@pytest.mark.parametrize(
    "name",
    ["run/a.mp4", "videos/run/a.mp4", "run/a", "run/a.avi", "a.mp4", "a", "/mnt/x/run/a.mp4",
     "run\\a.mp4", "JPEGImages/a", "train/run/a.mp4"],
)  # fmt: skip
def test_names_are_compared_from_their_ends(tmp_path: Path, name: str) -> None:
    masks = written(tmp_path, document(file_name=name))(video(), frames())
    np.testing.assert_array_equal(union(masks), actor())


@pytest.mark.parametrize("name", ["walk/a.mp4", "run/aa.mp4", "run/a.b.mp4", "a/run", "A.mp4"])
def test_names_of_other_videos_do_not_fit(tmp_path: Path, name: str) -> None:
    masks = written(tmp_path, document(file_name=name))(video(), frames())
    assert masks.note == f"no masks for it: masks.json names others, such as {name}"


def test_names_are_compared_after_normalisation(tmp_path: Path) -> None:
    segmenter = written(tmp_path, document(file_name="run/cafe\u0301.mp4"))
    assert segmenter(video("run/caf\u00e9.mp4"), frames()).instances


def test_an_unlabelled_video_elsewhere_is_looked_for_in_its_own_folder(tmp_path: Path) -> None:
    folder = tmp_path / "more"
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "a.mp4").touch()
    (folder / "in").mkdir(parents=True)
    for name in ("a.mp4", "in/b.mp4"):
        (folder / name).touch()
        segmenter = written(tmp_path, document(file_name=Path(name).stem))
        clip = Video(f".unlabelled/{name}", folder / name, "", "g", "unlabelled")
        assert not segmenter(clip, frames()).note
    clip = Video(".unlabelled/a.mp4", folder / "a.mp4", "", "g", "unlabelled")
    of_another = written(tmp_path, document(file_name="walk/a.mp4"))(clip, frames())
    assert of_another.note.startswith("no masks for it")
    assert below_folder("..unlabelled/in/b.mp4") == "in/b.mp4"
    assert below_folder("..else/b.mp4") == "..else/b.mp4"


def test_a_name_that_fits_two_videos_is_used_for_none(tmp_path: Path) -> None:
    for name in ("run/a.mp4", "walk/a.mp4", "walk/b.mp4"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    segmenter = written(tmp_path, document(file_name="a.mp4"))
    masks = segmenter(video("run/a.mp4", tmp_path / "data"), frames())
    assert masks.note == (
        "masks with an ambiguous name: in masks.json, a.mp4 may also be meant for walk/a.mp4"
    )
    with pytest.raises(InputError, match=r"ambiguous: a\.mp4 may also be meant for walk/a\.mp4"):
        segmenter.check([video("run/a.mp4", tmp_path / "data")])
    segmenter = written(tmp_path, document(file_name="b"))
    assert segmenter(video("walk/b.mp4", tmp_path / "data"), frames()).instances


def test_two_names_for_one_video_are_used_for_none(tmp_path: Path) -> None:
    value = document(file_name="run/a.avi")
    value["videos"].append({**value["videos"][0], "id": 2, "file_name": "run/a.mov"})
    note = written(tmp_path, value)(video(), frames()).note
    assert note.endswith("in masks.json, run/a.avi and run/a.mov may both be meant")
    value["videos"].append({**value["videos"][0], "id": 3, "file_name": "run/a.mp4"})
    assert "no instance" in written(tmp_path, value)(video(), frames()).note  # the exact one


def test_names_that_fit_nothing_are_shown_beside_those_expected(tmp_path: Path) -> None:
    segmenter = written(tmp_path, document(file_name="0043f083b5/00000"))
    with pytest.raises(
        InputError,
        match=r"masks\.json has masks for none of these videos: it names videos such as"
        r" 0043f083b5/00000, where run/a\.mp4 is expected; rename one of them\.",
    ):
        segmenter.check([video()])


# Which frames they are of


def test_masks_follow_the_frames_that_were_decoded_however_uneven_their_times(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.choice([0.01, 0.04, 0.3], 60))
    chosen = np.unique(sample_indices(times, 20))
    pixels = np.zeros((len(chosen), HEIGHT, WIDTH, 3), np.uint8)
    source = Frames(pixels, times[chosen], 25.0, numbers=chosen, num_decoded=60)
    numbered = np.arange(HEIGHT * WIDTH)[None] <= np.arange(60)[:, None]
    masks = written(tmp_path, document(numbered.reshape(60, HEIGHT, WIDTH)))(video(), source)
    assert union(masks).sum(axis=(1, 2)).tolist() == (chosen + 1).tolist()


def places(count: int, total: int, *, numbers: Any = None, kept: int | None = None) -> Any:
    """For each decoded frame its mask, the step, and for how many frames the last mask is held;
    None when lengths do not fit."""
    found = time_masks(frames(kept or total, total if kept else None), count, numbers, 0)
    return found and (found.masks.tolist(), found.step, found.hold)


def test_as_many_masks_as_frames_belong_to_them() -> None:
    assert places(4, 4) == ([0, 1, 2, 3], 1, 0)
    assert places(4, 6) == ([0, 1, 2, 3, 3, 3], 1, 0)  # decoders disagree about the end
    assert places(6, 4) == ([0, 1, 2, 3], 1, 0)
    assert places(9, 9, kept=3) == ([1, 4, 7], 1, 0)
    assert places(3, 9, kept=3) == ([0, 1, 2], 1, 0)  # masks made of the kept frames


@pytest.mark.parametrize("count", [1, 4, 7, 9, 11, 27, 48])
def test_lengths_that_nothing_explains_are_refused(count: int) -> None:
    assert places(count, 24) is None


def test_every_nth_frame_is_known_by_the_length() -> None:
    found = places(5, 24)
    assert found == ([0, *[-1] * 4, 1, *[-1] * 4, 2, *[-1] * 4, 3, *[-1] * 4, 4, -1, -1, -1], 5, 3)


def test_every_nth_frame_of_a_thinned_video_goes_to_the_nearest_kept() -> None:
    # Kept of 24: 1, 4, 7, ..., 22. Masks of 0, 5, 10, 15, 20: 1, 4, 10, 16, 19.
    assert places(5, 24, kept=8) == ([0, 1, -1, 2, -1, 3, 4, -1], 5, 1)


def test_numbers_that_leave_the_video_are_refused_unless_there_is_one_for_each_frame() -> None:
    assert places(3, 20, numbers=(0, 10, 40)) is None
    for step in (2, 5):  # a video made of these frames
        assert places(3, 3, numbers=(0, step, 2 * step)) == ([0, 1, 2], 1, 0)


def write_clip(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((count, HEIGHT, WIDTH, 3), 90, np.uint8)
    pixels[..., 0] = np.arange(WIDTH) * 5
    pixels[actor(count)] = (250, 60, 60)
    write_video(path, pixels, 25.0)


@pytest.fixture
def clips(tmp_path: Path) -> list[Video]:
    root = tmp_path / "data"
    videos = [video(f"run/{name}.mp4", root) for name in "abcd"]
    for clip in videos:
        write_clip(clip.path, 12)
    return videos


def named(clips: list[Video], masks: Bool, **fields: Any) -> dict[str, Any]:
    """One document for all clips, each with the same masks."""
    value = document(masks)
    (row,), (annotation,) = value["videos"], value["annotations"]
    value["videos"] = [
        {**row, "id": n, "file_name": clip.id, **fields} for n, clip in enumerate(clips)
    ]
    value["annotations"] = [{**annotation, "id": n, "video_id": n} for n in range(len(clips))]
    return value


def test_more_masks_than_frames_are_refused_before_any_work(
    tmp_path: Path, clips: list[Video]
) -> None:
    segmenter = written(tmp_path, named(clips, np.repeat(actor(12), 2, axis=0)))
    with pytest.raises(
        InputError,
        match=r"does not fit the videos that were tried, such as run/.\.mp4: masks of another"
        r" length: they are of 24 frames and the video has 12; make masks of these videos",
    ):
        segmenter.check(clips)


def test_one_video_with_too_many_masks_is_unfit_and_the_summary_says_so(
    tmp_path: Path, clips: list[Video]
) -> None:
    write_clip(clips[1].path, 5)
    written(tmp_path, named(clips, actor(12)))
    settings = replace(SETTINGS, segmenter=f"masks:{tmp_path / 'masks.json'}")
    report = LayerMaker(tmp_path / "store", settings).prepare(clips)
    assert unfit_counts(report.records) == (
        "1 as foreground (masks of another length: 1, such as run/b.mp4: they are of 12 frames and"
        " the video has 5); 1 as background (masks of another length: 1)"
    )


@pytest.mark.parametrize("fields", [{"height": WIDTH, "width": HEIGHT}, {"width": 10**9}])
def test_a_size_that_is_not_the_masks_own_is_refused(
    tmp_path: Path, clips: list[Video], fields: dict[str, int]
) -> None:
    segmenter = written(tmp_path, named(clips, actor(12), **fields))
    with pytest.raises(InputError, match=r"masks damaged: .*size"):
        segmenter.check(clips)


def test_masks_of_swapped_sides_are_refused(tmp_path: Path, clips: list[Video]) -> None:
    turned = actor(12).transpose(0, 2, 1)
    value = named(clips, turned, height=WIDTH, width=HEIGHT)
    with pytest.raises(InputError, match=r"another shape: they are 32x24 and the video 24x32"):
        written(tmp_path, value).check(clips)


def test_one_frame_in_n_is_said_and_filled(
    tmp_path: Path, clips: list[Video], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="l2a")
    segmenter = written(tmp_path, named(clips, actor(12)[::3]))
    segmenter.check(clips)
    said = caplog.text
    assert "is taken to have masks of one frame in 3, the first among them, as for run/" in said
    assert "(4 for 12 frames); --max-gap fills those between where it is 2 or more" in said
    masks = segmenter(clips[0], read_frames(clips[0].path))
    np.testing.assert_array_equal(masks.union(SETTINGS)[:10], actor(12)[:10])
    assert masks.union(SETTINGS)[10:].any(axis=(1, 2)).all()


def keyed(tmp_path: Path, total: int, step: int, **settings: Any) -> Any:
    """The record of a video of `total` frames of which every step-th has a PNG mask."""
    clip = video("run/a.mp4", tmp_path / "data")
    write_clip(clip.path, total)
    write_pictures(tmp_path / "masks" / "a", actor(total), start=0)
    for number in set(range(total)) - set(range(0, total, step)):
        (tmp_path / "masks" / "a" / f"{number:05}.png").unlink()
    asked = replace(SETTINGS, segmenter=f"masks:{tmp_path / 'masks'}", **settings)
    (record,) = LayerMaker(tmp_path / "store", asked).prepare([clip]).records
    return record


def test_a_background_of_which_few_frames_have_masks_keeps_its_actor_and_is_unfit(
    tmp_path: Path,
) -> None:
    # Masks of 0, 7, 14 and 21 of 24 frames: of six between each two, and two at the end, none.
    record = keyed(tmp_path, 24, 7, max_gap=5)
    assert (
        record.background_unfit
        == record.foreground_unfit
        == (
            "too few frames with masks: masks of only 4 of its 24 frames; make masks of more,"
            " or --max-gap 6"
        )
    )
    assert keyed(tmp_path, 24, 7, max_gap=6).background_unfit == ""


@pytest.mark.parametrize(
    ("numbers", "max_gap", "remedy"),
    [
        # Five frames between, and of the 13 at the end five that the last mask can stand for.
        ((0, 6), 4, ""),
        # The second mask lies behind the end: the first can stand for all 19 others.
        ((0, 21), 12, ", or --max-gap 19"),
        ((0, 21), 19, None),
    ],
)
def test_a_larger_gap_is_named_where_it_is_enough(
    tmp_path: Path, numbers: tuple[int, ...], max_gap: int, remedy: str | None
) -> None:
    clip = video("run/a.mp4", tmp_path / "data")
    write_clip(clip.path, 20)
    for number in numbers:
        write_pictures(tmp_path / "masks" / "a", actor(1), start=number)
    asked = replace(SETTINGS, segmenter=f"masks:{tmp_path / 'masks'}", max_gap=max_gap)
    (record,) = LayerMaker(tmp_path / "store", asked).prepare([clip]).records
    had = 2 if numbers[1] < 20 else 1
    assert record.background_unfit == (
        ""
        if remedy is None
        else f"too few frames with masks: masks of only {had} of its 20 frames; make masks of"
        f" more{remedy}"
    )


def written_before(store: Path) -> None:
    """Make a store of one video what the version before wrote, which knew no unmasked frames."""
    (path,) = (store / "records").iterdir()
    record = json.loads(path.read_text())
    (raw,) = (store / "masks").glob("*/*.json")
    masks = json.loads(raw.read_text())
    del record["unmasked"], masks["info"]["unmasked"]
    raw.write_text(json.dumps(masks))
    record |= {"background_unfit": "", "masks_bytes": raw.stat().st_size}
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("few", [True, False])
def test_layers_of_a_version_that_took_frames_without_masks_for_empty_are_made_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    clip = video("run/a.mp4", tmp_path / "data")
    write_clip(clip.path, 20)
    write_pictures(tmp_path / "masks" / "a", actor(20)[: 14 if few else 20])
    asked = replace(SETTINGS, segmenter=f"masks:{tmp_path / 'masks'}")
    reads: list[str] = []
    read = MaskFiles.__call__

    def counted(self: MaskFiles, clip: Video, frames: Frames) -> VideoMasks:
        reads.append(clip.id)
        return read(self, clip, frames)

    monkeypatch.setattr(MaskFiles, "__call__", counted)
    (new,) = LayerMaker(tmp_path / "store", asked).prepare([clip]).records
    assert new.unmasked == (6 if few else 0)
    written_before(tmp_path / "store")
    maker = LayerMaker(tmp_path / "store", asked)
    # A run that only reads goes on.
    assert maker.record(clip.id).background_unfit == ""
    assert maker.load(clip).mask.shape[0] == 20
    assert reads == [clip.id]
    report = maker.prepare([clip])
    # The masks are read again only where a frame has none.
    assert reads == [clip.id] * (2 if few else 1)
    assert report.made == 1
    assert replace(report.records[0], masks_bytes=0) == replace(new, masks_bytes=0)
    assert bool(report.records[0].background_unfit) == few
    assert maker.prepare([clip]).reused == 1


def test_masks_of_every_fifth_frame_empty_a_background(tmp_path: Path) -> None:
    record = keyed(tmp_path, 23, 5)
    assert record.background_unfit == record.foreground_unfit == ""
    assert record.mask_share == 1


def test_masks_of_the_first_part_alone_leave_the_actor_in_the_rest(tmp_path: Path) -> None:
    clip = video("run/a.mp4", tmp_path / "data")
    write_clip(clip.path, 20)
    write_pictures(tmp_path / "masks" / "a", actor(20)[:14])
    asked = replace(SETTINGS, segmenter=f"masks:{tmp_path / 'masks'}")
    (record,) = LayerMaker(tmp_path / "store", asked).prepare([clip]).records
    assert record.background_unfit == (
        "too few frames with masks: masks of only 14 of its 20 frames; make masks of more"
    )
    # A frame of which there is a mask, without an actor in it, is no frame without a mask.
    write_pictures(tmp_path / "masks" / "a", actor(20) & (np.arange(20) < 14)[:, None, None])
    (record,) = LayerMaker(tmp_path / "store", asked).prepare([clip]).records
    assert record.background_unfit == ""
    assert record.foreground_unfit == "mask too seldom: a mask in only 70% of the frames"


def test_the_masks_that_a_store_holds_say_which_frames_they_are_of(tmp_path: Path) -> None:
    keyed(tmp_path, 24, 7)
    stored = next((tmp_path / "store" / "masks").iterdir())
    source = read_frames(tmp_path / "data" / "run" / "a.mp4")
    clip = video("run/a.mp4", tmp_path / "data")
    again = MaskFiles(stored)(clip, source)
    assert again == replace(MaskFiles(tmp_path / "masks")(clip, source))
    assert again.unmasked.frames == tuple(n for n in range(24) if n % 7)
    assert again.unmasked.hold == 2


@pytest.mark.parametrize("tracks", [{"track_id": 1}, {}])
def test_the_last_mask_is_held_no_longer_than_gaps_are_filled(
    tmp_path: Path, tracks: dict[str, int]
) -> None:
    value = images([f"a/{t}.jpg" for t in range(0, 20, 4)], actor(20)[::4], **tracks)
    masks = written(tmp_path, value)(video(), frames(20))
    (instance,) = masks.instances
    assert [t for t, rle in enumerate(instance.rles) if rle] == [0, 4, 8, 12, 16]
    shown = {gap: masks.union(replace(SETTINGS, max_gap=gap)).any(axis=(1, 2)) for gap in (2, 3)}
    assert np.flatnonzero(shown[2]).tolist() == [0, 4, 8, 12, 16, 17, 18]
    assert shown[3].all()
    assert np.flatnonzero(~masks.lost(shown[2], 2)).tolist() == [0, 4, 8, 12, 16, 17, 18]
    assert not masks.lost(shown[3], 3).any()


def test_a_length_that_means_another_step_for_each_video_is_refused(
    tmp_path: Path, clips: list[Video]
) -> None:
    write_clip(clips[3].path, 24)
    write_clip(clips[2].path, 24)
    segmenter = written(tmp_path, named(clips, actor(12)[:8]))
    value = named(clips, actor(12)[:6])
    with pytest.raises(InputError, match=r"one frame in 2 of .* but one frame in .*file_names"):
        segmenter = written(tmp_path, value)
        segmenter.check(clips)


def test_instances_without_a_category_are_objects_and_no_persons(
    tmp_path: Path, clips: list[Video], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="l2a")
    written(tmp_path, {**named(clips, actor(12)), "categories": []})
    settings = replace(SETTINGS, segmenter=f"masks:{tmp_path / 'masks.json'}", humans_only=True)
    report = LayerMaker(tmp_path / "store", settings).prepare(clips)
    said = caplog.text
    assert said.count("they count as 'object', which --humans-only leaves out") == 1
    assert report.records[0].foreground_unfit == (
        "no mask in any frame: humans_only keeps only persons, and this is object"
    )


def test_what_keeps_every_mask_out_is_named() -> None:
    def why(instance: Instance, **settings: Any) -> str:
        masks = VideoMasks(HEIGHT, WIDTH, COUNT, (instance,))
        return masks.why_nothing_passes(replace(SETTINGS, **settings))

    person = Instance("person", 0.25, encode(actor()))
    assert why(person) == "its best score is 0.25, and score_threshold 0.5"
    assert why(person, score_threshold=0.2) == ""
    assert why(Instance("person", 1.0, (None,) * COUNT)).startswith("its instances are seen in no")


def test_masks_much_larger_than_the_video_are_reduced_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = actor().repeat(4, axis=1).repeat(4, axis=2)
    value = document(large, height=4 * HEIGHT, width=4 * WIDTH)
    segmenter = written(tmp_path, value)
    assert segmenter(video(), frames()).height == 4 * HEIGHT
    monkeypatch.setattr("compositing.segmenters.mask_files.MOST_PIXELS", large.size - 1)
    masks = segmenter(video(), frames())
    assert (masks.height, masks.width) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(union(masks), actor())
