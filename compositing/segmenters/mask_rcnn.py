"""`mask-rcnn`: torchvision's Mask R-CNN, which knows the 80 categories of COCO.

The network is `maskrcnn_resnet50_fpn_v2` (He et al., 2017, with the recipe of Li et al., 2021). It
scales every frame itself so that its shorter side has 800 pixels (and its longer one at most
1333), so large videos gain nothing from a larger `max_side`, and small ones cost as much.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights as Weights
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.transform import resize_boxes

from compositing.masks import VideoMasks
from compositing.networks import frames_per_pass, one_thread, out_of_memory
from compositing.segmenters.detections import INSIDE, Detections, snapped
from compositing.segmenters.following import IDENTITY, detect_and_track
from l2a.errors import InputError
from l2a.files import file_sha256
from l2a.media import Frames
from l2a.videos import Video
from l2a.weights import read_state_dict, torchvision_state

WEIGHTS = Weights.COCO_V1
PUBLISHED: str = WEIGHTS.url.rsplit("-", 1)[-1].removesuffix(".pth")
"""The first digits of these weights' SHA-256, which torchvision puts into the file's name."""
CATEGORIES: tuple[str, ...] = tuple(WEIGHTS.meta["categories"])
"""By label; label 0 is the background, and those that COCO left out are "N/A"."""
FLOOR = 0.05
"""Least score of a detection that is stored; whoever uses the masks sets a higher one."""


def standard_network() -> nn.Module:
    """The network of the published weights, untrained."""
    network: nn.Module = maskrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, box_score_thresh=FLOOR
    )
    return network


class MaskRCNN:
    """Finds what COCO has a name for, in every frame by itself, and follows it through the video.

    Args:
        file: a state dict of the network (.pth or .safetensors); by default the weights that
            torchvision publishes, from torch hub's folder, downloaded there at first use.
        build: makes the network, untrained: a `torchvision.models.detection.MaskRCNN`.

    Raises:
        InputError: there is no such file. What is in it, `check` looks at.
    """

    name = "mask-rcnn"
    uses_network = True

    def __init__(
        self, file: Path | None = None, build: Callable[[], nn.Module] = standard_network
    ) -> None:
        if file is not None and not file.is_file():
            raise InputError(
                f"There is no weight file {file}; check the path after 'mask-rcnn:', or leave it"
                " out to have torchvision's weights fetched."
            )
        self._file = file
        self._build = build
        self._device = torch.device("cpu")
        self._frames_at_once = 8
        self._network: nn.Module | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the network, which is loaded where it is used."""
        return self.__dict__ | {"_network": None}

    @classmethod
    def from_argument(cls, argument: str) -> MaskRCNN:
        """The segmenter of `mask-rcnn` or `mask-rcnn:FILE`."""
        return cls(Path(argument).expanduser() if argument else None)

    @cached_property
    def identity(self) -> str:
        """`mask-rcnn` with the SHA-256 of the weights.

        The published weights carry theirs in their name, so that masks made with them can be used
        where the weights are not. Device and precision do not count: what they change is no more
        than rounding.
        """
        digits = file_sha256(self._file) if self._file else PUBLISHED
        weights = PUBLISHED if digits.startswith(PUBLISHED) else digits[:16]
        return f"mask-rcnn 1 weights {weights} floor {FLOOR} inside {INSIDE} {IDENTITY}"

    def check(self, videos: Sequence[Video]) -> None:
        """Raise `InputError` unless the weights are there, or can be fetched, and fit."""
        # On the device "meta" a network has shapes and no memory.
        with torch.device("meta"):
            network = self._build()
        self._fill(network, assign=True)

    def to_device(self, device: str, frames_at_once: int) -> None:
        """See `OnDevice`. On a CPU one frame goes through at a time."""
        if torch.device(device) != self._device:
            self._network = None
        self._device, self._frames_at_once = torch.device(device), frames_at_once

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        """All that the network detects above `FLOOR`; `video` itself is not needed.

        Raises:
            InputError: the weights are not there or do not fit; `check` says so before.
            L2AError: the GPU runs out of memory.
        """
        return detect_and_track(frames.frames, self.detect, self.name)

    def detect(self, frames: NDArray[np.uint8]) -> list[Detections]:
        """See `Detector`; raises as a call does."""
        network = self._loaded()
        step = frames_per_pass(self._device, self._frames_at_once)
        found: list[Detections] = []
        for start in range(0, len(frames), step):
            try:
                found += _detect(network, frames[start : start + step], self._device)
            except torch.OutOfMemoryError:
                raise out_of_memory(str(self._device), step) from None
        return found

    def _loaded(self) -> nn.Module:
        if self._network is None:
            network = self._build()
            self._fill(network, assign=False)
            network = skip_mask_pasting(network.eval().to(self._device))
            self._network = use_half_precision(network) if self._device.type == "cuda" else network
        return self._network

    def _fill(self, network: nn.Module, *, assign: bool) -> None:
        """Load the weights into a network that was just built."""
        if self._file is not None:
            state, source = read_state_dict(self._file), str(self._file)
        else:
            source = "The weight file of torchvision's Mask R-CNN"
            state = torchvision_state(WEIGHTS, "The weights of mask-rcnn")
        try:
            network.load_state_dict(state, strict=True, assign=assign)
        except RuntimeError as error:
            first = str(error).splitlines()[1:2] or [str(error)]
            raise InputError(
                f"{source} does not hold the weights of maskrcnn_resnet50_fpn_v2"
                f" ({_short(first[0].strip())}); give a state dict of that network."
            ) from None


