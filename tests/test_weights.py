"""Weight files: where they lie, how they come, and that nothing of a wrong one is loaded."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import torch
from torchvision.models import Weights, WeightsEnum
from torchvision.models.video import R3D_18_Weights

from l2a.errors import InputError
from l2a.networks import build_network
from l2a.weights import find_file, read_state_dict, torchvision_file, torchvision_state

URL = "https://example.org/release/part.pt?raw=1"
WORDS = b"a published file"
MD5 = hashlib.md5(WORDS).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch hub's checkpoints folder, empty, and not even there yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches the network, and a machine without one is what most of them are about."""
    monkeypatch.setattr("torch.hub.urlopen", no_network)


def no_network(*_: object, **__: object) -> None:
    raise URLError("Name or service not known")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was given to torch.load."""
    seen: list[object] = []
    load = torch.load

    def counted(path: object, **options: object) -> object:
        assert options["weights_only"] is True
        seen.append(path)
        return load(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "load", counted)
    return seen


def serve(monkeypatch: pytest.MonkeyPatch, source: Path) -> list[str]:
    """Let downloads bring `source`; the list of what was asked for."""
    asked: list[str] = []

    def download(url: str, target: str, **_: object) -> None:
        asked.append(url)
        shutil.copy(source, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return asked


def published(folder: Path, value: float = 1.0) -> tuple[WeightsEnum, Path]:
    """Weights as torchvision publishes them, and a file with their content."""
    file = folder / f"content-{value}.pth"
    torch.save({"x": torch.full((3,), value)}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    entry = Weights(url=f"https://example.org/models/net-{digest}.pth", transforms=str, meta={})

    class Composited(WeightsEnum):
        V1 = entry

    return Composited.V1, file


# torchvision's


def test_torchvisions_files_lie_in_the_hubs_folder(hub: Path) -> None:
    assert torchvision_file(R3D_18_Weights.KINETICS400_V1) == hub / "r3d_18-b3b3357e.pth"


def test_weights_are_fetched_once(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    weights, file = published(tmp_path)
    asked = serve(monkeypatch, file)
    caplog.set_level("INFO", "l2a")
    for _ in range(2):
        assert torch.equal(torchvision_state(weights, "The net")["x"], torch.ones(3))
    assert asked == [weights.url]
    assert [path.name for path in hub.iterdir()] == [weights.url.rsplit("/", 1)[1]]
    assert weights.url in caplog.text


def test_without_a_network_the_answer_is_what_to_put_where(hub: Path) -> None:
    weights = R3D_18_Weights.KINETICS400_V1
    place = re.escape(str(hub / "r3d_18-b3b3357e.pth"))
    message = (
        r"The Kinetics weights of r3d_18 cannot be fetched \(.*not known.*\); "
        rf"put the file from {re.escape(weights.url)} at {place}\.$"
    )
    with pytest.raises(InputError, match=message):
        build_network("r3d_18", 2, "kinetics")
    assert list(hub.iterdir()) == []


def test_tiny3d_has_no_kinetics_weights() -> None:
    with pytest.raises(InputError, match="tiny3d has no Kinetics weights"):
        build_network("tiny3d", 2, "kinetics")


def test_a_damaged_file_in_the_hubs_folder_is_refused_before_it_is_loaded(
    hub: Path, tmp_path: Path, loads: list[object]
) -> None:
    weights, file = published(tmp_path)
    _, other = published(tmp_path, 2.0)
    hub.mkdir(parents=True)
    place = torchvision_file(weights)
    for content in (file.read_bytes()[:-1], other.read_bytes(), b""):
        place.write_bytes(content)
        with pytest.raises(InputError, match=r"SHA-256 .*delete it.*https://example\.org/models"):
            torchvision_state(weights, "The net")
    assert loads == []
    shutil.copy(file, place)
    torchvision_state(weights, "The net")
    assert loads == [place]


def test_a_wrong_download_is_not_kept(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: list[object]
) -> None:
    weights, _ = published(tmp_path)
    _, other = published(tmp_path, 2.0)
    serve(monkeypatch, other)
    with pytest.raises(InputError, match=r"The file fetched from .* has the SHA-256 .*; put the"):
        torchvision_state(weights, "The net")
    assert loads == []
    assert list(hub.iterdir()) == []


# Any state dict


def test_a_state_dict_is_read_from_a_file_and_from_within_a_checkpoint(tmp_path: Path) -> None:
    for name, content in (
        ("bare.pth", {"x": torch.ones(2)}),
        ("deep.pth", {"state_dict": {"x": torch.ones(2)}, "epoch": 3}),
    ):
        torch.save(content, tmp_path / name)
        state = read_state_dict(tmp_path / name)
        assert list(state) == ["x"]
        assert torch.equal(state["x"], torch.ones(2))


def test_every_digit_of_the_checksum_in_a_name_counts(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"x": torch.ones(2)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for length in (8, 20, 64):
        path = path.rename(tmp_path / f"w-{digest[:length]}.pth")
        assert list(read_state_dict(path)) == ["x"]
        last = "0" if digest[length - 1] != "0" else "1"
        path = path.rename(tmp_path / f"w-{digest[: length - 1]}{last}.pth")
        with pytest.raises(InputError, match="SHA-256"):
            read_state_dict(path)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
def test_what_is_no_weight_file_is_an_input_error(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        read_state_dict(tmp_path / name)


def test_an_absent_weight_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no weight file .*none\.pth; give a \.safetensors"):
        read_state_dict(tmp_path / "none.pth")


# Files with an MD5


def find(given: Path | None = None) -> Path:
    return find_file("part.pt", URL, MD5, "The weights of it", given)


def test_a_file_is_taken_from_where_it_is_given_or_from_the_hubs_folder(
    hub: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.pt"
    own.write_bytes(WORDS)
    assert find(own) == own
    hub.mkdir(parents=True)
    (hub / "part.pt").write_bytes(WORDS)
    assert find() == hub / "part.pt"


def test_a_file_is_downloaded_once_and_kept(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(WORDS)
    asked = serve(monkeypatch, tmp_path / "source")
    assert find() == find() == hub / "part.pt"
    assert asked == [URL]
    assert (hub / "part.pt").read_bytes() == WORDS
    assert len(list(hub.iterdir())) == 1


def test_another_file_is_refused_wherever_it_lies(hub: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.pt"
    hub.mkdir(parents=True)
    sums = f"has the MD5 d41d8cd9… and not {MD5[:8]}…"  # that of nothing
    for path, given, remedy in ((own, own, "put the"), (hub / "part.pt", None, "delete it to")):
        path.write_bytes(b"")
        with pytest.raises(InputError) as caught:
            find(given)
        assert str(caught.value).startswith(f"{path} {sums}; {remedy}")
        assert URL in str(caught.value)
        assert path.is_file()  # it is the user's to delete


def test_a_given_file_that_is_absent_is_not_downloaded(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(monkeypatch, tmp_path / "nothing")
    with pytest.raises(InputError, match=rf"no file .*own\.pt; .*{re.escape(URL)}"):
        find(tmp_path / "own.pt")
    assert asked == []
    assert not hub.exists()


def broken_off(url: str, target: str, **_: object) -> None:
    Path(target).write_bytes(WORDS[:5])
    raise IncompleteRead(WORDS[:5])


def other_page(url: str, target: str, **_: object) -> None:
    Path(target).write_bytes(b"<html>")


@pytest.mark.parametrize("download", [None, broken_off, other_page])
def test_a_failed_download_says_where_to_put_the_file_and_leaves_nothing(
    download: Callable[..., None] | None, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if download:
        monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    where = rf"; put the file from {re.escape(URL)} at {re.escape(str(hub / 'part.pt'))}\.$"
    with pytest.raises(InputError, match=where):
        find()
    assert list(hub.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(hub: Path) -> None:
    hub.parent.mkdir(parents=True)
    hub.write_text("a file in the way")
    with pytest.raises(InputError, match="The weights of it cannot"):
        find()


def test_a_server_that_never_answers_is_given_up(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.urlopen", urlopen)
    monkeypatch.setattr("l2a.weights.SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/part.pt"
        with pytest.raises(InputError, match=r"cannot be fetched \(.*timed out.*\); put the file"):
            find_file("part.pt", url, MD5, "The weights of it")
    assert list(hub.iterdir()) == []
    assert socket.getdefaulttimeout() is None
