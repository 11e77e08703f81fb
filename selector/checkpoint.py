"""A trained Selector on disk: `selector.safetensors` (numbers) beside `selector.json` (its card).

The card says what the numbers were made with, so that a Selector is never used with features,
label vectors or classes that it has not learned from. Nothing in either file is executed.
`README.md` says the same to a person, and is never read.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from l2a.checkpoints import load_tensors, save_tensors, with_prefix, without_prefix
from l2a.errors import InputError
from l2a.files import file_sha256, read_json, write_json, write_text
from selector.model_card import model_card
from selector.network import Selector, SelectorConfig
from selector.settings import LabelMode

if TYPE_CHECKING:
    from l2a.networks import Trunk

FORMAT_VERSION = 2
WEIGHTS_NAME, CARD_NAME, README_NAME = "selector.safetensors", "selector.json", "README.md"
_TRUNK = "trunk."

T = TypeVar("T")


def package_versions() -> dict[str, str]:
    """Versions of what a trained Selector depends on."""
    packages = ("l2a", "torch", "torchvision")
    return {"python": platform.python_version()} | {p: metadata.version(p) for p in packages}


@dataclass(frozen=True)
class SelectorCard:
    """What a stored Selector was made with.

    Attributes:
        config: the network's sizes and its label mode.
        trunk: name of the network whose trunk gave the features (`l2a.networks.build_trunk`).
        trunk_weights: where its weights came from, for a person.
        trunk_trained: whether it learned with the Selector.
        embedder: identity of what made the label vectors; "" in one-hot mode.
        num_frames, height, width, crop: geometry of the clips that the trunk saw.
        classes: class names it was trained on, in the order of their labels.
        reward, steps, seed: how it was trained.
        verdict: what its training came to.
        probe_auroc: of planted videos; None without a probe.
        finetuned_from: the classes it was trained on before these; () if it was not fine-tuned.
        data: name of the data set; "" where a Selector was stored before that was kept.
        videos: how many training videos each of `classes` had; () likewise.
        curves: how the last training went (`selector.model_card.curves_of`); {} likewise.
        versions: of Python and the packages that trained it.
        format_version: of these two files.
    """

    config: SelectorConfig
    trunk: str
    trunk_weights: str
    trunk_trained: bool
    embedder: str
    num_frames: int
    height: int
    width: int
    crop: int
    classes: tuple[str, ...]
    reward: str
    steps: int
    seed: int
    verdict: str = ""
    probe_auroc: float | None = None
    finetuned_from: tuple[str, ...] = ()
    data: str = ""
    videos: tuple[int, ...] = ()
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=package_versions)
    format_version: int = FORMAT_VERSION


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
            raise InputError(
                f"There is no file {needed}; give the folder of a trained Selector, which holds "
                f"{WEIGHTS_NAME} and {CARD_NAME}."
            )
    document = read_json(card_path)
    card = _read_card(card_path, document)
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
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    found = {name: value.shape for name, value in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise InputError(
                f"{source} does not fit its card: {name} has shape {_shape(found.get(name))} and "
                f"should have {_shape(wanted.get(name))}; train the Selector again."
            )
    module.load_state_dict(tensors, assign=True)


def _shape(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(list(shape))


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


def _read_card(path: Path, document: Any) -> SelectorCard:
    """The card from its JSON, every field of the type it should have."""
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version!r} and this program reads {FORMAT_VERSION}; "
            "use the version of l2a that wrote it, or train the Selector again."
        )

    def take(fields: Any, name: object, kind: type[T]) -> T:
        value = fields.get(name) if isinstance(fields, dict) else None
        if kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InputError(
                f"{path} has {name} {value!r}, which is no {kind.__name__}; copy it again or "
                "train the Selector again."
            )
        return value

    def take_all(fields: Any, name: str, kind: type[T]) -> tuple[T, ...]:
        values = dict(enumerate(take(fields, name, list)))
        return tuple(take(values, index, kind) for index in values)

    config, versions = take(document, "config", dict), take(document, "versions", dict)
    probe = document.get("probe_auroc")
    curves = take(document, "curves", dict) if "curves" in document else {}
    return SelectorCard(
        config=SelectorConfig(
            feature_dim=take(config, "feature_dim", int),
            label_dim=take(config, "label_dim", int),
            labels=cast(LabelMode, take(config, "labels", str)),  # SelectorConfig checks it
            hidden=take_all(config, "hidden", int),
            label_scale=take(config, "label_scale", float),
            agreement_scale=take(config, "agreement_scale", float),
            dropout=take(config, "dropout", float),
        ),
        trunk=take(document, "trunk", str),
        trunk_weights=take(document, "trunk_weights", str),
        trunk_trained=take(document, "trunk_trained", bool),
        embedder=take(document, "embedder", str),
        num_frames=take(document, "num_frames", int),
        height=take(document, "height", int),
        width=take(document, "width", int),
        crop=take(document, "crop", int),
        classes=take_all(document, "classes", str),
        reward=take(document, "reward", str),
        steps=take(document, "steps", int),
        seed=take(document, "seed", int),
        verdict=take(document, "verdict", str),
        probe_auroc=None if probe is None else take(document, "probe_auroc", float),
        finetuned_from=take_all(document, "finetuned_from", str),
        data=take(document, "data", str) if "data" in document else "",
        videos=take_all(document, "videos", int) if "videos" in document else (),
        curves={name: take_all(curves, name, float) for name in curves},
        versions={name: take(versions, name, str) for name in versions},
    )
