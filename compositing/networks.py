"""Back ends that are networks: where they run is not theirs to say."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class OnDevice(Protocol):
    """A segmenter or inpainter that may ask a network.

    Making one checks that its weights are there and right, and loads nothing; the network is
    loaded when it is first asked, where `place` said. On a CPU it computes on one thread: several
    workers share the cores, and the sums do not depend on how many there are.
    """

    @property
    def uses_network(self) -> bool:
        """Whether there is a network in it, with its argument."""
        ...

    def place(self, device: str, frames_at_once: int) -> None:
        """Run on `device` ("cpu", "cuda:0"), with at most so many frames in one pass."""
        ...


def is_network(part: object) -> bool:
    """Whether a back end would gain from a GPU."""
    return isinstance(part, OnDevice) and part.uses_network


def place(part: T, device: str, frames_at_once: int) -> T:
    """The same back end, told where to run if it is a network."""
    if isinstance(part, OnDevice):
        part.place(device, frames_at_once)
    return part
