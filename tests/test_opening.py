"""The one way in: banks are found, shared, and never removed; features are computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import write_tiny

from compositing.settings import CompositeSettings, EngineSettings, PrepareSettings
from l2a.clips import ClipSettings
from l2a.errors import InputError, UnreadableVideo
from l2a.files import fingerprint, read_json
from l2a.formats import DataSettings
from l2a.media import Frames, read_frames
from l2a.networks import build_trunk
from l2a.trunk import trunk_checksum
from l2a.videos import Skipped, VideoSet
from train.features import all_features
from train.opening import BANK_RECORD, Opened, open_data, open_store, refuse_in_data
from train.prepared import PreparedData
from train.settings.full import RunSettings

SMALL = ClipSettings(num_frames=4, height=32, width=40, crop=32)
LARGE = ClipSettings(num_frames=4, height=36, width=40, crop=32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "data", train_groups=2)


def prepare(
    data: Path, out: Path, clips: ClipSettings = SMALL, bank: Path | None = None, seed: int = 0,
    left_out: Sequence[Skipped] = (),
) -> PreparedData:  # fmt: skip
    opened = open_data(
        data, out, DataSettings(), PrepareSettings(), EngineSettings(workers=1),
        RunSettings(seed=seed, bank=bank),
    )  # fmt: skip
    return opened.prepare(clips, CompositeSettings(), layers=False, left_out=left_out)


def test_runs_share_a_bank_and_none_removes_anothers(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "banks"
    first = prepare(data, tmp_path / "one", bank=shared)
    frames = np.array(first.bank.frames)
    other = prepare(data, tmp_path / "two", LARGE, bank=shared)
    assert other.bank.folder != first.bank.folder
    monkeypatch.setattr("compositing.bank.read_frames", None)  # nothing is decoded any more
    again = prepare(data, tmp_path / "three", bank=shared)
    assert again.bank.folder == first.bank.folder
    assert np.array_equal(again.bank.frames, frames)
    assert len(list(shared.iterdir())) == 2
    assert not (tmp_path / "three" / "bank").exists()
    record = read_json(tmp_path / "three" / BANK_RECORD)
    assert Path(record["folder"]) == first.bank.folder == shared.resolve() / first.bank.fingerprint


def test_a_video_that_was_not_there_once_is_back_at_the_next_start(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, decode = tmp_path / "banks", read_frames
    lost = sorted((data / "videos" / "JumpRope").iterdir())[-1]

    def read(path: Path, **how: int) -> Frames:
        if path == lost:
            raise UnreadableVideo(path, "there is no such file", passing=True)
        return decode(path, **how)

    with monkeypatch.context() as patch:
        patch.setattr("compositing.bank.read_frames", read)
        before = prepare(data, tmp_path / "one", bank=shared)
    (row,) = before.bank.pending()
    assert [one.id for one in before.videos.skipped] == [before.bank.ids[row]]
    assert all(row not in rows for rows in before.rows.values())
    assert not (before.bank.folder / ".filling").exists()  # it is not held any longer
    after = prepare(data, tmp_path / "two", bank=shared)
    same = prepare(data, tmp_path / "one", bank=shared, left_out=before.videos.skipped)
    assert same.videos.skipped == before.videos.skipped
    for split, rows in before.rows.items():  # a run with results stays with what it had
        np.testing.assert_array_equal(same.rows[split], rows)
    assert after.bank.folder == before.bank.folder and after.bank.pending() == []
    assert after.videos.skipped == () and row in np.concatenate(list(after.rows.values()))


def test_a_bank_is_filled_by_one_command_for_which_others_wait(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, places = tmp_path / "banks", list[Path]()

    @contextmanager
    def behind_another(folder: Path, waits: Callable[[], None]) -> Iterator[None]:
        places.append(folder)
        if len(places) == 1:
            prepare(data, tmp_path / "other", bank=shared)
            monkeypatch.setattr("compositing.bank.read_frames", None)
        yield

    monkeypatch.setattr("train.opening.filling", behind_another)
    found = prepare(data, tmp_path / "one", bank=shared)
    assert not found.bank.pending()
    assert places == [found.bank.folder] * 2
    prepare(data, tmp_path / "again", bank=shared)
    assert len(places) == 2  # a full one is not waited for


def test_a_run_keeps_its_own_bank_and_what_it_made_with_other_settings(
    data: Path, tmp_path: Path
) -> None:
    first = prepare(data, tmp_path)
    second = prepare(data, tmp_path, LARGE)
    assert first.bank.folder.parent == second.bank.folder.parent == tmp_path / "bank"
    assert read_json(tmp_path / BANK_RECORD) == {"folder": f"bank/{second.bank.fingerprint}"}
    assert np.array(prepare(data, tmp_path).bank.frames).any()
    assert len(list((tmp_path / "bank").iterdir())) == 2


def test_another_file_of_the_same_name_is_another_clip_(data: Path, tmp_path: Path) -> None:
    copy = write_tiny(tmp_path / "copy", train_groups=2)
    shared = tmp_path / "banks"
    first = prepare(copy, tmp_path / "one", bank=shared)
    own = prepare(copy, tmp_path / "own")
    one, other = sorted((copy / "videos" / "JumpRope").iterdir())[:2]
    one.write_bytes(other.read_bytes())
    assert prepare(copy, tmp_path / "two", bank=shared).bank.folder != first.bank.folder
    again = prepare(copy, tmp_path / "own")
    rows = [bank.bank.row(f"videos/JumpRope/{one.name}") for bank in (own, again)]
    assert again.bank.folder != own.bank.folder
    assert not np.array_equal(own.bank.frames[rows[0]], again.bank.frames[rows[1]])


def test_a_runs_own_bank_of_an_earlier_version_is_gone_on_with(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mark told nothing of files, and pseudo-labels and pairs hold to it."""
    with monkeypatch.context() as patch:
        patch.setattr(Opened, "sources", {})
        patch.setattr("train.opening.fingerprint", lambda parts: fingerprint(parts[:5]))
        before = prepare(data, tmp_path)
    monkeypatch.setattr("compositing.bank.read_frames", None)
    assert prepare(data, tmp_path).bank.fingerprint == before.bank.fingerprint


