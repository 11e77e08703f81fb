"""Decoding and encoding: times, sizes, colours, damaged files, and real clips."""

from __future__ import annotations

import os
import pickle
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from hypothesis import given
from hypothesis import strategies as st

from l2a.errors import UnreadableVideo
from l2a.media import (
    declared_frames,
    read_frames,
    resize_frames,
    resize_masks,
    sample_indices,
    write_video,
)


def smooth_frames(count: int = 6, height: int = 48, width: int = 64) -> np.ndarray:
    """Slow colour waves that move: what 4:2:0 chroma can carry."""
    y, x = np.mgrid[0:height, 0:width]
    frames = [
        np.stack(
            [127 + 110 * np.sin(x / 30 + t / 4 + c) * np.cos(y / 25 + c) for c in range(3)], -1
        )
        for t in range(count)
    ]
    return np.round(frames).astype(np.uint8)


def counted_frames(count: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    """Frame i is grey of the level 10 + 4 i, so that a decoded frame tells which one it was."""
    levels = (10 + 4 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, *size, 3)).copy()


def numbers(frames: np.ndarray) -> list[int]:
    """Which of `counted_frames` these are."""
    return np.round((frames.mean((1, 2, 3)) - 10) / 4).astype(int).tolist()


def encode(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    stamps: list[int] | None = None,
    colorspace: Colorspace = Colorspace.ITU601,
    full_range: bool = False,
    rotation: int = 0,
    pixel: Fraction | None = None,
) -> None:
    """An encoder apart from the one under test: time stamps in milliseconds, tags, rotation."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        context = stream.codec_context
        if pixel:
            context.sample_aspect_ratio = pixel
        context.colorspace = int(colorspace)
        context.color_range = ColorRange.JPEG if full_range else ColorRange.MPEG
        if codec == "libx264":
            context.options = {"crf": "5"}
        else:
            context.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        if stamps is not None:
            context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=colorspace,
                dst_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
            )
            frame.pts = index if stamps is None else stamps[index]
            if stamps is not None:
                frame.time_base = Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


# Round trips


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_colours_survive_the_round_trip(tmp_path: Path, suffix: str) -> None:
    frames = smooth_frames()
    write_video(tmp_path / f"a{suffix}", frames, 25.0, crf=12)
    error = read_frames(tmp_path / f"a{suffix}").frames.astype(float) - frames
    assert np.abs(error).mean() < 2
    assert np.abs(error.mean((0, 1, 2))).max() < 0.5  # no channel is shifted


def test_generations_do_not_drift(tmp_path: Path) -> None:
    frames = smooth_frames()
    for _ in range(4):
        write_video(tmp_path / "a.mp4", frames, 25.0, crf=12)
        frames = read_frames(tmp_path / "a.mp4").frames
    shift = (frames.astype(float) - smooth_frames()).mean((0, 1, 2))
    assert np.abs(shift).max() < 1


def test_another_reader_sees_the_same_colours(tmp_path: Path) -> None:
    for colour in [(220, 30, 40), (30, 200, 60), (40, 60, 210), (128, 128, 128)]:
        frames = np.full((3, 32, 32, 3), colour, np.uint8)
        write_video(tmp_path / "a.mp4", frames, 25.0, crf=5)
        ok, bgr = cv2.VideoCapture(str(tmp_path / "a.mp4")).read()
        assert ok
        assert np.abs(bgr[16, 16, ::-1].astype(int) - colour).max() <= 4


@pytest.mark.parametrize("colorspace", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("full_range", [False, True])
def test_the_source_s_colour_tags_are_obeyed(
    tmp_path: Path, colorspace: Colorspace, full_range: bool
) -> None:
    frames = np.full((3, 32, 32, 3), (200, 40, 90), np.uint8)
    encode(tmp_path / "a.mp4", frames, colorspace=colorspace, full_range=full_range)
    decoded = read_frames(tmp_path / "a.mp4").frames
    assert np.abs(decoded.astype(int) - frames).max() <= 4


def test_an_odd_size_is_padded_by_its_last_row_and_column(tmp_path: Path) -> None:
    frames = smooth_frames(4, 45, 61)
    write_video(tmp_path / "a.mp4", frames, 25.0, crf=5)
    decoded = read_frames(tmp_path / "a.mp4").frames
    assert decoded.shape == (4, 46, 62, 3)
    assert np.abs(decoded[:, :45, :61].astype(int) - frames).mean() < 2
    assert np.abs(decoded[:, 45, :61].astype(int) - frames[:, 44]).mean() < 3
    assert np.abs(decoded[:, :45, 61].astype(int) - frames[:, :, 60]).mean() < 3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(-20, 20, (12, 46, 62, 3))
    frames = (smooth_frames(12, 46, 62) + noise).clip(0, 255).astype(np.uint8)
    contents = set()
    rng = np.random.default_rng()
    for number in range(20):  # with B-frames, x264's bytes depend on what memory held before
        scratch = [rng.bytes(size) for size in rng.integers(100, 200_000, 20).tolist()]
        del scratch
        write_video(tmp_path / f"{number}{suffix}", frames, 25.0, crf=12)
        contents.add((tmp_path / f"{number}{suffix}").read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_no_frame_waits_for_a_later_one(tmp_path: Path, suffix: str) -> None:
    write_video(tmp_path / f"a{suffix}", smooth_frames(12), 25.0)
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        stamps = [(p.pts, p.dts) for p in container.demux() if p.size]
    assert len(stamps) == 12
    assert stamps[0] == (0, 0)
    assert all(pts == dts for pts, dts in stamps)


def test_mp4_can_be_played_from_its_start(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", smooth_frames(), 25.0)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_failed_encoding_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(av.FFmpegError):
        write_video(tmp_path / "a.mp4", smooth_frames(), 25.0, preset="no-such-preset")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_a_senseless_rate_is_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ValueError, match=f"fps must be positive, not {fps}"):
        write_video(tmp_path / "a.mp4", smooth_frames(), fps)


def test_frames_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"float32 \(2, 8, 8, 3\)"):
        write_video(tmp_path / "a.mp4", np.zeros((2, 8, 8, 3), np.float32), 25.0)  # type: ignore[arg-type]


# Times


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("fps", [25.0, 30000 / 1001, 12.5])
def test_times_follow_the_rate(tmp_path: Path, suffix: str, fps: float) -> None:
    write_video(tmp_path / f"a{suffix}", counted_frames(12), fps)
    video = read_frames(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(video.times, np.arange(12) / fps, atol=0.6e-3)
    assert video.fps == pytest.approx(fps, rel=2e-3)
    assert numbers(video.frames) == list(range(12))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_variable_rate_keeps_its_times(tmp_path: Path, suffix: str) -> None:
    stamps = [500, 540, 580, 980, 1020, 1500, 1540, 1580]
    encode(tmp_path / f"a{suffix}", counted_frames(8), stamps=stamps)
    video = read_frames(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(video.times, (np.array(stamps) - 500) / 1000, atol=2e-3)
    assert video.fps == pytest.approx(7 / 1.08, rel=1e-2)


def test_one_frame_has_the_declared_rate(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", counted_frames(1), 12.5)
    video = read_frames(tmp_path / "a.mp4")
    assert video.frames.shape == (1, 32, 48, 3)
    assert video.times.tolist() == [0.0]
    assert video.fps == pytest.approx(12.5)


def test_a_long_video_is_thinned_uniformly_in_time(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", counted_frames(48), 24.0, crf=5)
    video = read_frames(tmp_path / "a.mp4", max_frames=6)
    # 2 s in 6 parts of 8 frames; the middle of part k is the start of frame 8 k + 4
    assert numbers(video.frames) == [4, 12, 20, 28, 36, 44]
    np.testing.assert_allclose(video.times, np.arange(6) / 3, atol=1e-3)
    assert video.fps == pytest.approx(3.0, rel=1e-3)
    assert numbers(read_frames(tmp_path / "a.mp4", max_frames=48).frames) == list(range(48))


def test_thinning_a_variable_rate_looks_at_time_and_not_at_numbers(tmp_path: Path) -> None:
    stamps = [40 * i for i in range(20)] + [800 + 200 * i for i in range(4)]
    encode(tmp_path / "a.mkv", counted_frames(24), stamps=stamps)
    video = read_frames(tmp_path / "a.mkv", max_frames=4)
    # 1400 ms and a frame of 40 ms in 4 parts of 360 ms: the middles are 180, 540, 900, 1260
    assert numbers(video.frames) == [4, 13, 20, 22]
    assert video.indices.tolist() == [4, 13, 20, 22]
    assert video.total == 24
    whole = read_frames(tmp_path / "a.mkv")
    assert whole.indices.tolist() == list(range(24))
    assert whole.total == 24


def test_thinning_never_repeats_a_frame(tmp_path: Path) -> None:
    stamps = [40 * i for i in range(10)] + [2000]
    encode(tmp_path / "a.mkv", counted_frames(11), stamps=stamps)
    video = read_frames(tmp_path / "a.mkv", max_frames=6)
    # 2040 ms in 6 parts of 340 ms; the tenth frame is on the screen at 510, 850, 1190 and 1530
    assert numbers(video.frames) == [4, 9]
    assert video.times.tolist() == pytest.approx([0.0, 0.2])


# Sizes


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((48, 64), 32, (24, 32)),
        ((64, 48), 32, (32, 24)),
        ((48, 64), 64, (48, 64)),
        ((48, 64), None, (48, 64)),
    ],
)
def test_the_longer_side_is_limited(
    tmp_path: Path, size: tuple[int, int], max_side: int | None, expected: tuple[int, int]
) -> None:
    frames = smooth_frames(3, *size)
    write_video(tmp_path / "a.mp4", frames, 25.0, crf=5)
    decoded = read_frames(tmp_path / "a.mp4", max_side=max_side).frames
    assert decoded.shape[1:3] == expected
    assert np.abs(decoded.astype(int) - resize_frames(frames, expected)).mean() < 2


PIXELS = [Fraction(4, 3), Fraction(8, 9), Fraction(16, 11), Fraction(1, 2), Fraction(65, 64)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("pixel", PIXELS)
def test_pixels_that_are_not_square_are_made_square(
    tmp_path: Path, pixel: Fraction, suffix: str
) -> None:
    """The width is scaled and the height stays, as players show it."""
    frames = smooth_frames()
    encode(tmp_path / f"a{suffix}", frames, pixel=pixel)
    decoded = read_frames(tmp_path / f"a{suffix}")
    size = (48, round(64 * pixel))
    assert decoded.frames.shape == (6, *size, 3)
    assert decoded.stored == (48, 64)
    assert np.abs(decoded.frames.astype(int) - resize_frames(frames, size)).mean() < 2


def test_square_pixels_are_left_alone(tmp_path: Path) -> None:
    frames = smooth_frames()
    encode(tmp_path / "square.mp4", frames, pixel=Fraction(1))
    encode(tmp_path / "unsaid.mp4", frames)
    encode(tmp_path / "rounded.mp4", frames, pixel=Fraction(127, 128))  # 63.5 columns
    square, unsaid, rounded = (
        read_frames(tmp_path / f"{name}.mp4").frames for name in ("square", "unsaid", "rounded")
    )
    assert square.shape == unsaid.shape == rounded.shape == (6, 48, 64, 3)
    assert (square == unsaid).all() and (square == rounded).all()


def test_square_before_upright_and_before_scaled_down(tmp_path: Path) -> None:
    """96 x 48 pixels, twice as high as wide, turned: 48 x 48; the limit is on what is shown."""
    frames = smooth_frames(height=48, width=96)
    encode(tmp_path / "a.mp4", frames, rotation=90, pixel=Fraction(2))
    decoded = read_frames(tmp_path / "a.mp4")
    assert decoded.frames.shape == (6, 192, 48, 3)
    assert decoded.stored == (96, 48)
    assert read_frames(tmp_path / "a.mp4", max_side=96).frames.shape == (6, 96, 24, 3)
    assert read_frames(tmp_path / "a.mp4", max_frames=3).frames.shape == (3, 192, 48, 3)


def test_a_circle_on_anamorphic_video_is_a_circle(tmp_path: Path) -> None:
    y, x = np.mgrid[:72, :64] + 0.5
    round_ = np.hypot(y - 36, (x - 32) * 16 / 11) < 20  # stored narrow: pixels of 16:11
    frames = np.where(round_[..., None], 230, 20).astype(np.uint8).repeat(3, -1)[None].repeat(3, 0)
    encode(tmp_path / "a.mp4", frames, pixel=Fraction(16, 11))
    seen = read_frames(tmp_path / "a.mp4").frames[1, ..., 1] > 125
    height, width = (np.ptp(np.flatnonzero(seen.any(axis=axis))) + 1 for axis in (1, 0))
    assert abs(height - 40) <= 1 and abs(width - 40) <= 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_is_written_says_that_its_pixels_are_square(tmp_path: Path, suffix: str) -> None:
    write_video(tmp_path / f"a{suffix}", smooth_frames(), 25.0)
    with av.open(str(tmp_path / f"a{suffix}")) as file:
        assert file.streams.video[0].sample_aspect_ratio == 1


@pytest.mark.parametrize("pixel", [Fraction(1, 50), Fraction(40)])
def test_pixels_of_an_absurd_shape_are_not_believed(tmp_path: Path, pixel: Fraction) -> None:
    encode(tmp_path / "a.mp4", smooth_frames(), pixel=pixel)
    shape = f"{pixel.numerator}:{pixel.denominator}"
    with pytest.raises(UnreadableVideo, match=f"declares pixels of {shape}, which no picture has"):
        read_frames(tmp_path / "a.mp4")


def test_a_band_of_which_nothing_is_left_is_unreadable(tmp_path: Path) -> None:
    write_video(tmp_path / "wide.mkv", smooth_frames(2, 16, 4096), 25.0, preset="ultrafast")
    assert read_frames(tmp_path / "wide.mkv").frames.shape == (2, 16, 4096, 3)
    assert read_frames(tmp_path / "wide.mkv", max_side=2048).frames.shape == (2, 8, 2048, 3)
    with pytest.raises(UnreadableVideo, match=r"4096x16 pixels are too narrow: .* 640 .* 640x2"):
        read_frames(tmp_path / "wide.mkv", max_side=640)


@pytest.mark.parametrize("size", [(2, 16400), (16400, 2)])
def test_frames_that_no_encoder_takes_are_named(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(UnreadableVideo, match=rf"{size[1]}x{size[0]} pixels cannot be encoded"):
        write_video(tmp_path / "a.mp4", np.zeros((1, *size, 3), np.uint8), 25.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_phone_s_rotation_is_applied(tmp_path: Path, rotation: int) -> None:
    frames = np.zeros((3, 32, 64, 3), np.uint8)
    frames[:, :16, :32] = 200  # bright top left
    encode(tmp_path / "a.mp4", frames, rotation=rotation)
    decoded = read_frames(tmp_path / "a.mp4").frames
    expected = np.rot90(frames, rotation // 90, axes=(1, 2))  # counter-clockwise
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < 4


def test_a_checkerboard_is_averaged_when_it_shrinks() -> None:
    board = np.tile(np.array([[0, 200], [200, 0]], np.uint8), (8, 8))
    frames = np.repeat(board[None, :, :, None], 3, axis=3)
    assert (resize_frames(frames, (8, 8)) == 100).all()
    assert resize_frames(frames, (33, 47)).shape == (1, 33, 47, 3)


def test_resizing_to_the_same_size_gives_a_copy() -> None:
    frames = smooth_frames(2)
    same = resize_frames(frames, frames.shape[1:3])
    assert (same == frames).all()
    assert not np.shares_memory(same, frames)


def test_masks_take_the_nearest_pixel() -> None:
    mask = np.array([[[1, 0, 0, 1], [0, 1, 1, 0]]], bool)
    assert (
        resize_masks(mask, (4, 8))[0].tolist() == np.kron(mask[0], np.ones((2, 2), bool)).tolist()
    )
    # of 4 columns the centres of 2 fall on the borders 1 and 3: the pixel that begins there
    assert resize_masks(mask, (2, 2))[0].tolist() == [[False, True], [True, False]]


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 2**32 - 1),
)
def test_masks_match_the_definition(old: tuple[int, int], new: tuple[int, int], seed: int) -> None:
    mask = np.random.default_rng(seed).random((2, *old)) < 0.5
    resized = resize_masks(mask, new)
    assert resized.shape == (2, *new)
    for row in range(new[0]):
        for column in range(new[1]):
            y = int(Fraction(2 * row + 1, 2) * old[0] / new[0])
            x = int(Fraction(2 * column + 1, 2) * old[1] / new[1])
            assert (resized[:, row, column] == mask[:, y, x]).all()


# Sampling


def test_sampling_by_hand() -> None:
    steady = np.arange(16) / 30
    assert sample_indices(steady, 8).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert sample_indices(steady, 16).tolist() == list(range(16))
    assert sample_indices(np.array([0.0, 0.1, 0.2]), 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert sample_indices(np.array([0.7]), 3).tolist() == [0, 0, 0]
    # the second frame stays on the screen for 0.7 of the 1.0 s
    assert sample_indices(np.array([0.0, 0.1, 0.8, 0.9]), 5).tolist() == [1, 1, 1, 1, 3]


def test_rounded_times_choose_the_same_frames() -> None:
    exact = np.arange(310) / 30
    rounded = np.round(exact, 3)
    for count in (1, 5, 8, 31, 62, 155, 310):
        assert sample_indices(rounded, count).tolist() == sample_indices(exact, count).tolist()


def test_sampling_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 of 3"):
        sample_indices(np.arange(3.0), 0)
    with pytest.raises(ValueError, match="8 of 0"):
        sample_indices(np.zeros(0), 8)


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(1, 20), st.integers(-3, 3))
def test_sampling_shows_what_a_player_would(gaps: list[int], count: int, scale: int) -> None:
    ticks = np.concatenate([[0], np.cumsum(gaps)]).astype(float)
    chosen = sample_indices(ticks, count)
    period = float(np.median(gaps)) if gaps else 1.0
    for part, index in enumerate(chosen):
        middle = (part + 0.5) * (ticks[-1] + period) / count + period / 20
        assert ticks[index] <= middle + 1e-9
        assert index + 1 == len(ticks) or ticks[index + 1] > middle - 1e-9
    assert (np.diff(chosen) >= 0).all()
    if gaps:  # seconds or minutes, from zero or later: the same frames
        assert (sample_indices(ticks * 2.0**scale + 8, count) == chosen).all()


# Files that cannot be read


def unreadable(path: Path) -> str:
    with pytest.raises(UnreadableVideo) as caught:
        read_frames(path)
    assert caught.value.path == path
    return caught.value.reason


def test_files_that_are_no_video_are_named_with_a_reason(tmp_path: Path) -> None:
    assert unreadable(tmp_path / "missing.mp4") == "there is no such file"
    assert unreadable(tmp_path) == "there is no such file"
    (tmp_path / "zero.avi").touch()
    assert unreadable(tmp_path / "zero.avi") == "the file is empty"
    for name in ("text.mp4", "text.txt"):  # FFmpeg plays .txt as a terminal's picture
        (tmp_path / name).write_text("no video\n" * 200)
        assert "invalid" in unreadable(tmp_path / name)
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros((8, 8, 3), np.uint8))
    assert "invalid" in unreadable(tmp_path / "picture.png")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert unreadable(tmp_path / "sound.mp4") == "it holds no video, only sound or data"


def test_a_codec_that_has_no_decoder_is_named(tmp_path: Path) -> None:
    encode(tmp_path / "a.avi", counted_frames(4), codec="mpeg4")
    data = (tmp_path / "a.avi").read_bytes()
    assert data.count(b"FMP4") == 2  # once in each header
    (tmp_path / "a.avi").write_bytes(data.replace(b"FMP4", b"QQQQ"))
    assert unreadable(tmp_path / "a.avi") == "FFmpeg has no decoder for its codec"
    assert declared_frames(tmp_path / "a.avi") == 4


@pytest.mark.parametrize("count", [1, 2, 3, 10, 11])
def test_a_short_asf_whose_packets_have_no_duration_is_whole(tmp_path: Path, count: int) -> None:
    encode(tmp_path / "a.wmv", counted_frames(count), codec="wmv2")
    with av.open(str(tmp_path / "a.wmv")) as container:
        assert not any(packet.duration for packet in container.demux())
    assert numbers(read_frames(tmp_path / "a.wmv").frames) == list(range(count))


@pytest.mark.parametrize("fps", [24, 240, 700.0, 1500, 2000, 5000])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_a_short_matroska_is_whole_at_every_rate(tmp_path: Path, count: int, fps: float) -> None:
    """It counts in milliseconds: of 700 or 2000 frames a second none lasts a whole number."""
    write_video(tmp_path / "a.mkv", counted_frames(count), fps, preset="ultrafast")
    assert len(read_frames(tmp_path / "a.mkv").frames) == count


def test_a_play_list_cannot_name_other_files(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", counted_frames(4), 25.0)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    assert "invalid" in unreadable(tmp_path / "list.mp4")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")],
)
def test_a_truncated_file_is_unreadable(
    tmp_path: Path, name: str, codec: str, share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8)
    encode(tmp_path / name, noise, codec=codec)
    assert len(read_frames(tmp_path / name).frames) == 40
    os.truncate(tmp_path / name, int((tmp_path / name).stat().st_size * share))
    assert unreadable(tmp_path / name)


def test_an_avi_that_lost_its_end_is_unreadable_wherever_it_was_cut(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8)
    encode(tmp_path / "a.avi", noise, codec="mpeg4")
    data = (tmp_path / "a.avi").read_bytes()
    begins = [place for place in range(len(data)) if data.startswith(b"00dc", place)][:40]
    (tmp_path / "a.avi").write_bytes(data[: begins[30]])  # between two frames
    assert unreadable(tmp_path / "a.avi") == (
        "it ends after 1.2 of the 1.6 seconds that it declares (truncated file)"
    )
    (tmp_path / "a.avi").write_bytes(data[: begins[39] + 40])  # in the very last frame
    assert unreadable(tmp_path / "a.avi") == "it ends in the middle of a frame (truncated file)"


def test_of_an_asf_that_lost_its_end_one_frame_is_added_and_no_more(tmp_path: Path) -> None:
    """Its header must say the size that is left, or FFmpeg believes no length that it declares."""
    noise = np.random.default_rng(0).integers(0, 255, (8, 48, 64, 3), np.uint8)
    encode(tmp_path / "a.wmv", noise, codec="wmv2")
    data = bytearray((tmp_path / "a.wmv").read_bytes())
    data = data[: len(data) // 2]
    size = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")) + 40
    data[size : size + 8] = len(data).to_bytes(8, "little")
    (tmp_path / "a.wmv").write_bytes(data)
    assert unreadable(tmp_path / "a.wmv") == (
        "it ends after 0.2 of the 0.3 seconds that it declares (truncated file)"
    )


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_a_truncated_mp4_with_its_index_in_front_is_unreadable(
    tmp_path: Path, share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8)
    write_video(tmp_path / "a.mp4", noise, 25.0)
    os.truncate(tmp_path / "a.mp4", int((tmp_path / "a.mp4").stat().st_size * share))
    assert "truncated file" in unreadable(tmp_path / "a.mp4")


def test_damage_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8)
    write_video(tmp_path / "a.mp4", noise, 25.0)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    (tmp_path / "a.mp4").write_bytes(data)
    assert 36 <= len(read_frames(tmp_path / "a.mp4").frames) <= 40


def test_no_noise_on_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "a.mp4", smooth_frames(), 25.0)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: len(data) * 3 // 4])
    unreadable(tmp_path / "b.mp4")
    assert capfd.readouterr() == ("", "")


@given(st.data())
def test_no_damage_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damage"
    folder.mkdir(exist_ok=True)
    codecs = {"a.mp4": "libx264", "a.mkv": "libx264", "a.avi": "mpeg4"}
    name = data.draw(st.sampled_from(sorted(codecs)))
    if not (folder / name).exists():
        encode(folder / name, smooth_frames(8), codec=codecs[name])
    content = bytearray((folder / name).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=12)):
        content[place] ^= data.draw(st.integers(1, 255))
    (folder / f"broken-{name}").write_bytes(content)
    try:
        video = read_frames(folder / f"broken-{name}")
    except UnreadableVideo as error:
        assert pickle.loads(pickle.dumps(error)).reason == error.reason  # noqa: S301 - our own bytes
    else:
        assert len(video.frames) == len(video.times) >= 1
        assert video.times[0] == 0
        assert (np.diff(video.times) > 0).all()


# Real clips


@pytest.mark.clips
@pytest.mark.parametrize(
    ("name", "shape", "fps"),
    [
        ("abseiling_k400.mp4", (250, 256, 454, 3), 25.0),
        ("flipping_a_pancake.mkv", (310, 240, 426, 3), 30.0),
        ("mmaction2_test.avi", (164, 240, 320, 3), 25.0),  # packed B-frames
        ("v_Basketball_g01_c01.avi", (141, 240, 320, 3), 30000 / 1001),
    ],
)
def test_real_containers(
    clips_root: Path, name: str, shape: tuple[int, int, int, int], fps: float
) -> None:
    video = read_frames(clips_root / "singles" / name)
    assert video.frames.shape == shape
    assert video.fps == pytest.approx(fps, rel=1e-3)
    np.testing.assert_allclose(video.times, np.arange(shape[0]) / fps, atol=2e-3)
    thin = read_frames(clips_root / "singles" / name, max_frames=20)
    chosen = sample_indices(video.times, 20)
    assert (thin.frames == video.frames[chosen]).all()


@pytest.mark.clips
def test_real_avi_with_dropped_frames(clips_root: Path) -> None:
    """JHMDB's files skip every sixth frame: they declare 36, hold 30, and last 1.2 s."""
    folder = clips_root / "jhmdb12" / "videos"
    for path in [next(iter(sorted(kind.glob("*.avi")))) for kind in sorted(folder.iterdir())]:
        video = read_frames(path)
        capture = cv2.VideoCapture(str(path))
        for frame in video.frames:
            ok, bgr = capture.read()
            assert ok
            assert np.abs(bgr[:, :, ::-1].astype(int) - frame).mean() < 3
        assert not capture.read()[0]
        gaps = np.round(np.diff(video.times) * 30).astype(int)
        assert set(gaps.tolist()) <= {1, 2}
        assert 24 <= video.fps <= 30


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_webm_is_read(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(0, 100, 10):
            picture = np.full((48, 64, 3), 50 + level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    video = read_frames(path)
    assert video.frames.shape == (10, 48, 64, 3)
    assert np.abs(video.frames.mean((1, 2, 3)) - np.arange(50, 150, 10)).max() < 4
    np.testing.assert_allclose(video.times, np.arange(10) / 10, atol=2e-3)
