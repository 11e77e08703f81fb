"""Networks by name, each as a trunk (clip ─► feature) and a head (feature ─► logits).

The classifier is a trunk with its head; the Selector uses a trunk alone. Both rooms build them
here, so that a trunk trained in one loads in the other.

    clips ─ to_input ─► forward_features [B, D, T', H', W'] ─► pool [B, D] ─► head [B, num_classes]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from l2a.backends import make_backend
from l2a.devices import Precision
from l2a.errors import InputError
from l2a.trunk import Trunk
from l2a.weights import read_state_dict, torchvision_state


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
