"""Which published weight files the runs of a table will fetch, because they are not here yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from l2a.weights import hub_folder, torchvision_file
from train.settings.full import FullSettings


def fetch_note(settings: FullSettings) -> str:
    """A sentence on the files that will be fetched; "" where all are here."""
    files = [path for path in _files(settings) if not path.is_file()]
    if not files:
        return ""
    names = ", ".join(path.name for path in files)
    return f"fetched at first use, unless you put them into {hub_folder()}: {names}"


def _files(settings: FullSettings) -> Iterator[Path]:
    """The published files that settings name; files of the user's own are not among them."""
    if settings.prepare.segmenter == "mask-rcnn":
        from compositing.segmenters.mask_rcnn import WEIGHTS

        yield torchvision_file(WEIGHTS)
    if settings.prepare.inpainter == "lama":
        from compositing.inpainters.lama import NAME

        yield hub_folder() / NAME
    network, weights = settings.classifier.network, settings.classifier.weights
    if weights == "kinetics":
        yield from _of_torchvision(network, "KINETICS400_V1")
    elif weights == "imagenet":
        yield from _of_torchvision(network.removeprefix("tsn_").partition(":")[0], "IMAGENET1K_V1")
    if settings.semi.teacher:
        yield from _of_torchvision(settings.semi.teacher, "DEFAULT")


def _of_torchvision(name: str, version: str) -> Iterator[Path]:
    """A file of torchvision's; none of a network that is not torchvision's."""
    from torchvision.models import get_model_weights

    with contextlib.suppress(ValueError, KeyError):
        kinds = get_model_weights(name)
        yield torchvision_file(kinds.DEFAULT if version == "DEFAULT" else kinds[version])
