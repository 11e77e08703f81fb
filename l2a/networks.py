"""Video networks by name, each as a trunk (clip ─► feature) and a head (feature ─► logits).

The classifier is a trunk with its head; the Selector uses a trunk alone. Both rooms build them
here, so that a trunk trained in one loads in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from l2a.backends import make_backend
from l2a.errors import InputError
from l2a.weights import read_state_dict, torchvision_state

# Kinetics-400 statistics of torchvision's video presets, so that its weights fit.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)


class VideoNetwork(nn.Module):
    """A trunk and a linear head.

    Attributes:
        name: its name in `NETWORKS`.
        trunk: float32 `[B, 3, T, H, W]`, normalised by `to_input` ─► float32 `[B, feature_dim]`.
        head: the last layer, float32 `[B, feature_dim]` ─► logits `[B, num_classes]`.
    """

    def __init__(self, name: str, trunk: nn.Module, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.name = name
        self.trunk = trunk
        self.head = nn.Linear(feature_dim, num_classes)
        self.feature_dim = feature_dim

    def forward(self, clips: Tensor) -> Tensor:
        """Logits float32 `[B, num_classes]` of normalised clips `[B, 3, T, H, W]`."""
        logits: Tensor = self.head(self.trunk(clips))
        return logits


def build_network(name: str, num_classes: int, weights: str | None = None) -> VideoNetwork:
    """Build a network, from scratch or with a trunk that was trained elsewhere.

    Args:
        name: a name in `NETWORKS`.
        num_classes: outputs of the head, which always starts from scratch unless a weight file
            has a head of exactly this size.
        weights: None (from scratch), "kinetics" (torchvision's Kinetics-400 weights, downloaded
            at first use), or the path of a `.safetensors` or `.pth` state dict.

    Raises:
        InputError: unknown name, weights that are absent, damaged or of another network.
    """
    trunk, feature_dim = build_trunk(name)
    network = VideoNetwork(name, trunk, feature_dim, num_classes)
    if weights == "kinetics":
        _load(network, _kinetics_state(name), f"torchvision's Kinetics-400 weights of {name}")
    elif weights is not None:
        _load(network, read_state_dict(Path(weights)), weights)
    return network


def build_trunk(name: str) -> tuple[nn.Module, int]:
    """The trunk of a network, from scratch, and the size of its feature."""
    return make_backend("network", name, NETWORKS)


def to_input(clips: Tensor) -> Tensor:
    """Turn stored clips into network input.

    Args:
        clips: uint8 `[B, T, H, W, 3]`, RGB, 0..255.

    Returns:
        float32 `[B, 3, T, H, W]` on the same device, normalised by `MEAN` and `STD`.
    """
    mean = torch.tensor(MEAN, device=clips.device)
    std = torch.tensor(STD, device=clips.device)
    # One fused multiply-add on the channels-last layout, then a view: no copy for the permutation.
    normal = clips.float().mul_(1 / (255 * std)).sub_(mean / std)
    return normal.permute(0, 4, 1, 2, 3)


def _torchvision(builder: str, head: str) -> Callable[[str], tuple[nn.Module, int]]:
    """A factory for a torchvision video network whose last layer is the Linear named `head`."""

    def make(_: str) -> tuple[nn.Module, int]:
        from torchvision.models import video

        model: nn.Module = getattr(video, builder)()
        feature_dim = int(getattr(model, head).in_features)
        setattr(model, head, nn.Identity())
        return model, feature_dim

    return make


def _tiny3d(_: str) -> tuple[nn.Module, int]:
    """Four 3D convolutions, 0.3 million parameters: about 30 times cheaper than `r3d_18`.

    Ours, not from a paper: it lets the whole system run on two cores in minutes.
    """

    def block(inputs: int, outputs: int, kernel: int, time_stride: int) -> list[nn.Module]:
        size, padding = (3, kernel, kernel), (1, kernel // 2, kernel // 2)
        return [
            nn.Conv3d(inputs, outputs, size, (time_stride, 2, 2), padding, bias=False),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True),
        ]

    trunk = nn.Sequential(
        *block(3, 16, kernel=5, time_stride=1),
        *block(16, 32, kernel=3, time_stride=1),
        *block(32, 64, kernel=3, time_stride=2),
        *block(64, 128, kernel=3, time_stride=2),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
    )
    return trunk, 128


NETWORKS: Mapping[str, Callable[[str], tuple[nn.Module, int]]] = {
    "r3d_18": _torchvision("r3d_18", "fc"),
    "r2plus1d_18": _torchvision("r2plus1d_18", "fc"),
    "mc3_18": _torchvision("mc3_18", "fc"),
    "swin3d_t": _torchvision("swin3d_t", "head"),
    "swin3d_s": _torchvision("swin3d_s", "head"),
    "tiny3d": _tiny3d,
}


def _kinetics_state(name: str) -> Mapping[str, Tensor]:
    if name == "tiny3d":
        raise InputError("tiny3d has no Kinetics weights; leave weights out or choose r3d_18.")
    from torchvision.models import get_model_weights

    weights = get_model_weights(name)["KINETICS400_V1"]
    return torchvision_state(weights, f"The Kinetics weights of {name}")


def _load(network: VideoNetwork, state: Mapping[str, Tensor], source: str) -> None:
    """Load a trunk from our own files ("trunk.…"), or from torchvision's (bare names)."""
    own = any(key.startswith("trunk.") for key in state)
    trunk = {key.removeprefix("trunk."): value for key, value in state.items()}
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
