"""Networks by name, each as a trunk (clip ─► feature) and a head (feature ─► logits).

The classifier is a trunk with its head; the Selector uses a trunk alone. Both rooms build them
here, so that a trunk trained in one loads in the other.

    clips ─ to_input ─► forward_features [B, D, T', H', W'] ─► pool [B, D] ─► head [B, num_classes]
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2a.backends import make_backend
from l2a.devices import Precision, resolve_precision
from l2a.errors import InputError
from l2a.weights import read_state_dict, torchvision_state

# Kinetics-400 statistics of torchvision's video presets, so that its weights fit.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)

Features = Callable[[Tensor], Tensor]
"""Normalised clips `[B, 3, T, H, W]` ─► feature maps `[B, D, T', H', W']`."""


class Trunk(nn.Module):
    """A network without its last layer. A new one is a subclass with `_features`.

    The parts of the network that it is made from keep their names, so that weight files of the
    whole network are weight files of the trunk.

    Attributes:
        feature_dim: D, the length of a clip's feature; but where `pool` says otherwise, the
            channels of its feature maps.
        mean, std: of R, G and B in 0..1, which its input is normalised by.
        layout: of weights in memory that convolutions are fastest with on a GPU.
        precision: of every forward pass, whoever asks for it: "bfloat16" computes in mixed
            precision. What comes out is float32 in any case.
    """

    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    layout: ClassVar[torch.memory_format] = torch.channels_last_3d

    def __init__(self, model: nn.Module, feature_dim: int, head: str | None = None) -> None:
        """
        Args:
            model: gives its parts, all but `head`.
            feature_dim: D.
            head: the name of its last layer.
        """
        super().__init__()
        for name, part in model.named_children():
            if name != head:
                self.add_module(name, part)
        self.feature_dim = feature_dim
        self.precision: Precision = "float32"
        self._otherwise: Features | None = None

    def to_input(self, clips: Tensor) -> Tensor:
        """Turn stored clips into input.

        Args:
            clips: uint8 `[B, T, H, W, 3]`, RGB, 0..255.

        Returns:
            float32 `[B, 3, T, H, W]` on the same device, normalised by `mean` and `std`.
        """
        mean, std = (torch.tensor(values, device=clips.device) for values in (self.mean, self.std))
        # One fused multiply-add on the channels-last layout, then a view: no copy for the
        # permutation, and convolutions get the layout that they are fastest on.
        normal = clips.float().mul_(1 / (255 * std)).sub_(mean / std)
        return normal.permute(0, 4, 1, 2, 3)

    def forward_features(self, clips: Tensor) -> Tensor:
        """Feature maps float32 `[B, D, T', H', W']` of normalised clips `[B, 3, T, H, W]`."""
        mixed = self.precision == "bfloat16"
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=mixed):
            return (self._otherwise or self._features)(clips).float()

    @contextlib.contextmanager
    def computed_by(self, make: Callable[[Features], Features]) -> Iterator[None]:
        """In the block, this trunk's feature maps come from what `make` makes of its function.

        Copies that are made meanwhile, and other processes, compute as usual.
        """
        self._otherwise = make(self._features)
        try:
            yield
        finally:
            self._otherwise = None

    def __getstate__(self) -> dict[str, Any]:
        """Without a function that computes with the weights of this very trunk."""
        return {**super().__getstate__(), "_otherwise": None}

    def pool(self, features: Tensor) -> Tensor:
        """The feature of a clip, float32 `[B, D]`: the mean of its maps over space and time."""
        return F.adaptive_avg_pool3d(features, 1).flatten(1)

    def forward(self, clips: Tensor) -> Tensor:
        """Features float32 `[B, D]` of normalised clips `[B, 3, T, H, W]`."""
        return self.pool(self.forward_features(clips))

    def move_to(self, device: torch.device, precision: Precision = "float32") -> Self:
        """Move to a device, in the layout that is fastest there, to compute in `precision`.

        Only a GPU computes in another precision than float32; a CPU says that it does not.
        """
        self.precision = resolve_precision(precision, device)
        self.to(device)
        if device.type == "cuda":
            # Weights in the layout of the input: or every convolution would turn one of them.
            self.to(memory_format=self.layout)
        return self

    def adopt(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors of a weight file under the names that they have here.

        Args:
            state: of a whole network of ours ("trunk.…"), of a trunk, or of the network that the
                trunk was made from.
        """
        return {key.removeprefix("trunk."): value for key, value in state.items()}

    def folded(self) -> Trunk:
        """The same trunk for passes in evaluation alone, in a faster form where there is one.

        Its outputs differ by rounding; its weights are not those that a file keeps.
        """
        return self

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    def _features(self, clips: Tensor) -> Tensor:
        raise NotImplementedError


