"""Mask files that are damaged, or made to do harm: one sentence, or that video alone is unfit.

No traceback, no hang, and no memory that is not needed.
"""

from __future__ import annotations

import json
import os
import struct
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compositing.records import ABSENT, DAMAGED, LENGTH, MASK_FILE_KINDS, SHAPE, reason_kind
from compositing.run_lengths import run_lengths
from compositing.segmenters import make_segmenter
from compositing.segmenters.mask_files import MaskFiles
from l2a.errors import InputError
from l2a.media import Frames, write_video
from l2a.videos import Video

HEIGHT, WIDTH, COUNT = 16, 24, 3
ONES: dict[str, Any] = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Video:
    path = tmp_path_factory.mktemp("data") / "run" / "a.mp4"
    path.parent.mkdir()
    write_video(path, np.full((COUNT, HEIGHT, WIDTH, 3), 90, np.uint8), 25.0)
    return Video("run/a.mp4", path, "run", "g", "train")


def frames() -> Frames:
    return Frames(np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8), np.arange(COUNT) / 25, 25.0)


def vis(**changes: Any) -> dict[str, Any]:
    """A sound document with some fields of its video, annotation or itself put in their place."""
    video = {"id": 1, "file_name": "run/a.mp4", "height": HEIGHT, "width": WIDTH, "length": COUNT}
    annotation = {"id": 1, "video_id": 1, "category_id": 1, "segmentations": [ONES] * COUNT}
    whole = {
        "videos": [video],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [annotation],
    }
    for key, value in changes.items():
        place = next((d for d in (whole, video, annotation) if key in d), annotation)
        place[key] = value
    return whole


def pixels(**changes: Any) -> dict[str, Any]:
    """The same as a COCO document of single images."""
    image = {"id": 1, "file_name": "run/a/0.png", "height": HEIGHT, "width": WIDTH}
    annotation = {"id": 5, "image_id": 1, "category_id": 1, "segmentation": ONES}
    whole = {
        "images": [image, {**image, "id": 2, "file_name": "run/a/1.png"},
                   {**image, "id": 3, "file_name": "run/a/2.png"}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [annotation],
    }  # fmt: skip
    for key, value in changes.items():
        place = next((d for d in (whole, image, annotation) if key in d), annotation)
        place[key] = value
    return whole


def outcome(path: Path, clip: Video) -> str:
    """The sentence that refuses the file, or the reason why the video is unfit."""
    started = time.process_time()
    tracemalloc.start()
    try:
        segmenter = make_segmenter(f"masks:{path}")
        assert segmenter.identity
        note = segmenter(clip, frames()).note
        if reason_kind(note) in MASK_FILE_KINDS:
            assert reason_kind(note) in note
        segmenter.check([clip])
    except InputError as error:
        note = str(error)
        assert note.endswith(".")
        assert "Traceback" not in note
        assert len(note) < 600
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert time.process_time() - started < 5
    assert peak < 2**26
    return note


def said_of(value: Any, tmp_path: Path, clip: Video) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    (tmp_path / "m.json").write_bytes(text)
    return outcome(tmp_path / "m.json", clip)


def test_the_sound_documents_are_read(tmp_path: Path, clip: Video) -> None:
    for value in (vis(), pixels()):
        assert said_of(value, tmp_path, clip) == ""
    for encoding in ("utf-8-sig", "utf-16", "utf-32-le"):
        assert said_of(json.dumps(vis()).encode(encoding), tmp_path, clip) == ""


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"videos": ' * 100_000, "nested too deeply"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b'{"videos": [], "annotations": [], "x": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"\x89PNG\r\n\x1a\n", "not valid JSON"),
        (b"{'videos': []}", "not valid JSON"),
        (None, "not a file of masks"),
        (3, "not a file of masks"),
        ({}, "neither 'videos' (YouTube-VIS) nor 'images' (COCO)"),
        ([], "a list of None, and not of results"),
        ([[1]], "a list of [1], and not of results"),
        ([{"video_id": 1}], "results, which do not name their videos"),
        ([{"image_id": 1}], "results, which do not name their images"),
        (vis(videos=None), "of the video 1, which it lacks"),
        (
            {"videos": [], "annotations": []},
            "names no video, such as run/a.mp4; give a file with masks.",
        ),
        (vis(videos=[None]), "'videos' holds None, where an object should be"),
        (vis(videos={"1": 2}), "'videos' is {'1': 2}, and not a list"),
        (vis(annotations=7), "'annotations' is 7, and not a list"),
        (vis(categories=[{"id": 1}]), "a category's name is None, and not a text"),
        (vis(categories=[{"id": 1, "name": "a"}] * 2), "the category id 1 is there 2 times"),
        (vis(video_id=[1]), "'video_id' is [1], and not a number or a name"),
        (vis(video_id=4), "an annotation is of the video 4, which it lacks"),
        (vis(file_name=None), "a video's 'file_name' is None"),
        (vis(file_name=5), "a video's 'file_name' is 5"),
        (vis(file_name="  "), "a video's 'file_name' is '  '"),
        (vis(file_name="\ud800\x1b[31m/b.mp4"), "such as '\\ud800\\x1b[31m/b.mp4', where"),
        (
            vis(videos=[vis()["videos"][0]] * 2),
            "the video id 1 is there 2 times, where one is expected",
        ),
        (
            vis(videos=[vis()["videos"][0], {**vis()["videos"][0], "id": 2}]),
            "the video 'run/a.mp4' is there 2 times, where one is expected",
        ),
        (vis(annotations=vis()["annotations"] * 2), "the annotation id 1 is there 2 times"),
        (pixels(images=[pixels()["images"][0]] * 2), "the image id 1 is there 2 times"),
        (pixels(image_id=9), "an annotation is of the image 9, which it lacks"),
        (pixels(file_name=None), "an image's 'file_name' is None"),
    ],
)
def test_what_is_wrong_as_a_whole_is_refused(
    value: Any, sentence: str, tmp_path: Path, clip: Video
) -> None:
    assert sentence in said_of(value, tmp_path, clip)


