"""Back ends that are networks: they do not choose where they run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from l2a.errors import L2AError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@runtime_checkable
class OnDevice(Protocol):
    """A segmenter or inpainter that may ask a network.

    Making one loads nothing; whether its weights are there and right is checked before any video
    is worked on. The network is loaded when it is first asked, where `to_device` said. On a CPU it
    computes on one thread: several workers share the cores, and the sums do not depend on how many
    there are.
    """

    @property
    def uses_network(self) -> bool:
        """Whether there is a network in it, with its argument."""
        ...

    def to_device(self, device: str, frames_at_once: int) -> None:
        """Run on `device` ("cpu", "cuda:0"), with at most so many frames in one pass."""
        ...


def is_network(part: object) -> bool:
    """Whether a back end would gain from a GPU."""
    return isinstance(part, OnDevice) and part.uses_network


def to_device(part: T, device: str, frames_at_once: int) -> T:
    """The same back end, which runs there if it is a network."""
    if isinstance(part, OnDevice):
        part.to_device(device, frames_at_once)
    return part


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute on one thread if `device` is a CPU; afterwards on as many as before."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1 if device.type == "cpu" else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def frames_per_pass(device: torch.device, frames_at_once: int) -> int:
    """How many frames go through a network together.

    On a CPU one: more gain nothing on one thread, and how sums are grouped, so the last bit of
    them, depends on how many there are.
    """
    return 1 if device.type == "cpu" else frames_at_once


def out_of_memory(device: str, frames_at_once: int) -> L2AError:
    """The sentence for a GPU that ran out of memory."""
    if frames_at_once > 1:
        return L2AError(
            f"Out of memory: {device} cannot hold {frames_at_once} frames at once; give a"
            f" smaller --frames-at-once, such as {frames_at_once // 2}."
        )
    return L2AError(
        f"Out of memory: {device} cannot hold one frame (--frames-at-once 1); give a"
        " smaller --max-side, or --devices cpu."
    )