class VideoNetwork(nn.Module):
    """A trunk and a linear head.

    Attributes:
        name: its name in `NETWORKS`.
        trunk: all but the last layer; its state is what a Selector's file keeps.
        head: the last layer, float32 `[B, D]` ─► logits `[B, num_classes]`.
    """

    def __init__(self, name: str, trunk: Trunk, num_classes: int) -> None:
        super().__init__()
        self.name = name
        self.trunk = trunk
        self.head = nn.Linear(trunk.feature_dim, num_classes)

    @property
    def feature_dim(self) -> int:
        """D, the length of a clip's feature."""
        return self.trunk.feature_dim

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.trunk.device

    def to_input(self, clips: Tensor) -> Tensor:
        """See `Trunk.to_input`."""
        return self.trunk.to_input(clips)

    def forward_features(self, clips: Tensor) -> Tensor:
        """See `Trunk.forward_features`: float32 `[B, D, T', H', W']`."""
        return self.trunk.forward_features(clips)

    def pool(self, features: Tensor) -> Tensor:
        """See `Trunk.pool`: float32 `[B, D]`."""
        return self.trunk.pool(features)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits float32 `[B, num_classes]` of normalised clips `[B, 3, T, H, W]`."""
        logits: Tensor = self.head(self.pool(self.forward_features(clips)))
        return logits

    def class_maps(self, features: Tensor) -> Tensor | None:
        """What speaks for each class, where and when (Zhou et al. 2016, Eq. 2).

        Args:
            features: float32 `[B, D, T', H', W']`, of `forward_features`.

        Returns:
            float32 `[B, num_classes, T', H', W']`; their mean over space and time and the head's
            bias make the logit. None for a trunk that pools otherwise than by the mean, so that
            there is no such map.
        """
        if type(self.trunk).pool is not Trunk.pool:
            return None
        return torch.einsum("bdthw,cd->bcthw", features, self.head.weight)

    @torch.no_grad()
    def fresh_head(self) -> None:
        """Put the head to zeros: every class is as likely, whatever the clip."""
        for parameter in self.head.parameters():
            parameter.zero_()

    def move_to(self, device: torch.device, precision: Precision = "float32") -> Self:
        """See `Trunk.move_to`."""
        self.trunk.move_to(device, precision)
        self.head.to(device)
        return self


def build_network(name: str, num_classes: int, weights: str | None = None) -> VideoNetwork:
    """Build a network, from scratch or with a trunk that was trained elsewhere.

    Args:
        name: a name in `NETWORKS`.
        num_classes: outputs of the head, which always starts from scratch unless a weight file
            has a head of exactly this size.
        weights: None (from scratch), "kinetics" for a video network (torchvision's Kinetics-400
            weights, downloaded at first use), "imagenet" for an image network (likewise, or from
            an installed package), or the path of a `.safetensors` or `.pth` state dict.

    Raises:
        InputError: unknown name, weights that are absent, damaged or of another network.
    """
    network = VideoNetwork(name, build_trunk(name), num_classes)
    if weights in ("kinetics", "imagenet"):
        _load(network, _published_state(name, weights), f"the {weights} weights of {name}")
    elif weights is not None:
        _load(network, read_state_dict(Path(weights)), weights)
    return network


def build_trunk(name: str) -> Trunk:
    """The trunk of a network, from scratch.

    Raises:
        InputError: there is no network of this name.
    """
    return make_backend("network", name, NETWORKS)


class ResNetTrunk(Trunk):
    """torchvision's 3D residual networks: R3D, R(2+1)D, MC3 (Tran et al. 2018)."""

    def _features(self, clips: Tensor) -> Tensor:
        for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
            clips = self.get_submodule(name)(clips)
        return clips


class SwinTrunk(Trunk):
    """torchvision's Video Swin Transformer (Liu et al. 2022), its last norm included."""

    def _features(self, clips: Tensor) -> Tensor:
        for name in ("patch_embed", "pos_drop", "features", "norm"):
            clips = self.get_submodule(name)(clips)
        return clips.permute(0, 4, 1, 2, 3)  # it computes on [B, T', H', W', D]


class TinyTrunk(Trunk):
    """Four 3D convolutions, 0.3 million parameters: about 30 times cheaper than `r3d_18`.

    Ours, not from a paper: it lets the whole system run on two cores in minutes.
    """

    def _features(self, clips: Tensor) -> Tensor:
        for part in self.children():
            clips = part(clips)
        return clips


