"""`torch.compile` for a training: the trunk's passes as fused kernels, with the same numbers.

Compiled is what a trunk computes feature maps by, and for the time of a training alone: weights,
files, copies and other processes know nothing of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from l2a.errors import L2AError
from l2a.logs import say
from l2a.networks import VideoNetwork
from l2a.trunk import Features

BACKEND = "inductor"
"""PyTorch's own. It writes kernels, for which it needs a C++ compiler, and on a GPU Triton."""


@contextlib.contextmanager
def compiled(network: VideoNetwork, *, wanted: bool) -> Iterator[None]:
    """Train a network in this block as `torch.compile` makes it, if that is wanted.

    Dropout and stochastic depth draw what they draw without it.

    Raises:
        L2AError: it cannot be compiled here; at the first step.
    """
    if not wanted:
        yield
        return
    say("the network is compiled at its first steps, which takes up to minutes")
    try:
        with network.trunk.computed_by(_compile):
            yield
    except RuntimeError as error:
        from torch._dynamo.exc import TorchDynamoException  # seconds, where nothing is compiled

        if not isinstance(error, TorchDynamoException):
            raise
        raise L2AError(
            f"torch.compile failed on this machine ({_reason(error)}); leave --compile out: the "
            "results are the same up to rounding."
        ) from error


def _compile(function: Features) -> Features:
    # A training has batches of two or three sizes, each of which is worth kernels of its own.
    options: dict[str, Any] = {"fallback_random": True} if BACKEND == "inductor" else {}
    return torch.compile(function, backend=BACKEND, dynamic=False, options=options)


def _reason(error: BaseException) -> str:
    inner = getattr(error, "inner_exception", error)  # of the compiler itself
    lines = [line.strip().rstrip(".") for line in str(inner).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
