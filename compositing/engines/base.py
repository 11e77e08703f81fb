"""What an engine is, and what a task must be that needs networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

Item = TypeVar("Item")
Result = TypeVar("Result")

Infer = Callable[..., Any]
"""`infer(part, *arguments)`: what the network named `part` gives."""


class HostDied(Exception):
    """A process that holds networks died before it answered. The argument is its number.

    A task lets it pass: the engine restarts the process and tries the item again.
    """


@runtime_checkable
class NetworkTask(Protocol):
    """A task that needs networks, which an engine may keep in other processes than the task.

    Only the engine knows where the GPUs are, so it decides where the networks run.
    """

    def __call__(self, item: Any, /) -> Any: ...

    def networks(self) -> tuple[str, ...]:
        """The parts of this task that are networks; () when it needs none with these settings."""
        ...

    def on_device(self, device: str, frames_at_once: int) -> Self:
        """This task with its networks in the process that calls it, on `device`."""
        ...

    def infer(self, part: str, *arguments: Any) -> Any:
        """What one of `networks()` gives, in this process; after `on_device`."""
        ...

    def hosted(self, infer: Infer) -> Self:
        """This task with its networks in another process, which is asked through `infer`."""
        ...


def as_network_task(task: object) -> NetworkTask | None:
    """The task, if it needs networks; None if it does not."""
    return task if isinstance(task, NetworkTask) and task.networks() else None


class Engine(Protocol):
    """Distributes the calls of a task."""

    def map(
        self,
        task: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        on_crash: Callable[[Item], Result],
        memory: int = 0,
    ) -> Iterator[Result]:
        """Yield `task(item)` for each item, in order.

        A process that dies (killed for memory, a crash in a decoder) costs its items a second try;
        an item whose process dies again gives `on_crash(item)`.

        Args:
            task: picklable, as are items and results. An exception of its goes to the caller.
            items: what to work on.
            on_crash: the result of an item whose process died twice; called in this process.
            memory: bytes that one call may take; fewer workers run where they would not fit.
        """
        ...
