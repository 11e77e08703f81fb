"""Networks are asked about the clips of a scene test, and what a frozen trunk sees is kept.

The classifiers of frozen training share one trunk, and only their heads differ: then features are
computed once, and a further classifier is asked in microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.checkpoints import load_tensors, save_tensors
from l2a.files import fingerprint
from l2a.networks import VideoNetwork
from l2a.progress import progress
from l2a.trunk import Trunk, trunk_checksum
from train.classifier import ask
from train.loading import prefetch
from train.scene_test.clips import SceneClips

Answer = Callable[[Tensor], NDArray[np.float32]]
"""From clips uint8 [b, T, h, w, 3] to logits or features float32 [b, ...]."""

ByForm = Mapping[str, NDArray[np.float32]]
"""Form ─► what was said of each of its clips, float32 [m, ...], in the order of the list."""


def logits_of(network: VideoNetwork | Trunk) -> Answer:
    """What a network says of clips: logits of a classifier, features of a trunk, float32."""
    network.eval()

    @torch.inference_mode()
    def answer(clips: Tensor) -> NDArray[np.float32]:
        found: NDArray[np.float32] = ask(network, clips).cpu().numpy()
        return found

    return answer


def answers(answer: Answer, clips: SceneClips) -> ByForm:
    """What `answer` says of all clips; forms without a clip are left out."""
    lists = clips.cast.lists
    total, done = sum(map(len, lists.values())), 0
    parts: dict[str, list[NDArray[np.float32]]] = {form: [] for form in lists}
    with progress("scene test", "clips") as report:
        for form, batch, chosen in prefetch(clips.forms()):
            parts[form].append(answer(batch.clips))
            done += len(chosen)
            report(done, total)
    return {form: np.concatenate(found) for form, found in parts.items() if found}


def scene_features(trunk: Trunk, clips: SceneClips) -> ByForm:
    """A trunk's features of all clips, form ─► float32 [m, D].

    A head on them gives logits, for `measure_scenes_from_logits`. Batch norms are folded into the
    convolutions, as for all features that are kept: equal to the network's own up to rounding.
    """
    return answers(logits_of(trunk.eval().folded()), clips)


class SceneFeatures:
    """Features of all clips by trunk; those of the last one are remembered.

    A trunk that is asked for a second time is frozen: its features are then kept beside the bank,
    where other runs find them.
    """

    def __init__(self, clips: SceneClips) -> None:
        self._clips = clips
        self._last: tuple[str, ByForm] | None = None

    def logits(self, network: VideoNetwork) -> ByForm:
        """A classifier's logits of all clips, form ─► float32 [m, C]."""
        features, head = self.of(network.trunk), network.head
        with torch.inference_mode():
            return {
                form: head(torch.from_numpy(found).to(network.device)).cpu().numpy()
                for form, found in features.items()
            }

    def of(self, trunk: Trunk) -> ByForm:
        """Form ─► float32 [m, D]."""
        checksum = trunk_checksum(trunk)
        path = self._path(checksum)
        if self._last is not None and self._last[0] == checksum:
            if not path.is_file():
                kept = {form: torch.from_numpy(found) for form, found in self._last[1].items()}
                save_tensors(path, kept)
            return self._last[1]
        if path.is_file():
            stored = load_tensors(path)[0]
            found: ByForm = {form: tensor.numpy() for form, tensor in stored.items()}
        else:
            found = scene_features(trunk, self._clips)
        self._last = (checksum, found)
        return found

    def _path(self, checksum: str) -> Path:
        """By all that features depend on besides the bank."""
        source, how = self._clips.source, self._clips.source.settings
        pasted = [how.blend, how.feather, how.match_colour]
        mark = fingerprint([checksum, self._clips.cast.mark, source.crop, pasted])
        return source.bank.folder / "features" / f"scenes-{mark}.safetensors"
