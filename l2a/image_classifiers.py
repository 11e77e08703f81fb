"""Image classifiers with their heads: what a picture shows, as probabilities of ImageNet's classes.

`l2a.image_networks` has the trunks of some of these networks, for clips; here a network is whole,
and sees single frames, prepared as it wants them:

    frames uint8 [B, h, w, 3] ─► shorter side to `resize` ─► centre `crop` ─► normalised ─► logits
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2a.errors import InputError
from l2a.image_networks import IMAGENET_MEAN, IMAGENET_STD, imagenet_state, in_pieces
from l2a.weights import read_state_dict, torchvision_state

LITE = "efficientnet_lite0"


@dataclass(frozen=True)
class Preset:
    """How a network wants its input.

    Attributes:
        resize: of the shorter side, pixels; the aspect ratio is kept.
        crop: side of the square in the centre that it sees, pixels.
        mean, std: of R, G and B in 0..1, which its input is normalised by.
        interpolation: of the resizing.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def __call__(self, frames: Tensor) -> Tensor:
        """Prepare frames.

        Args:
            frames: uint8 `[B, h, w, 3]`, RGB, 0..255.

        Returns:
            float32 `[B, 3, crop, crop]` on the same device, channels last.
        """
        images = frames.permute(0, 3, 1, 2).float()
        height, width = images.shape[2:]
        scale = self.resize / min(height, width)
        size = (max(self.crop, round(height * scale)), max(self.crop, round(width * scale)))
        images = F.interpolate(images, size, mode=self.interpolation, antialias=True)
        top, left = (size[0] - self.crop) // 2, (size[1] - self.crop) // 2
        images = images[:, :, top : top + self.crop, left : left + self.crop].clamp(0, 255)
        mean, std = (
            torch.tensor(values, device=images.device)[:, None, None]
            for values in (self.mean, self.std)
        )
        normal: Tensor = (images / 255 - mean) / std
        return normal.contiguous(memory_format=torch.channels_last)


class ImageClassifier(nn.Module):
    """A network with its head, in evaluation.

    Attributes:
        name: of the network.
        classes: K.
        preset: how it wants its input.
    """

    def __init__(self, name: str, network: nn.Module, classes: int, preset: Preset) -> None:
        super().__init__()
        self.name, self.classes, self.preset = name, classes, preset
        self.network = network.to(memory_format=torch.channels_last).eval()

    def forward(self, frames: Tensor) -> Tensor:
        """Logits float32 `[B, K]` of frames uint8 `[B, h, w, 3]`, RGB."""
        logits = in_pieces(self.network, self.preset(frames))
        return logits.float()

    def checksum(self) -> str:
        """Sixteen hexadecimal digits of all that logits depend on besides the frames: preparation
        and weights (SHA-256)."""
        digest = hashlib.sha256(repr((self.name, self.preset)).encode())
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Kind:
    """A kind of image classifier.

    Attributes:
        build: K ─► the network, from scratch.
        imagenet: reads its ImageNet weights, of 1,000 classes.
        preset: how it wants its input.
    """

    build: Callable[[int], nn.Module]
    imagenet: Callable[[], Mapping[str, Tensor]]
    preset: Preset


IMAGENET_CLASSES = 1000


def make_image_classifier(spec: str, option: str = "--teacher") -> ImageClassifier:
    """An image classifier with its weights, on the CPU.

    Args:
        spec: `efficientnet_lite0` (the packages of the extra "pretrained") or the name of a
            classification network of torchvision, with its default ImageNet weights; or NAME:FILE
            with the weights in a file, of any number of classes.
        option: where the user gave it, for messages.

    Raises:
        InputError: there is no such network, a package is not installed, or weights are missing,
            damaged, not the published ones, or another network's.
    """
    name, colon, file = spec.partition(":")
    kind = _kind(name, option)
    if colon:
        path = Path(file).expanduser()
        if not file:
            raise InputError(
                f"{option} {spec} names no file after the colon; give {name}:FILE, or {name} alone "
                "for its ImageNet weights."
            )
        state, origin = read_state_dict(path), str(path)
    else:
        origin = f"The ImageNet weights of {name}"
        try:
            state = kind.imagenet()
        except InputError as error:
            said = str(error).rstrip(".")
            raise InputError(f"{said}, or give {option} {name}:FILE.") from None
    network, classes = _loaded(kind, name, state, origin)
    return ImageClassifier(name, network, classes, kind.preset)