FAR = [[-1e9, 0, 1e9, 0, 1e9, 1e9]]


@pytest.mark.parametrize(
    ("value", "kind", "sentence"),
    [
        (vis(score=9 * 10**300), DAMAGED, "annotation 1 has the score 9000"),
        (vis(score=10**400), DAMAGED, "which must lie in 0..1"),
        (vis(score=95), DAMAGED, "annotation 1 has the score 95, which must lie in 0..1"),
        (vis(score=-0.1), DAMAGED, "the score -0.1"),
        (vis(score=float("nan")), DAMAGED, "the score nan"),
        (vis(score=float("inf")), DAMAGED, "the score inf"),
        (vis(score="0.9"), DAMAGED, "the score '0.9'"),
        (vis(score=True), DAMAGED, "the score True"),
        (vis(scores=[0.5]), DAMAGED, "annotation 1 has 1 scores, but the video 3 frames"),
        (vis(scores=[0.5, 0.5, float("nan")]), DAMAGED, "the score nan"),
        (vis(scores=0.5), DAMAGED, "has 0.5 as 'scores', and not a list"),
        (vis(category_id=9), DAMAGED, "annotation 1 has the category 9, which the file lacks"),
        (vis(category_id=[1]), DAMAGED, "the category [1]"),
        (vis(height=0), DAMAGED, "the impossible size 0x24"),
        (vis(height=-16, width=-24), DAMAGED, "the impossible size -16x-24"),
        (vis(height=10**9, width=15 * 10**8), DAMAGED, "impossible size 1000000000x1500000000"),
        (vis(height="16"), DAMAGED, "'height' is '16', and not a whole number"),
        (vis(height=16.5), DAMAGED, "'height' is 16.5"),
        (vis(width=float("inf")), DAMAGED, "'width' is inf"),
        (vis(width=1e300), DAMAGED, "impossible size"),
        (vis(height=WIDTH, width=HEIGHT), DAMAGED, "a mask has the size 16x24, where the file"),
        (vis(length=10**9), DAMAGED, "annotation 1 has 3 segmentations, but the video 1000000000"),
        (vis(length=10**9, annotations=[]), LENGTH, "1000000000 frames and the video has 3"),
        (vis(length=-1), DAMAGED, "the length -1"),
        (vis(length=2.5), DAMAGED, "'length' is 2.5"),
        (vis(segmentations=None), DAMAGED, "None as 'segmentations', and not a list"),
        (vis(segmentations=[ONES]), DAMAGED, "1 segmentations, but the video 3 frames"),
        (vis(segmentations=[7] * COUNT), DAMAGED, "a mask is 7, and neither"),
        (vis(segmentations=["abc"] * COUNT), DAMAGED, "a mask is 'abc'"),
        (vis(segmentations=[{}] * COUNT), DAMAGED, "a mask is {}"),
        (vis(segmentations=[FAR] * COUNT), DAMAGED, "lies far outside of 16x24"),
        (vis(segmentations=[[[0, 0, 1, 1]]] * COUNT), DAMAGED, "not x, y of three points or more"),
        (vis(segmentations=[[[0, 0, 9, 9, 5]]] * COUNT), DAMAGED, "a polygon is [0, 0, 9, 9, 5]"),
        (vis(segmentations=[[[0, 0, 9, 9, "5", 5]]] * COUNT), DAMAGED, "a polygon is"),
        (vis(segmentations=[[[0, 0, 9, 9, float("nan"), 5]]] * COUNT), DAMAGED, "far outside"),
        (vis(segmentations=[[[0, 0, 9, 9, 10**400, 5]]] * COUNT), DAMAGED, "far outside"),
        (vis(segmentations=[[[0, 0, 200, 150] * 5_000]] * COUNT), DAMAGED, "pixels long in"),
        (vis(segmentations=[[{"x": 1}]] * COUNT), DAMAGED, "a polygon is"),
        ({**vis(), "annotations": []}, ABSENT, "m.json has no instance in it"),
        (pixels(score=float("nan")), DAMAGED, "annotation 5 has the score nan"),
        (pixels(height=17), DAMAGED, "its images have different sizes"),
        (pixels(file_name="run/a/01.png"), DAMAGED, "the frame number 1 is there 2 times"),
        (pixels(segmentation="x"), DAMAGED, "a mask is 'x'"),
    ],
)
def test_what_is_wrong_with_a_video_is_its_reason(
    value: Any, kind: str, sentence: str, tmp_path: Path, clip: Video
) -> None:
    (tmp_path / "m.json").write_text(json.dumps(value))
    note = MaskFiles(tmp_path / "m.json")(clip, frames()).note
    assert reason_kind(note) == kind
    assert sentence in note
    said = said_of(value, tmp_path, clip)
    if kind != ABSENT:  # where no video can use its masks, the work does not begin
        assert sentence in said
        assert "does not fit the videos that were tried, such as run/a.mp4" in said


