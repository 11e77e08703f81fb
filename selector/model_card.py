"""The model card: what a person reads about a Selector before using it, README.md beside it."""

from __future__ import annotations

import html
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
    "credit_correlation": "correlation of ω with the credit of newly drawn pairs",
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
            name: _cell(getattr(card, name))
            for name in ("verdict", "data", "trunk_weights", "embedder")
        },
        options=" ".join(
            f"--{name.replace('_', '-')} {getattr(card, name)}"
            for name in ("num_frames", "height", "width", "crop")
        ),
        classes=[
            (_cell(name), count) for name, count in zip(card.classes, card.videos, strict=False)
        ],
        curves=[(_CURVES.get(name, name), map(_short, card.curves[name])) for name in card.curves],
        stretches=max(map(len, card.curves.values()), default=0),
        names=", ".join(map(_cell, card.classes)),
        earlier=", ".join(map(_cell, card.finetuned_from)),
        versions=", ".join(f"{name} {version}" for name, version in card.versions.items()),
    )


def _cell(text: str) -> str:
    """`text` in a cell of a Markdown table, or anywhere else on the page; HTML in it is text."""
    return html.escape(text, quote=False).replace("|", r"\|")


def _short(value: float) -> str:
    return f"{round(value, 4) + 0.0:.4g}"  # adding 0 takes the sign from -0
