"""What a training minimises: a Protocol, and one file for each way of learning.

The trainer owns the loop, the optimiser, the schedule and the state; an objective owns its loss
and whatever belongs to it alone: a teacher, a second head, a bank of targets. Its batches are its
own too: a dataclass of tensors that `train.loading.StepBatches` makes from (seed, epoch, step), of
labelled clips, of two views of unlabelled ones, or of an episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

from l2a.networks import VideoNetwork
from train.loading import TensorBatch

B_contra = TypeVar("B_contra", bound=TensorBatch, contravariant=True)


class Loss(NamedTuple):
    """The loss of a step.

    Attributes:
        total: what gradient descent lowers, float32 [] with a gradient.
        figures: name ─► float32 [] without one: its parts, the share of pseudo-labels that were
            used, and whatever else a curve should show. Their means over an epoch are logged.
            "labelled" is a mean over labelled clips.
        labelled: the part of `total` that is a mean over the labelled clips of a batch that has
            others, too, whose parts may hold the two in other shares; None where all of it is a
            mean over the same clips.
    """

    total: Tensor
    figures: Mapping[str, Tensor] = {}
    labelled: Tensor | None = None


class Objective(Protocol[B_contra]):
    """One way of learning."""

    def loss(self, network: VideoNetwork, batch: B_contra, step: int) -> Loss:
        """The loss of a batch on the network's device.

        Args:
            network: in training mode. Call it once for all clips of a step where that can be done:
                batch normalisation and several GPUs are then as they should be.
            batch: of this step.
            step: from 0 over all epochs, for weights that change with time.
        """

    def after_step(self, network: VideoNetwork, step: int) -> None:
        """What follows an optimiser's step, such as a teacher's moving average."""

    def final(self, network: VideoNetwork) -> VideoNetwork:
        """What is measured and kept in the end: the network itself, or its moving average."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """What is trained besides the network, such as a second head."""

    def buffers(self) -> Iterable[Tensor]:
        """Statistics that its own passes in training mode change; several processes average them,
        as they do those of the network."""

    def state_dict(self) -> dict[str, Tensor]:
        """All that changes in training, to resume from."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from what `state_dict` gave."""


class Stateless:
    """The rest of an `Objective` that is a loss alone."""

    def after_step(self, network: VideoNetwork, step: int) -> None:
        """Nothing follows."""

    def final(self, network: VideoNetwork) -> VideoNetwork:
        """The network itself."""
        return network

    def parameters(self) -> Iterable[nn.Parameter]:
        """None."""
        return ()

    def buffers(self) -> Iterable[Tensor]:
        """None."""
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing changes."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to load."""
