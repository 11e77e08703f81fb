"""The model card: what a person reads about a Selector before using it, README.md next to it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selector.card import SelectorCard

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

_TEMPLATE = Path(__file__).with_suffix(".md")
_STRETCHES = 10
_CURVES = {
    "reward_mean": "mean reward",
    "validation_loss": "validation loss",
    "credit_correlation": "correlation of ω with the credit of pairs as training draws them",
    "reliability": "agreement of the reward with itself over other recordings",
}


def curves_of(figures: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    """How a training went, in few numbers: means over at most ten equal stretches of it.

    Args:
        figures: of each step, as `selector.reinforce.train_selector` logs them.

    Returns:
        A figure's name ─► its means, the first stretch first, over the steps that have it: skipped
        steps have no reward, and only the reward `credit` has a correlation. Figures that no step
        has are left out.
    """
    found = {name: [step[name] for step in figures if name in step] for name in _CURVES}
    return {
        name: tuple(
            float(part.mean())
            for part in np.array_split(np.array(values), min(_STRETCHES, len(values)))
        )
        for name, values in found.items()
        if values
    }


def model_card(card: SelectorCard) -> ModelCard:
    """The page of a Selector on the Hugging Face Hub.

    It claims no licence, because the Selector's owner alone can, and names no task of the Hub's
    list, because scoring pairs is none of them.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        library_name="l2a",
        tags=["learn2augment", "action-recognition", "data-augmentation", "video"],
    )
    return ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        card=card,
        said={
            name: plain_text(getattr(card, name))
            for name in ("verdict", "data", "trunk", "trunk_weights", "embedder", "reward")
        },
        options=" ".join(
            [
                *(
                    f"--{name.replace('_', '-')} {getattr(card, name)}"
                    for name in ("num_frames", "height", "width", "crop")
                ),
                *_embedder_option(card.embedder),
            ]
        ),
        classes=[
            (plain_text(name), count)
            for name, count in zip(card.classes, card.videos, strict=False)
        ],
        curves=[
            (plain_text(_CURVES.get(name, name)), map(_short, card.curves[name]))
            for name in card.curves
        ],
        stretches=max(map(len, card.curves.values()), default=0),
        names=", ".join(map(plain_text, card.classes)),
        earlier=", ".join(map(plain_text, card.finetuned_from)),
        versions=", ".join(plain_text(f"{name} {of}") for name, of in card.versions.items()),
    )


def plain_text(text: str) -> str:
    """Text that Markdown shows as it stands, in a cell of a table or anywhere else on a page.

    Names of classes and data sets are anybody's: what would be HTML, emphasis, a link, a heading,
    a list or the end of a cell is escaped, and line breaks and control characters become spaces.
    """
    one_line = re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()
    readable = one_line.encode("utf-8", "backslashreplace").decode()  # halves of characters
    escaped = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", html.escape(readable, quote=False))
    # Bare addresses would become links.
    escaped = re.sub(r"(?i)(://|www\.)", lambda found: f"{found[0][:-1]}\\{found[0][-1]}", escaped)
    return re.sub(r"^([-+=#]|\d+(?=[.)]))", _leading, escaped)


def _embedder_option(identity: str) -> list[str]:
    """What asks for the embedder of an identity, which keeps of a path its last part at most; []
    of one that no program of ours wrote, and without one."""
    name, _, argument = identity.rpartition("@")[0].partition(":")
    if name == "static":
        return ["--embedder static"]
    if name == "sent2vec":
        return ["--embedder sent2vec:PATH"]
    if name == "sentence-transformers" and re.fullmatch(r"\w[\w.-]*", argument, re.ASCII):
        return [f"--embedder {name}:{argument}"]
    return []


def _leading(found: re.Match[str]) -> str:
    """What begins a heading, a list or a rule at the start of a line, made to begin none."""
    return found[0] + "\\" if found[0][0].isdigit() else "\\" + found[0]


def _short(value: float) -> str:
    return f"{round(value, 4) + 0.0:.4g}"  # adding 0 takes the sign from -0