def _torchvision(builder: str, head: str, kind: type[Trunk]) -> Callable[[str], Trunk]:
    """A factory for a torchvision video network whose last layer is the Linear named `head`."""

    def make(argument: str) -> Trunk:
        _refuse(builder, argument)
        from torchvision.models import video

        model: nn.Module = getattr(video, builder)()
        return kind(model, int(getattr(model, head).in_features), head)

    return make


def _frames(name: str) -> Callable[[str], Trunk]:
    """A factory for an image network that sees a clip frame by frame."""

    def make(argument: str) -> Trunk:
        from l2a.image_networks import make_frame_trunk

        return make_frame_trunk(name, argument)

    return make


def _refuse(name: str, argument: str) -> None:
    if argument:
        raise InputError(f"{name} takes nothing after a colon; leave {argument!r} out.")


def _tiny3d(argument: str) -> Trunk:
    _refuse("tiny3d", argument)

    def block(inputs: int, outputs: int, kernel: int, time_stride: int) -> list[nn.Module]:
        size, padding = (3, kernel, kernel), (1, kernel // 2, kernel // 2)
        return [
            nn.Conv3d(inputs, outputs, size, (time_stride, 2, 2), padding, bias=False),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True),
        ]

    parts = nn.Sequential(
        *block(3, 16, kernel=5, time_stride=1),
        *block(16, 32, kernel=3, time_stride=1),
        *block(32, 64, kernel=3, time_stride=2),
        *block(64, 128, kernel=3, time_stride=2),
    )
    return TinyTrunk(parts, 128)


NETWORKS: Mapping[str, Callable[[str], Trunk]] = {
    "r3d_18": _torchvision("r3d_18", "fc", ResNetTrunk),
    "r2plus1d_18": _torchvision("r2plus1d_18", "fc", ResNetTrunk),
    "mc3_18": _torchvision("mc3_18", "fc", ResNetTrunk),
    "swin3d_t": _torchvision("swin3d_t", "head", SwinTrunk),
    "swin3d_s": _torchvision("swin3d_s", "head", SwinTrunk),
    "tiny3d": _tiny3d,
    "tsn_resnet18": _frames("tsn_resnet18"),
    "tsn_resnet50": _frames("tsn_resnet50"),
    "tsn_convnext_tiny": _frames("tsn_convnext_tiny"),
    "tsn_efficientnet_lite0": _frames("tsn_efficientnet_lite0"),
    "tsn_timm": _frames("tsn_timm"),
}


def _published_state(name: str, weights: str) -> Mapping[str, Tensor]:
    """What others have trained and published: "kinetics" or "imagenet" weights of a network."""
    of_images = name.startswith("tsn_")
    if of_images and weights == "kinetics":
        raise InputError(
            f"{name} has no Kinetics weights, because it sees single frames; give imagenet, or "
            "choose r3d_18."
        )
    if not of_images and weights == "imagenet":
        raise InputError(
            f"{name} has no ImageNet weights, because it sees whole clips; choose an image "
            "network, such as tsn_resnet18 or tsn_efficientnet_lite0."
        )
    if of_images:
        from l2a.image_networks import imagenet_state

        return imagenet_state(name)
    if name == "tiny3d":
        raise InputError("tiny3d has no Kinetics weights; leave weights out or choose r3d_18.")
    from torchvision.models import get_model_weights

    found = get_model_weights(name)["KINETICS400_V1"]
    return torchvision_state(found, f"The Kinetics weights of {name}")


def _load(network: VideoNetwork, state: Mapping[str, Tensor], source: str) -> None:
    """Load a trunk from our own files ("trunk.…"), or from torchvision's (bare names)."""
    own = any(key.startswith("trunk.") for key in state)
    trunk = network.trunk.adopt(state)
    expected = network.trunk.state_dict()
    missing = [
        key
        for key, value in expected.items()
        if key not in trunk or trunk[key].shape != value.shape
    ]
    if missing:
        raise InputError(
            f"{source} does not hold a trunk of {network.name}: {missing[0]} is missing or has "
            f"another size; choose the network that the file was made with."
        )
    network.trunk.load_state_dict({key: trunk[key] for key in expected})
    head = {key.removeprefix("head."): state[key] for key in state if key.startswith("head.")}
    if own and head and head["weight"].shape == network.head.weight.shape:
        network.head.load_state_dict(head)


def trunk_checksum(trunk: Trunk) -> str:
    """Sixteen hexadecimal digits of all that a trunk's features depend on besides the clips: its
    kind, its weights, its normalisation and its precision (SHA-256)."""
    digest = hashlib.sha256(repr((type(trunk), trunk.mean, trunk.std, trunk.precision)).encode())
    for name, value in sorted(trunk.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
