"""A network without its last layer: clip ─► feature. Those by name are in `l2a.networks`."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l2a.devices import Precision, resolve_precision

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


def trunk_checksum(trunk: Trunk) -> str:
    """Sixteen hexadecimal digits of all that a trunk's features depend on besides the clips: its
    kind, its weights, its normalisation and its precision (SHA-256)."""
    digest = hashlib.sha256(repr((type(trunk), trunk.mean, trunk.std, trunk.precision)).encode())
    for name, value in sorted(trunk.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
