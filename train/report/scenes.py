"""The scene test: what the classifiers know of actors, and what of scenes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

from train.arms import arm_title, baseline
from train.estimates import Estimate
from train.report.charts import scene_chart
from train.report.films import picture_uri
from train.report.source import Section, Source
from train.scene_test.scores import FIGURES, GAP
from train.scene_test.stage import PICTURE
from train.scene_test.tables import TITLES, Sample, in_percent

_CHARTED = 4
"""Arms whose bars can be told apart: the first ones, of the run and of what it is compared to."""


def scene_test(source: Source) -> Section:
    """A table of all arms, bars, and a few clips in each form; None where it was not made."""
    metrics = source.metrics
    if metrics is None or "scene_test" not in metrics:
        return None
    kept = {name: arm["scene_test"] for name, arm in metrics["arms"].items() if "scene_test" in arm}
    rows: list[dict[str, Any]] = []
    charted: dict[str, dict[str, tuple[float, float]]] = {}
    base = baseline(kept)
    for name, found in kept.items():
        for kind in ("mean", "change"):
            if kind not in found:
                continue
            figures = {figure: Estimate.from_json(found[kind][figure]) for figure in FIGURES}
            signed = kind == "change"
            title = f"− {arm_title(base)}" if signed and base else arm_title(name)
            cells = [in_percent(figures[f], signed or f == GAP) for f in FIGURES]
            rows.append({"title": title, "cells": cells, "is_change": signed})
            if not signed and len(charted) < _CHARTED:
                charted[arm_title(name)] = {
                    TITLES[figure]: (one.mean, one.error)
                    for figure, one in figures.items()
                    if not math.isnan(one.mean)
                }
    path = source.folder / PICTURE
    picture = np.asarray(Image.open(path).convert("RGB")) if path.is_file() else None
    return {
        "titles": [TITLES[figure] for figure in FIGURES],
        "rows": rows,
        "said": Sample(**metrics["scene_test"]).sentences(),
        "chart": scene_chart(charted),
        "picture": None
        if picture is None
        else {
            "uri": picture_uri(picture), "height": picture.shape[0], "width": picture.shape[1],
            "arm": arm_title(next(iter(kept))),
        },
    }  # fmt: skip
