"""The moving average of a network's weights (Tarvainen and Valpola 2017, Sec. 2)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from l2a.networks import VideoNetwork


def decay_at(step: int, decay: float) -> float:
    """α = min(1 − 1/(step + 1), decay): a true mean at first, so that first weights are forgotten.

    The rule of `main.py` of github.com/CuriousAI/mean-teacher, 546348f. Steps are counted from 1
    there, so that the first α is 1/2 and the weights before it keep a part; here it is 0.

    Args:
        step: from 0; after the first one the average is the network itself.
        decay: what it rises to.
    """
    return min(1 - 1 / (step + 1), decay)


class MovingAverage:
    """A network whose parameters follow those of another, θ' ← α θ' + (1 − α) θ.

    Public code disagrees on buffers, the statistics of batch normalisation. "copied" has those of
    the network that is followed (FixMatch and TorchSSL); "own" has those of its own passes in
    training mode (CuriousAI), of use for a teacher that has such passes.

    Attributes:
        network: the average; nothing of it asks for a gradient.
    """

    def __init__(self, network: VideoNetwork, decay: float, *, own_buffers: bool = False) -> None:
        """
        Args:
            network: what it begins as.
            decay: what α rises to, 0..1.
            own_buffers: whether buffers are left to its own passes, or copied.
        """
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay, self._own_buffers = decay, own_buffers

    @torch.no_grad()
    def update(self, network: VideoNetwork, step: int) -> None:
        """Follow `network`, after the optimiser's step `step`, from 0."""
        weight = 1 - decay_at(step, self._decay)
        for mean, value in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, weight)
        if not self._own_buffers:
            for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
                mine.copy_(theirs)

    def own_buffers(self) -> Iterable[Tensor]:
        """Buffers that are of its own passes; none where they are copied."""
        return self.network.buffers() if self._own_buffers else ()

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers."""
        return dict(self.network.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What `state_dict` gave."""
        self.network.load_state_dict(state)


class Averaged:
    """The rest of an objective whose moving average is what is tested and kept."""

    _average: MovingAverage

    def after_step(self, network: VideoNetwork, step: int) -> None:
        """The average follows."""
        self._average.update(network, step)

    def final(self, network: VideoNetwork) -> VideoNetwork:
        """The average."""
        return self._average.network

    def parameters(self) -> Iterable[nn.Parameter]:
        """None."""
        return ()

    def buffers(self) -> Iterable[Tensor]:
        """Those of the average's own passes."""
        return self._average.own_buffers()

    def state_dict(self) -> dict[str, Tensor]:
        """The average."""
        return self._average.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `train.objectives.Objective.load_state_dict`."""
        self._average.load_state_dict(state)