@pytest.mark.parametrize(
    "counts",
    [
        [], [384.0], [True] * 384, ["384"], [-1, 385], [400], [383], [None], [[384]], [10**30],
        [2**62] * 4 + [384], [2**63, 2**63, 384], ["x" * 100_000] + [1] * 100_000, 384, None, {},
        "", "5", "o", "é", "abc\x7f", "oooooooo0", "b'", "b'x'", "b'\\x00'", "9" * 100_000,
        "o?" * 1000, "`" * 7,
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", [vis, pixels])
def test_run_lengths_that_fill_no_frame_never_reach_a_decoder(
    counts: Any, form: Any, tmp_path: Path, clip: Video
) -> None:
    mask = {**ONES, "counts": counts}
    value = form(segmentations=[mask] * COUNT) if form is vis else form(segmentation=mask)
    assert DAMAGED in said_of(value, tmp_path, clip)


@pytest.mark.parametrize("size", [None, 5, [16], [16, "24"], [24, 16], [10**20, 1], [16, None]])
def test_sizes_that_are_not_the_videos_are_refused(size: Any, tmp_path: Path, clip: Video) -> None:
    value = vis(segmentations=[{**ONES, "size": size}] * COUNT)
    assert DAMAGED in said_of(value, tmp_path, clip)


@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=40))
def test_any_text_fills_the_frame_or_is_refused(counts: str) -> None:
    try:
        runs = run_lengths(counts, HEIGHT, WIDTH)
    except ValueError:
        return
    assert runs.min() >= 0
    assert runs.sum() == HEIGHT * WIDTH


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


@given(
    st.sampled_from([vis, pixels]),
    st.sampled_from(
        ["videos", "images", "categories", "annotations", "id", "file_name", "file_names", "height",
         "width", "length", "video_id", "image_id", "category_id", "segmentations", "segmentation",
         "score", "scores", "track_id", "frame_id", "info"]
    ),
    ANYTHING,
)  # fmt: skip
def test_anything_in_any_field_ends_in_a_sentence(
    tmp_path: Path, clip: Video, form: Any, key: str, value: Any
) -> None:
    said_of(form(**{key: value}), tmp_path, clip)


# Files that are none, and pictures


def png(width: int, height: int, *, depth: int = 8, kind: int = 0, data: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3 * 256)) if kind == 3 else b""
    body = zlib.compress(data or bytes((width + 1) * height if width < 1000 else 9))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette
    return start + chunk(b"IDAT", body) + chunk(b"IEND", b"")


SOUND = png(WIDTH, HEIGHT, data=b"".join(b"\0" + b"\1" * WIDTH for _ in range(HEIGHT)))


