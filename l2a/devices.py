"""Where networks run, and how precisely they compute there."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

from l2a.errors import InputError
from l2a.logs import say

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]

MIXED_PRECISION_ON = ("cuda",)
"""Kinds of device on which bfloat16 is worth asking for: on a CPU it is slower and less exact."""


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """The precision that a device computes in: what was asked for, and float32 on a CPU.

    Says so, once, where it is another one than was asked for.
    """
    if precision == "float32" or device.type in MIXED_PRECISION_ON:
        return precision
    _say_once(f"note: precision {precision} is for a GPU; on {device} networks compute in float32")
    return "float32"


@functools.cache
def _say_once(note: str) -> None:
    say(note)


def pick_device(name: str) -> torch.device:
    """The device that a setting names; "auto" is the first GPU, or the CPU where there is none.

    Raises:
        InputError: there is no such device here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"The device is {name!r}; choose auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(
            f"The device is {name!r}, but this machine has {count or 'no'} GPU"
            f"{'s' if count > 1 else ''}; choose auto or cpu."
        )
    return device


def list_gpus(names: str) -> tuple[str, ...]:
    """The GPUs that a setting names: "auto" is all there are, "cpu" none, else a comma list.

    Returns:
        Names such as ("cuda:0", "cuda:1"); () when networks are to run on the CPU.

    Raises:
        InputError: there is no such device here.
    """
    import torch

    if names == "auto":
        return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    devices = [pick_device(name.strip()) for name in names.split(",")]
    if {device.type for device in devices} == {"cpu", "cuda"}:
        raise InputError(f"The devices are {names!r}; name GPUs alone, or cpu.")
    return tuple(f"cuda:{device.index or 0}" for device in devices if device.type == "cuda")