def _kind(name: str, option: str) -> Kind:
    if name == LITE:
        return _lite()
    known = _torchvision_names()
    if name in known:
        return _torchvision(name)
    close = difflib.get_close_matches(name, [LITE, *known], 3, 0.5)
    remedy = f"the nearest are {', '.join(close)}" if close else f"one is {LITE}, another resnet18"
    raise InputError(
        f"There is no image network {name!r} for {option}; {remedy}, and all of torchvision's "
        "classification networks are known by their names."
    )


def _loaded(
    kind: Kind, name: str, state: Mapping[str, Tensor], origin: str
) -> tuple[nn.Module, int]:
    """The network with weights, and K, which the weights' last layer says.

    Raises:
        InputError: they are another network's.
    """
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    network = kind.build(IMAGENET_CLASSES)
    own = _shapes(network)
    missing, strange = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or strange:
        what = f"it lacks {missing[0]}" if missing else f"it also holds {strange[0]}"
        raise _not_of(name, origin, what)
    other = {key: tuple(state[key].shape) for key in own if tuple(state[key].shape) != own[key]}
    if not other:
        return _filled(network, state), IMAGENET_CLASSES
    key, shape = next(iter(other.items()))
    classes = shape[0] if shape else 0
    if classes > 0 and own[key][:1] == (IMAGENET_CLASSES,):
        network = kind.build(classes)
        own = _shapes(network)
    for key, shape in own.items():
        if tuple(state[key].shape) != shape:
            raise _not_of(name, origin, f"{key} is {list(state[key].shape)}, not {list(shape)}")
    return _filled(network, state), classes


def _filled(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """The network, with weights of the right names and shapes."""
    own = network.state_dict()  # which says what version it is of, as some networks ask
    own.update(state)
    network.load_state_dict(own)
    return network


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of all that a network's weight file must hold, by name."""
    return {
        key: tuple(value.shape)
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }


def _not_of(name: str, origin: str, what: str) -> InputError:
    return InputError(
        f"{origin} does not fit {name}: {what}; give the file of a whole {name}, head included."
    )


# EfficientNet-Lite0, from two packages


def _lite() -> Kind:
    """EfficientNet-Lite0 (Liu 2020), evaluated as it was trained: the centre 7/8, to 224 pixels by
    cubic interpolation, (x − 127) / 128."""
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError(
            f"{LITE} needs a package that is not installed ({error}); run: "
            "pip install 'l2a[pretrained]'"
        ) from None

    def build(classes: int) -> nn.Module:
        made: nn.Module = EfficientNet.from_name("efficientnet-lite0", num_classes=classes)
        return made

    mean, std = 127 / 255, 128 / 255
    preset = Preset(256, 224, (mean, mean, mean), (std, std, std), "bicubic")
    return Kind(build, lambda: imagenet_state(f"tsn_{LITE}"), preset)


# torchvision's

_ARGUMENTS: Mapping[str, Mapping[str, object]] = {
    "googlenet": {"transform_input": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
    "vit_h_14": {"image_size": 518},
}
"""What torchvision itself builds a network with when its default weights are asked for."""


def _torchvision_names() -> list[str]:
    """Its classification networks."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def _torchvision(name: str) -> Kind:
    from torchvision import models

    weights = models.get_model_weights(name).DEFAULT
    transform = weights.transforms()

    def build(classes: int) -> nn.Module:
        made: nn.Module = models.get_model(
            name, weights=None, num_classes=classes, **_ARGUMENTS.get(name, {})
        )
        return made

    def imagenet() -> Mapping[str, Tensor]:
        state = torchvision_state(weights, f"The ImageNet weights of {name}")
        return _renamed(state) if name.startswith("densenet") else state

    cubic = transform.interpolation.value == "bicubic"
    preset = Preset(
        transform.resize_size[0], transform.crop_size[0], _three(transform.mean),
        _three(transform.std), "bicubic" if cubic else "bilinear",
    )  # fmt: skip
    return Kind(build, imagenet, preset)


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _renamed(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Densely connected networks' files have names from when a part's name could hold a dot."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key): value
        for key, value in state.items()
    }
