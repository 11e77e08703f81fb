"""The inpainter `lama`, with small TorchScript networks of LaMa's interface in LaMa's place."""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from compositing.inpainters import lama as lama_module
from compositing.inpainters import make_inpainter
from compositing.inpainters.lama import MD5, NAME, URL, HalfConvolutions, LamaInpainter
from compositing.networks import is_network
from l2a.errors import InputError, L2AError

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.(script|save|trace):FutureWarning")


class Mix(nn.Module):
    """Another share of each channel, and of the mask; refuses what LaMa would not understand."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        assert image.dtype == torch.float32 and mask.dtype == torch.float32
        assert image.shape[1] == 3 and mask.shape[1] == 1
        assert image.shape[2] % 8 == 0 and image.shape[3] % 8 == 0
        assert image.shape[2:] == mask.shape[2:] and image.shape[0] == mask.shape[0]
        assert bool(((mask == 0) | (mask == 1)).all())
        assert bool((image.min() >= 0).all()) and bool((image.max() <= 1).all())
        return image * torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1) + mask * 0.25


class Sizes(nn.Module):
    """Shows how it was asked: red is the batch, green the height, blue the width."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        batch, _, height, width = image.shape
        return torch.zeros_like(image) + torch.tensor(
            [batch / 255.0, height / 255.0, width / 255.0]
        ).view(1, 3, 1, 1)


class Turned(nn.Module):
    """Turned about, which brings the padding into sight: red, green of the image, and the mask."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return torch.cat([image[:, :2], mask], dim=1).flip([2, 3])


class Beyond(nn.Module):
    """Leaves 0..1 on both sides."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image * 3 - 1


