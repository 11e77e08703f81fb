"""`lama`: large holes, made up by a network, in every frame by itself.

LaMa is Suvorov et al., "Resolution-robust Large Mask Inpainting with Fourier Convolutions" (WACV
2022), here as the TorchScript file `big-lama.pt` of lama-cleaner and IOPaint, called as they do.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from compositing.inpainters.base import Inpainted
from compositing.networks import frames_per_pass, one_thread, out_of_memory
from l2a.weights import find_file

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

NAME = "big-lama.pt"
URL = "https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt"
MD5 = "e3aa4aaa15225a33ec84f9f4bc47e500"
MULTIPLE = 8
"""The network halves the frames three times: their sides are padded to a multiple of this."""


class LamaInpainter:
    """Fills each frame's hole by LaMa.

    On a GPU the convolutions run in half precision, see `HalfConvolutions`; on a CPU everything is
    float32 and on one thread.

    Args:
        path: the user's `big-lama.pt`; None takes the one in torch hub's checkpoints folder, where
            it is downloaded to at first use.
        md5: the file's checksum. It is compared before anything is loaded, because TorchScript is
            code.

    Raises:
        InputError: the file is not there and cannot be fetched, or it is another file.
    """

    uses_other_frames = False
    uses_network = True

    def __init__(self, path: Path | None = None, *, md5: str = MD5) -> None:
        self.path = find_file(NAME, URL, md5, "The weights of LaMa", path)
        self.identity = f"lama 1 {md5} multiple {MULTIPLE}"
        self._network: torch.jit.ScriptModule | None = None
        self._device = torch.device("cpu")
        self.to_device("cpu", 8)

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """The inpainter of `lama` or `lama:PATH`."""
        return cls(Path(argument) if argument else None)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the network, which is loaded where it is used."""
        return self.__dict__ | {"_network": None}

    def to_device(self, device: str, frames_at_once: int) -> None:
        """See `compositing.networks.OnDevice`."""
        if torch.device(device) != self._device:
            self._network = None
        self._device, self._frames_at_once = torch.device(device), frames_at_once
        self._half = self._device.type != "cpu"

    def __call__(self, frames: UInt8, holes: Bool) -> Inpainted:
        """Fill each frame's hole; the network sees whole frames, and only those with a hole."""
        filled = frames.copy()
        affected = np.flatnonzero(holes.any(axis=(1, 2)))
        step = frames_per_pass(self._device, self._frames_at_once)
        for start in range(0, len(affected), step):
            part = affected[start : start + step]
            made_up = self._make_up(frames[part], holes[part])
            filled[part] = np.where(holes[part][..., None], made_up, frames[part])
        return Inpainted(filled, holes.copy())

    def _make_up(self, frames: UInt8, holes: Bool) -> UInt8:
        """What the network shows: uint8 [n, H, W, 3], RGB, like `frames`; all of it made up."""
        height, width = holes.shape[1:]
        pictures = _padded(frames).to(self._device).permute(0, 3, 1, 2).float() / 255
        masks = _padded(holes).to(self._device)[:, None].float()
        try:
            shown = self._ask(pictures.contiguous(), masks)
        except torch.OutOfMemoryError:
            raise out_of_memory(str(self._device), len(frames)) from None
        pixels = (shown * 255).round().clamp(0, 255).to(torch.uint8)
        return pixels[:, :, :height, :width].permute(0, 2, 3, 1).cpu().numpy()

    @torch.inference_mode()
    def _ask(self, pictures: Tensor, masks: Tensor) -> Tensor:
        """The network's answer, float32 [n, 3, h, w] in 0..1, to float32 [n, 3 and 1, h, w]."""
        network = self._loaded()
        # Optimised, TorchScript runs other kernels once it has seen a size twice: other bits.
        plain = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]
        with plain, one_thread(self._device):
            if self._half:
                with HalfConvolutions() as half:
                    shown: Tensor = network(pictures, masks)
                if half.sound:
                    return shown
            return network(pictures, masks)

    def _loaded(self) -> torch.jit.ScriptModule:
        if self._network is None:
            with warnings.catch_warnings():
                # There is no other way to load such a file, and users can do nothing about it.
                warnings.filterwarnings("ignore", "`torch.jit.load`", FutureWarning)
                self._network = torch.jit.load(self.path, map_location=self._device).eval()
        return self._network


class HalfConvolutions(TorchDispatchMode):
    """While it is entered, convolutions wider than a pixel run in half precision.

    These are nearly all of LaMa's arithmetic. Autocast would not do: it leaves half-precision
    tensors to the Fourier transforms, which on a GPU take powers of two only in that precision, and
    whose constant terms, sums over all pixels, leave its range (black frames). So everything else
    stays in float32: the transforms, and the 1 x 1 convolutions that work on their coefficients.
    """

    KINDS = ("convolution", "_convolution", "conv2d", "conv_transpose2d")
    """Under these names PyTorch calls them, scripted or traced, with or without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self._finite: list[Tensor] = []

    @property
    def sound(self) -> bool:
        """Whether nothing left the range of half precision so far."""
        return not self._finite or bool(torch.stack(self._finite).all())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operator."""
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ not in self.KINDS or args[1].shape[2:].numel() == 1:
            return func(*args, **kwargs)
        # The image, the weights, and the bias if there is one.
        halves = [None if given is None else given.half() for given in args[:3]]
        result = func(*halves, *args[3:], **kwargs)
        self._finite.append(torch.isfinite(result).all())
        return result.float()


def _padded(pictures: UInt8 | Bool) -> Tensor:
    """Frames or masks [n, H, W, ...], mirrored at the lower and right edges to whole multiples."""
    height, width = pictures.shape[1:3]
    margins = [(0, 0), (0, -height % MULTIPLE), (0, -width % MULTIPLE)]
    margins += [(0, 0)] * (pictures.ndim - 3)
    return torch.from_numpy(np.pad(pictures, margins, mode="symmetric"))
