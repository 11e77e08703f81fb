"""Tensors and plain values in one file, without pickle: safetensors with a JSON header entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from l2a.errors import InputError
from l2a.files import atomic_write


def save_tensors(path: Path, tensors: Mapping[str, Tensor], values: object = None) -> None:
    """Write tensors and a JSON-able `values`, whole or not at all."""
    # A tensor that shares its storage with another is refused by the format: give each its own.
    own = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    with atomic_write(path) as aside:
        save_file(own, aside, metadata={"values": json.dumps(values)})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what `save_tensors` wrote.

    Raises:
        InputError: the file is absent or damaged.
    """
    if not path.is_file():  # opening a pipe would wait for whoever writes to it
        what = "is not a file" if path.exists() else "is not there"
        held = sorted(one.name for one in path.glob("*.safetensors"))
        remedy = f"name a file in it, such as {path / held[0]}" if held else "check the path"
        raise InputError(f"The checkpoint {path} {what}; {remedy}.")
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {}).get("values", "null"))
            return {key: file.get_tensor(key) for key in file.keys()}, values  # noqa: SIM118
    except RecursionError:
        raise InputError(
            f"{path} is a damaged checkpoint (its values are nested too deeply); give another file."
        ) from None
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is a damaged checkpoint, or none at all ({error}); give another file, or, if "
            "`l2a` wrote it, delete it to have it made again."
        ) from None


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """An optimiser's state as named tensors: momentum buffers, moments, step counts."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}{index}.{name}": torch.as_tensor(value)
        for index, slots in state.items()
        for name, value in slots.items()
        if value is not None
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str
) -> None:
    """Put back what `optimizer_tensors` took; learning rates are the caller's to set."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            index, name = key.removeprefix(prefix).split(".", 1)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under `prefix + name`."""
    return {prefix + key: value for key, value in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
