"""What a call gave or raised, as a thing that can travel between processes."""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compositing.networks import out_of_memory
from l2a.errors import L2AError


@dataclass(frozen=True, slots=True)
class CallResult:
    """The value of a call, or its error."""

    value: Any = None
    error: Exception | None = None

    def get(self) -> Any:
        """The value.

        Raises:
            Exception: the error of the call, as itself.
        """
        if self.error is not None:
            raise self.error
        return self.value


def result_of(function: Callable[..., Any], *arguments: Any) -> CallResult:
    """Call `function`, and hold its result or its exception."""
    try:
        return CallResult(function(*arguments))
    except Exception as error:  # noqa: BLE001 - nothing is hidden: the caller raises it again
        return CallResult(error=_travelling(error))


def network_result(
    function: Callable[..., Any], *arguments: Any, device: str, frames_at_once: int
) -> CallResult:
    """As `result_of`; where a GPU runs out of memory, the error says what to do."""
    result = result_of(function, *arguments)
    torch = sys.modules.get("torch")  # what is not loaded has raised nothing
    if torch is not None and isinstance(result.error, torch.OutOfMemoryError):
        return CallResult(error=out_of_memory(device, frames_at_once))
    return result


def packed(result: CallResult) -> bytes:
    """The result as bytes; a value that cannot be packed becomes an error that says so."""
    try:
        return pickle.dumps(result)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        return pickle.dumps(CallResult(error=TypeError(f"A result cannot travel: {error}")))


def unpacked(data: bytes) -> Any:
    """What one of our processes packed; never to be used on a file."""
    return pickle.loads(data)  # noqa: S301


def _travelling(error: Exception) -> Exception:
    """The error, or one that says the same if it cannot be pickled."""
    said = traceback.format_exc()
    if not isinstance(error, L2AError):  # those are for people, who need no traceback
        error.add_note(f"In another process:\n{said}")
    try:
        unpacked(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - an exception may fail here in any way
        return RuntimeError(said)
    return error
