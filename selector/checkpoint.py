"""A trained Selector on disk: `selector.safetensors` (numbers) next to `selector.json` (its card).

The card says what the numbers were made with, so that a Selector is never used with features,
label vectors or classes that it has not learned from. Nothing in either file is executed.
`README.md` says the same to a person, and is never read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from l2a.checkpoints import load_tensors, save_tensors, with_prefix, without_prefix
from l2a.errors import InputError
from l2a.files import file_sha256, read_json, write_json, write_text
from selector.card import SelectorCard, read_card
from selector.model_card import model_card
from selector.network import Selector

if TYPE_CHECKING:
    from l2a.trunk import Trunk

WEIGHTS_NAME, CARD_NAME, README_NAME = "selector.safetensors", "selector.json", "README.md"
_TRUNK = "trunk."


@dataclass(frozen=True)
class LoadedSelector:
    """A Selector on the CPU in evaluation mode, the trunk stored with it (if any), its card."""

    selector: Selector
    trunk: Trunk | None
    card: SelectorCard


def save_selector(
    folder: Path, selector: Selector, trunk: nn.Module | None, card: SelectorCard
) -> None:
    """Write a Selector's files, each whole: what `l2a ... --selector FOLDER` reads.

    The weights first, then the card with their checksum, then README.md for a person. The
    folder can be uploaded to the Hugging Face Hub as it is.

    Raises:
        ValueError: the card's sizes are not the Selector's.
    """
    if card.config != selector.config:
        raise ValueError(f"The card says {card.config}, the Selector is {selector.config}.")
    weights = folder / WEIGHTS_NAME
    of_trunk = {} if trunk is None else with_prefix(_TRUNK, trunk.state_dict())
    save_tensors(weights, selector.state_dict() | of_trunk)
    document = dataclasses.asdict(card) | {"weights_sha256": file_sha256(weights)}
    write_json(folder / CARD_NAME, document)
    write_text(folder / README_NAME, str(model_card(card)))


def load_selector(path: Path) -> LoadedSelector:
    """Read a stored Selector.

    Args:
        path: the folder, or the `.safetensors` file in it.

    Raises:
        InputError: a file is missing, damaged, of an unknown format version, or the two do not
            belong together.
    """
    folder = selector_folder(path)
    weights, card_path = folder / WEIGHTS_NAME, folder / CARD_NAME
    for needed in (weights, card_path):
        if not needed.is_file():
            if (folder / "selector" / needed.name).is_file():
                raise InputError(
                    f"{folder} is a run and no Selector; give its Selector, {folder / 'selector'}."
                )
            raise InputError(
                f"There is no file {needed}; give the folder of a trained Selector, which holds "
                f"{WEIGHTS_NAME} and {CARD_NAME}."
            )
    document = read_json(card_path)
    card = read_card(card_path, document)
    if document.get("weights_sha256") != file_sha256(weights):
        raise InputError(
            f"{weights} is damaged, or not the file that {card_path} was written for; copy both "
            "again or train the Selector again."
        )
    tensors, _ = load_tensors(weights)
    of_trunk = without_prefix(_TRUNK, tensors)
    of_selector = {name: t for name, t in tensors.items() if not name.startswith(_TRUNK)}
    with torch.device("meta"):  # no memory for sizes that the weights may not have
        selector = Selector(card.config)
    _fill(selector, of_selector, weights)
    trunk = _build_trunk(card, of_trunk, weights) if of_trunk else None
    return LoadedSelector(selector.eval(), trunk, card)


def selector_folder(path: Path) -> Path:
    """The folder of a stored Selector, from itself or from the `.safetensors` file in it."""
    return path.parent if path.suffix == ".safetensors" else path


def check_embedder(card: SelectorCard, identity: str, dim: int) -> None:
    """Refuse label vectors from another embedder than the Selector learned from.

    Args:
        card: of the stored Selector. In one-hot mode there is no embedder and nothing to check.
        identity, dim: of the embedder in use.

    Raises:
        InputError: it is another one; the message names both.
    """
    if card.config.labels == "one-hot" or (card.embedder, card.config.label_dim) == (identity, dim):
        return
    raise InputError(
        f"The Selector was trained with the embedder {card.embedder} ({card.config.label_dim} "
        f"numbers) and this run uses {identity} ({dim} numbers); choose the same embedder, or "
        "train the Selector again."
    )


def check_classes(card: SelectorCard, classes: Sequence[str]) -> None:
    """Refuse other classes when the Selector knows classes by their number only.

    Raises:
        InputError: in one-hot mode, the classes or their order differ; the message names the
            first that does.
    """
    if card.config.labels == "embedding" or card.classes == tuple(classes):
        return
    length = max(len(card.classes), len(classes))
    padded = [[*names, *["no class"] * (length - len(names))] for names in (card.classes, classes)]
    index, (known, given) = next(
        (i, pair) for i, pair in enumerate(zip(*padded, strict=True)) if pair[0] != pair[1]
    )
    raise InputError(
        f"The Selector was trained with one-hot labels on other classes (class {index} was "
        f"{known}, here it is {given}); train it again, or train one with labels: embedding."
    )


def _fill(module: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Load `tensors` into `module`, or say which of them does not fit."""
    wanted = module.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        if _kind(wanted.get(name)) != _kind(tensors.get(name)):
            raise InputError(
                f"{source} does not fit its card: {name} has shape {_kind(tensors.get(name))} and "
                f"should have {_kind(wanted.get(name))}; train the Selector again."
            )
        if not bool(tensors[name].isfinite().all()):
            raise InputError(
                f"{source} is not usable: {name} holds a value that is not finite; train the "
                "Selector again."
            )
    module.load_state_dict(tensors, assign=True)


def _kind(tensor: Tensor | None) -> str:
    """Shape and type of a tensor, for comparing and for messages."""
    if tensor is None:
        return "none"
    return f"{list(tensor.shape)} ({str(tensor.dtype).removeprefix('torch.')})"


def _build_trunk(card: SelectorCard, tensors: dict[str, Tensor], source: Path) -> Trunk:
    from l2a.networks import build_trunk  # brings torchvision, which a Selector alone spares

    with torch.random.fork_rng(devices=[]):  # its first weights are random, and replaced
        trunk = build_trunk(card.trunk)
    if trunk.feature_dim != card.config.feature_dim:
        raise InputError(
            f"The trunk {card.trunk} gives {trunk.feature_dim} features and the Selector in "
            f"{source} takes {card.config.feature_dim}; train the Selector again."
        )
    _fill(trunk, tensors, source)
    return trunk.eval()