class Fourier(nn.Module):
    """All kinds of layers that LaMa has, small."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Conv2d(4, 8, 3, stride=2, padding=1, padding_mode="reflect", bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.spectral = nn.Conv2d(16, 16, 1, bias=False)
        self.up = nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1, output_padding=1)
        self.last = nn.Conv2d(8, 3, 7, padding=3)
        self.down.weight.data *= scale
        self.eval()

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        x = self.down(torch.cat([image * (1 - mask), mask], dim=1))
        x = torch.relu(self.norm(x))
        waves = torch.fft.rfftn(x, dim=[-2, -1], norm="ortho")
        parts = self.spectral(torch.cat([waves.real, waves.imag], dim=1))
        waves = torch.complex(parts[:, :8], parts[:, 8:])
        x = x + torch.fft.irfftn(waves, s=x.shape[-2:], dim=[-2, -1], norm="ortho")
        return torch.sigmoid(self.last(torch.relu(self.up(x))))


def lama(folder: Path, network: nn.Module) -> LamaInpainter:
    path = folder / f"{type(network).__name__}.pt"
    torch.jit.save(torch.jit.script(network), path)
    return LamaInpainter(path, md5=hashlib.md5(path.read_bytes()).hexdigest())


def clip(count: int, height: int, width: int, seed: int = 0) -> tuple[UInt8, Bool]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, height, width, 3), np.uint8)
    return pixels, rng.random((count, height, width)) < 0.3


# What the network is asked, and what is made of its answer


@pytest.mark.parametrize("size", [(16, 24), (13, 21), (3, 2), (17, 8)])
def test_only_masked_pixels_are_taken_from_the_network(
    size: tuple[int, int], tmp_path: Path
) -> None:
    pixels, holes = clip(5, *size)
    result = lama(tmp_path, Mix())(pixels, holes)
    made_up = np.rint(pixels * [1.0, 0.5, 0.25] + 63.75).clip(0, 255)  # 255 / 4 from the mask
    expected = np.where(holes[..., None], made_up, pixels)
    assert result.frames.dtype == np.uint8
    # Float32 lies on either side of a half.
    assert np.abs(result.frames - expected).max() <= 1
    assert (result.frames == expected).mean() > 0.98
    np.testing.assert_array_equal(result.frames[~holes], pixels[~holes])
    np.testing.assert_array_equal(result.unseen, holes)


def test_values_are_hand_computed_and_rounded(tmp_path: Path) -> None:
    pixels = np.full((1, 9, 9, 3), (101, 102, 43), np.uint8)
    holes = np.ones((1, 9, 9), np.bool_)
    result = lama(tmp_path, Mix())(pixels, holes)
    # 101 + 63.75 = 164.75, 51 + 63.75 = 114.75, 10.75 + 63.75 = 74.5 (to even or up)
    assert (result.frames[..., :2] == (165, 115)).all()
    assert set(np.unique(result.frames[..., 2])) <= {74, 75}


def test_values_out_of_range_are_cut_off(tmp_path: Path) -> None:
    pixels = np.array([[[[0, 255, 128]]]], np.uint8)
    result = lama(tmp_path, Beyond())(pixels, np.ones((1, 1, 1), np.bool_))
    assert result.frames.ravel().tolist() == [0, 255, 129]


@pytest.mark.parametrize("size", [(16, 24), (13, 21), (3, 2)])
def test_frames_and_masks_are_mirrored_to_multiples_of_eight(
    size: tuple[int, int], tmp_path: Path
) -> None:
    height, width = size
    pixels, holes = clip(2, height, width)
    result = lama(tmp_path, Turned())(pixels, holes)
    margins = ((0, 0), (0, -height % 8), (0, -width % 8))
    image = np.pad(pixels, (*margins, (0, 0)), mode="symmetric")[:, ::-1, ::-1]
    mask = np.pad(holes, margins, mode="symmetric")[:, ::-1, ::-1] * 255
    expected = np.stack([image[..., 0], image[..., 1], mask], axis=-1)[:, :height, :width]
    np.testing.assert_array_equal(result.frames[holes], expected[holes])


def batches_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lama_module, "frames_per_pass", lambda device, at_once: at_once)


def test_on_a_cpu_one_frame_goes_through_at_a_time(tmp_path: Path) -> None:
    """So that no bit depends on how many were allowed."""
    inpainter = lama(tmp_path, Sizes())
    inpainter.to_device("cpu", 8)
    holes = np.ones((3, 16, 24), np.bool_)
    shown = inpainter(np.zeros((3, 16, 24, 3), np.uint8), holes).frames
    assert (shown[..., 0] == 1).all()


def test_only_frames_with_a_hole_are_sent_and_never_more_at_once_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches_as_on_a_gpu(monkeypatch)
    pixels, _ = clip(9, 10, 20)
    holes = np.zeros((9, 10, 20), np.bool_)
    with_hole = [0, 2, 3, 5, 8]
    holes[with_hole, 4, 7] = True
    inpainter = lama(tmp_path, Sizes())
    for at_once, batches in ((8, [5] * 5), (2, [2, 2, 2, 2, 1]), (1, [1] * 5)):
        inpainter.to_device("cpu", at_once)
        shown = inpainter(pixels, holes).frames[with_hole, 4, 7]
        assert shown.tolist() == [[batch, 16, 24] for batch in batches]


def test_a_user_sees_no_warnings_of_torchs(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    inpainter = lama(tmp_path, Mix())
    recwarn.clear()
    inpainter(*clip(1, 8, 8))
    assert not recwarn.list


def test_without_a_hole_the_network_is_not_even_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inpainter = lama(tmp_path, Mix())
    monkeypatch.setattr(torch.jit, "load", None)
    pixels, holes = clip(3, 8, 8)
    result = inpainter(pixels, np.zeros_like(holes))
    np.testing.assert_array_equal(result.frames, pixels)
    assert not result.unseen.any()


@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20), st.floats(0, 1))
def test_outside_the_holes_every_pixel_is_the_inputs(
    stub: LamaInpainter, count: int, height: int, width: int, share: float
) -> None:
    rng = np.random.default_rng(height)
    pixels = rng.integers(0, 256, (count, height, width, 3), np.uint8)
    holes = rng.random((count, height, width)) < share
    before = pixels.copy(), holes.copy()
    first, second = stub(pixels, holes), stub(pixels, holes)
    np.testing.assert_array_equal(first.frames[~holes], pixels[~holes])
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.unseen, holes)
    np.testing.assert_array_equal((pixels, holes)[0], before[0])
    np.testing.assert_array_equal((pixels, holes)[1], before[1])


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> LamaInpainter:
    return lama(tmp_path_factory.mktemp("lama"), Fourier())


def test_one_pass_or_many_first_or_later_show_the_same(stub: LamaInpainter) -> None:
    pixels, holes = clip(3, 24, 40)
    shown = [stub(pixels, holes).frames for _ in range(4)]
    for other in shown[1:]:
        np.testing.assert_array_equal(shown[0], other)


# The file


def test_the_weights_are_the_published_ones() -> None:
    assert NAME == "big-lama.pt"
    assert URL == "https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt"
    assert MD5 == "e3aa4aaa15225a33ec84f9f4bc47e500"


def test_another_file_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    monkeypatch.setattr(torch.jit, "load", lambda *given, **_: loads.append(given))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    cached = tmp_path / "torch" / "hub" / "checkpoints" / NAME
    cached.parent.mkdir(parents=True)
    for path, spec in ((tmp_path / "own.pt", f"lama:{tmp_path / 'own.pt'}"), (cached, "lama")):
        torch.jit.save(torch.jit.script(Mix()), path)
        for name in (spec, f"temporal:{spec}"):
            with pytest.raises(InputError, match=rf"{re.escape(str(path))} has the MD5 .*{URL}"):
                make_inpainter(name)
    assert loads == []


def test_without_a_network_the_answer_is_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = re.escape(str(tmp_path / "hub" / "checkpoints" / "big-lama.pt"))
    message = rf"weights of LaMa cannot be fetched .*; put the file from {URL} at {place}\.$"
    with pytest.raises(InputError, match=message):
        make_inpainter("lama")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*none\.pt"):
        make_inpainter(f"lama:{tmp_path / 'none.pt'}")


def test_identity_follows_the_weights_and_loads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = lama(tmp_path, Mix()), lama(tmp_path, Beyond())
    monkeypatch.setattr(torch.jit, "load", None)
    digest = hashlib.md5((tmp_path / "Mix.pt").read_bytes()).hexdigest()
    assert one.identity.startswith(f"lama 1 {digest}")
    assert one.identity != other.identity
    moved = (tmp_path / "Mix.pt").rename(tmp_path / "moved.pt")
    assert LamaInpainter(moved, md5=digest).identity == one.identity
    one.to_device("cuda:0", 3)
    assert LamaInpainter(moved, md5=digest).identity == one.identity
    assert is_network(one) and not one.uses_other_frames


# Where it runs


def test_it_travels_without_its_network(tmp_path: Path) -> None:
    inpainter = lama(tmp_path, Mix())
    pixels, holes = clip(3, 9, 14)
    fresh = pickle.dumps(inpainter)
    inpainter.to_device("cpu", 2)
    expected = inpainter(pixels, holes).frames
    used = pickle.dumps(inpainter)
    assert len(used) < 2000
    for travelled in (fresh, used):
        copy = pickle.loads(travelled)  # noqa: S301
        assert copy.identity == inpainter.identity
        np.testing.assert_array_equal(copy(pixels, holes).frames, expected)


def test_on_a_cpu_it_computes_on_one_thread_and_gives_the_others_back(tmp_path: Path) -> None:
    inpainter = lama(tmp_path, Mix())
    seen: list[int] = []

    class Asked:
        def __call__(self, image: Tensor, mask: Tensor) -> Tensor:
            seen.append(torch.get_num_threads())
            assert not torch._C._get_graph_executor_optimize()
            assert torch.is_inference_mode_enabled()
            if len(seen) > 1:
                raise RuntimeError("out of luck")
            return image

    inpainter._network = Asked()  # type: ignore[assignment]
    before = torch.get_num_threads()
    assert torch._C._get_graph_executor_optimize()
    torch.set_num_threads(3)
    try:
        inpainter(*clip(1, 8, 8))
        assert torch.get_num_threads() == 3
        with pytest.raises(RuntimeError, match="luck"):
            inpainter(*clip(1, 8, 8))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert torch._C._get_graph_executor_optimize()
    assert seen == [1, 1]


def test_the_network_is_loaded_once_and_anew_for_another_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inpainter = lama(tmp_path, Mix())
    devices: list[str] = []
    load = torch.jit.load

    def counted(path: Path, map_location: torch.device) -> torch.jit.ScriptModule:
        devices.append(str(map_location))
        return load(path, map_location="cpu")

    monkeypatch.setattr(torch.jit, "load", counted)
    for at_once in (1, 4):
        inpainter.to_device("cpu", at_once)
        inpainter(*clip(2, 8, 8))
    assert devices == ["cpu"]
    inpainter.to_device("cuda:0", 4)
    assert inpainter._network is None


def test_too_little_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches_as_on_a_gpu(monkeypatch)

    def full(image: Tensor, mask: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    inpainter = lama(tmp_path, Mix())
    inpainter._network = full  # type: ignore[assignment]
    holes = np.ones((2, 8, 16), np.bool_)
    wanted = r"memory: cpu .* 2 frames at once; give a smaller --frames-at-once, such as 1\."
    with pytest.raises(L2AError, match=wanted):
        inpainter(np.zeros((2, 8, 16, 3), np.uint8), holes)


# Half precision, as on a GPU; it can be computed on a CPU, too


def inputs(seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.random((2, 3, 24, 40), np.float32))
    return image, torch.from_numpy((rng.random((2, 1, 24, 40)) < 0.3).astype(np.float32))


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("kind", ["eager", "script", "trace"])
def test_wide_convolutions_run_in_half_precision_and_nothing_else(
    kind: str, gradients: bool
) -> None:
    network = Fourier()
    image, mask = inputs()
    asked = {"eager": lambda net: net, "script": torch.jit.script}.get(
        kind, lambda net: torch.jit.trace(net, inputs(1))
    )(network)
    seen: dict[str, set[torch.dtype]] = {}

    class RankingMonitor(torch.utils._python_dispatch.TorchDispatchMode):
        """Sees what the other mode makes of each operator."""

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            name = func.overloadpacket.__name__
            if "conv" in name:
                name = f"conv {args[1].shape[2]}"
                assert len({given.dtype for given in args[:3] if given is not None}) == 1
            if "conv" in name or "fft" in name or "norm" in name:
                seen.setdefault(name, set()).add(args[0].dtype)
            return func(*args, **(kwargs or {}))

    with torch.inference_mode(not gradients), RankingMonitor(), HalfConvolutions() as half:
        shown = asked(image, mask)
    assert half.sound
    assert {dtype for name, found in seen.items() if "conv" not in name for dtype in found} <= {
        torch.float32,
        torch.complex64,
    }
    assert any("fft" in name for name in seen)
    assert {name: found for name, found in seen.items() if "conv" in name} == {
        "conv 1": {torch.float32},
        "conv 3": {torch.float16},
        "conv 7": {torch.float16},
    }
    with torch.inference_mode():
        exact = network(image, mask)
    shown = shown.detach()
    assert shown.dtype == torch.float32
    assert not torch.equal(shown, exact)
    assert float((shown - exact).abs().max()) < 2e-3


def test_half_precision_changes_no_pixel_by_much(tmp_path: Path) -> None:
    inpainter = lama(tmp_path, Fourier())
    pixels, holes = clip(3, 30, 44)
    exact = inpainter(pixels, holes).frames
    inpainter._half = True
    shown = inpainter(pixels, holes).frames
    assert np.abs(shown.astype(int) - exact).max() <= 1
    assert (shown != exact).any()


def test_what_leaves_the_range_of_half_precision_is_computed_again_in_float32(
    tmp_path: Path,
) -> None:
    inpainter = lama(tmp_path, Fourier(scale=1e6))
    pixels, holes = clip(2, 24, 24)
    exact = inpainter(pixels, holes).frames
    inpainter._half = True
    np.testing.assert_array_equal(inpainter(pixels, holes).frames, exact)


def test_only_a_cpu_keeps_full_precision(tmp_path: Path) -> None:
    inpainter = lama(tmp_path, Mix())
    assert not inpainter._half
    inpainter.to_device("cuda:1", 8)
    assert inpainter._half
    inpainter.to_device("cpu", 8)
    assert not inpainter._half