def skip_mask_pasting(network: nn.Module) -> nn.Module:
    """Let a torchvision Mask R-CNN give its masks as they are, M x M probabilities in each box.

    By itself it pastes them to the frame's size one after the other: with a hundred detections
    that takes longer than all that comes before, on a GPU too.
    """

    def boxes_alone(
        result: list[dict[str, Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        sizes = zip(result, image_shapes, original_image_sizes, strict=True)
        return [{**one, "boxes": resize_boxes(one["boxes"], *size)} for one, *size in sizes]

    whole: Any = network
    whole.transform.postprocess = boxes_alone
    return network


def use_half_precision(
    network: nn.Module, device_type: str = "cuda", precision: torch.dtype = torch.float16
) -> nn.Module:
    """Let the convolutions of a torchvision Mask R-CNN compute in half precision.

    Not all of it: boxes in half precision are wrong by up to a pixel, and torchvision keeps the
    categories apart in its non-maximum suppression by adding label x width to the coordinates,
    which half precision cannot hold. So each convolutional part gives float32 to what follows.
    """
    heads: Any = network
    heads.backbone = _Half(heads.backbone, device_type, precision)
    heads.rpn.head = _Half(heads.rpn.head, device_type, precision)
    heads.roi_heads.box_head = _Half(heads.roi_heads.box_head, device_type, precision)
    heads.roi_heads.mask_head = _Half(heads.roi_heads.mask_head, device_type, precision)
    return network


class _Half(nn.Module):
    """Computes its inner module in half precision, and gives float32."""

    def __init__(self, inner: nn.Module, device_type: str, precision: torch.dtype) -> None:
        super().__init__()
        self.inner = inner
        self.device_type, self.precision = device_type, precision

    def forward(self, inputs: Any) -> Any:
        with torch.autocast(self.device_type, self.precision):
            outputs = self.inner(inputs)
        return _to_float(outputs)


def _to_float(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, Mapping):
        return OrderedDict((name, _to_float(value)) for name, value in outputs.items())
    return [_to_float(value) for value in outputs]


def _detect(
    network: nn.Module, frames: NDArray[np.uint8], device: torch.device
) -> list[Detections]:
    """The detections of frames (uint8 [n, H, W, 3], RGB) that go through the network together."""
    found = []
    with torch.inference_mode(), one_thread(device):
        # Copied, because frames may lie in memory that is not to be written to.
        pixels = torch.tensor(frames, device=device).permute(0, 3, 1, 2)
        for output in network(list(pixels.float() / 255)):
            masks = output["masks"][:, 0].cpu().numpy()
            boxes = snapped(output["boxes"].cpu().numpy(), masks.shape[1])
            names = tuple(CATEGORIES[label] for label in output["labels"].tolist())
            found.append(Detections(names, output["scores"].cpu().numpy(), boxes, masks))
    return found


def _short(text: str) -> str:
    return text if len(text) <= 160 else text[:160].rsplit(" ", 1)[0] + " …"