def test_another_draw_of_validation_cuts_no_clip_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "banks"
    first = prepare(data, tmp_path / "one", bank=shared)
    monkeypatch.setattr("compositing.bank.read_frames", None)
    other = prepare(data, tmp_path / "two", bank=shared, seed=5)
    assert set(other.rows["val"]) != set(first.rows["val"])
    assert other.bank.folder != first.bank.folder
    assert np.array_equal(other.bank.frames, first.bank.frames)
    assert not other.bank.pending()


def test_features_are_computed_once_for_each_trunk_and_kept_beside_the_bank(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(data, tmp_path)
    torch.manual_seed(0)
    trunk, other = build_trunk("tiny3d").eval(), build_trunk("tiny3d").eval()
    found = all_features(trunk, prepared)
    rows = prepared.rows["train"]
    inputs = trunk.to_input(prepared.source.real(rows).clips)
    with torch.inference_mode():
        torch.testing.assert_close(found[rows], trunk(inputs), atol=1e-5, rtol=1e-4)
    rest = np.setdiff1d(np.arange(len(prepared.bank)), rows)
    assert not found[rest].any()
    assert not torch.equal(all_features(other, prepared), found)
    files = {path.stem for path in (prepared.bank.folder / "features").iterdir()}
    assert files == {trunk_checksum(trunk), trunk_checksum(other)}
    monkeypatch.setattr("train.frozen.features.FeatureBank.of", None)
    assert torch.equal(all_features(trunk, prepare(data, tmp_path)), found)


def test_a_trunks_checksum_is_of_all_that_its_features_depend_on() -> None:
    torch.manual_seed(0)
    trunk = build_trunk("tiny3d")
    seen = {trunk_checksum(trunk)}
    assert trunk_checksum(trunk) in seen
    with torch.no_grad():
        trunk.get_submodule("1").running_mean[0] += 1  # type: ignore[index, operator]
    seen.add(trunk_checksum(trunk))
    trunk.precision = "bfloat16"
    seen.add(trunk_checksum(trunk))
    trunk.mean = (0.5, 0.5, 0.5)
    seen.add(trunk_checksum(trunk))
    assert len(seen) == 4


def test_the_store_is_the_one_named_or_the_first_that_is_there(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    places = (tmp_path / "absent", there, tmp_path / "last")

    def opened(*places: Path, run: RunSettings | None = None, segmenter: str = "auto") -> Path:
        prepare = PrepareSettings(segmenter=segmenter)
        engine = EngineSettings(devices="cpu")
        data = VideoSet(tmp_path / "data", "folder", (), ())
        return open_store(data, run or RunSettings(), prepare, engine, (), tmp_path, *places).folder

    assert opened(*places) == there
    assert opened(places[0], places[2]) == places[2]
    assert opened() == tmp_path / "layers"
    named = RunSettings(layers=tmp_path / "named")
    assert opened(*places, run=named) == tmp_path / "named"
    with pytest.raises(InputError, match="'nobody'"):
        opened(there, segmenter="nobody")


def test_a_folder_inside_the_data_set_is_let_pass_unless_it_holds_videos(data: Path) -> None:
    videos = open_data(
        data, data.parent / "out", DataSettings(), PrepareSettings(), EngineSettings(workers=1),
        RunSettings(),
    ).videos  # fmt: skip
    for fine in (None, data.parent, data / "runs", data / "video", data / "splits"):
        refuse_in_data(videos, layers=fine)
    for harmful, sentence in {
        data: "--bank is .*, the data set itself, whose files",
        data / "videos" / "..": "the data set itself",
        data / "videos": "a folder of the data set .* that holds videos",
        data / "videos" / "JumpRope": "that holds videos",
    }.items():
        with pytest.raises(InputError, match=sentence):
            refuse_in_data(videos, layers=None, bank=harmful)