def coloured() -> bytes:
    lines = b"".join(b"\0" + b"\1\2\3" * WIDTH for _ in range(HEIGHT))
    return png(WIDTH, HEIGHT, kind=2, data=lines)


def many(kind: int) -> bytes:
    flat = np.arange(HEIGHT * WIDTH, dtype=np.int64).reshape(HEIGHT, WIDTH) % 251
    rows = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in flat)
    return png(WIDTH, HEIGHT, kind=kind, data=rows)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (png(60_000, 60_000), "has the impossible size 60000x60000"),
        (png(2**31 - 1, 2**31 - 1), "impossible size"),
        (png(0, 5), "impossible size 5x0"),
        (SOUND[:50], "is damaged"),
        (SOUND[:20], "is no PNG file"),
        (b"", "is no PNG file"),
        (b"GIF89a" + bytes(60), "is no PNG file"),
        (SOUND[:45] + bytes(20) + SOUND[65:], "is damaged"),
        (png(WIDTH, HEIGHT, depth=16, data=bytes((2 * WIDTH + 1) * HEIGHT)), "has 16 bits a pixel"),
        (coloured(), "is in colour"),
        (many(kind=0), "has soft edges, with grey levels such as 249 below 250"),
        (many(kind=3), "more than 100 different values"),
        (png(WIDTH, HEIGHT, depth=5), "a/1.png"),
        (png(WIDTH + 8, HEIGHT), "has 16x32 pixels, and others 16x24"),
        (png(WIDTH, HEIGHT, data=bytes(9)), "is damaged"),
    ],
)
def test_a_picture_that_is_none_is_named(
    content: bytes, sentence: str, tmp_path: Path, clip: Video
) -> None:
    folder = tmp_path / "m" / "run" / "a"
    folder.mkdir(parents=True)
    for number in range(COUNT):
        (folder / f"{number}.png").write_bytes(content if number == 1 else SOUND)
    segmenter = MaskFiles(tmp_path / "m")
    assert segmenter.identity
    note = segmenter(clip, frames()).note
    assert reason_kind(note) == DAMAGED
    assert sentence in note
    assert sentence in outcome(tmp_path / "m", clip)


def test_a_picture_with_a_bomb_of_text_is_damaged(tmp_path: Path, clip: Video) -> None:
    text = b"zTXt" + b"x\0\0" + zlib.compress(bytes(2**25))
    bomb = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    folder = tmp_path / "m" / "a"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(SOUND[:33] + bomb + SOUND[33:])
    for number in (1, 2):
        (folder / f"{number}.png").write_bytes(SOUND)
    assert "is damaged" in outcome(tmp_path / "m", clip)


def test_pictures_of_another_shape(tmp_path: Path, clip: Video) -> None:
    folder = tmp_path / "m" / "a"
    folder.mkdir(parents=True)
    for number in range(COUNT):
        (folder / f"{number}.png").write_bytes(png(HEIGHT, WIDTH))
    assert SHAPE in outcome(tmp_path / "m", clip)


def test_pipes_devices_loops_and_odd_paths(tmp_path: Path, clip: Video) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in outcome(tmp_path / "pipe", clip)
    assert "neither a file nor a folder" in outcome(Path("/dev/zero"), clip)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", Path("x" * 400), Path("a\0b"), tmp_path / "none"):
        assert "There are no masks at" in outcome(path, clip)
    folder = tmp_path / "m"
    (folder / "a").mkdir(parents=True)
    assert "holds no .json and no .png file" in outcome(folder, clip)
    os.mkfifo(folder / "x.json")
    os.mkfifo(folder / "a" / "0.png")
    (folder / "x.png").symlink_to(folder / "x.png")
    (folder / "self").symlink_to(folder / "self")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    assert "holds no .json and no .png file" in outcome(folder, clip)
    for number in range(COUNT):
        (folder / "a" / f"{number + 1}.png").write_bytes(SOUND)
    assert outcome(folder, clip) == ""


def test_a_picture_without_numbers_counts_by_its_place(tmp_path: Path, clip: Video) -> None:
    folder = tmp_path / "m" / "a"
    folder.mkdir(parents=True)
    for name in ("one", "two", "three"):
        Image.new("L", (WIDTH, HEIGHT), 1).save(folder / f"{name}.png")
    assert outcome(tmp_path / "m", clip) == ""
    for number in range(20):
        Image.new("L", (WIDTH, HEIGHT), 1).save(folder / f"more-{number}.png")
    assert f"{LENGTH}: they are of 23 frames" in outcome(tmp_path / "m", clip)
