"""Where a classifier looks: spatio-temporal class activation maps of clips mixed by VideoMix.

Zhou et al. 2016 (CAM): the last feature map before pooling, weighted by the last layer's weights of
a class. In space and time as in VideoMix (Yun et al. 2020, Fig. 3, Appendix F), on whose clips it
is drawn; they halve the last stride for finer maps, here the network stays as it was trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from l2a.augment import VideoMix
from l2a.augment.base import Batch, draws_of
from l2a.augment.cut import VideoMixMode
from l2a.media import resize_frames, sample_indices
from l2a.networks import VideoNetwork
from train.batches import ClipSource
from train.classifier import predict
from train.report.films import picture_uri

UInt8 = NDArray[np.uint8]

MODES: tuple[VideoMixMode, ...] = ("spatial", "temporal", "spatio-temporal")
_CANDIDATES = 48
_MOMENTS = 4
_SIDE = 144
_GAP = 4
_EDGE = (255, 230, 0)
# A pasted box that is neither lost nor all there is.
_SHARES = (0.25, 0.6)


@dataclass(frozen=True)
class Activation:
    """A mixed clip and what speaks for each of its two classes in it.

    Attributes:
        mode: how VideoMix cut.
        classes: indices of the class pasted on, and of the pasted one.
        shares: their shares of the label; they sum to 1.
        probabilities: what the classifier gives them, 0..1.
        pictures: data URIs of strips over time: the clip, the map of the first class, the second's.
        width, height: of each strip, in pixels.
    """

    mode: str
    classes: tuple[int, int]
    shares: tuple[float, float]
    probabilities: tuple[float, float]
    pictures: tuple[str, str, str]
    width: int
    height: int


@torch.inference_mode()
def activation_maps(network: VideoNetwork, inputs: Tensor) -> Tensor | None:
    """Class activation maps, whose mean over space and time and the bias make the logit.

    Args:
        network: in evaluation mode.
        inputs: float32 [B, 3, T, H, W], normalised by `to_input`.

    Returns:
        float32 [B, C, T', H', W'], as coarse as the last feature map; None where the trunk does not
        pool by an average over space and time, so that there is no such map.
    """
    return network.class_maps(network.forward_features(inputs))


def activations(
    network: VideoNetwork, source: ClipSource, rows: NDArray[np.int64], seed: int
) -> list[Activation] | None:
    """Mix real clips, once in each way of cutting, and map both classes of each.

    Clips that the classifier gets right by themselves come first: what it looks at in a class that
    it does not know says little.

    Args:
        network: the classifier, in evaluation mode, on any device.
        source: of the clips, with their labels.
        rows: bank rows to take clips from, int64 [n].
        seed: which clips, and where VideoMix cuts.

    Returns:
        One for each of `MODES`, fewer where there are too few clips, none where they are of one
        class; None where the network has no such map.
    """
    rng = np.random.default_rng([seed, 7])
    rows = rng.permutation(rows)[:_CANDIDATES]
    right = predict(network, source, rows).argmax(axis=1) == source.labels[rows]
    rows = rows[np.argsort(~right, kind="stable")]
    found = []
    pairs = _pairs(rows, source.labels)
    for mode, pair in zip(MODES[: len(pairs)], pairs, strict=True):
        mixed, pasted, labels = _mix(source, pair, mode, seed)
        inputs = network.to_input(mixed[None].to(network.device))
        maps = activation_maps(network, inputs)
        if maps is None:
            return None
        classes = (int(source.labels[pair[0]]), int(source.labels[pair[1]]))
        chosen = F.interpolate(
            maps[:, list(classes)].cpu(), mixed.shape[:3], mode="trilinear", align_corners=False
        )[0]
        with torch.inference_mode():
            probabilities = network(inputs).softmax(dim=1)[0]
        frames = mixed.numpy()
        shown = [_outlined(frames, pasted), *(_heated(frames, heat) for heat in _heats(chosen))]
        strips = [_strip(clip) for clip in shown]
        found.append(
            Activation(
                mode, classes,
                (float(labels[classes[0]]), float(labels[classes[1]])),
                (float(probabilities[classes[0]]), float(probabilities[classes[1]])),
                (picture_uri(strips[0]), picture_uri(strips[1]), picture_uri(strips[2])),
                strips[0].shape[1], strips[0].shape[0],
            )
        )  # fmt: skip
    return found


def _pairs(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> list[tuple[int, int]]:
    """A pair of rows of different classes for each of `MODES`, as far as they go: each row once,
    classes that were not shown yet first, and the first rows first."""
    left: list[int] = rows.tolist()
    shown: Counter[int] = Counter()
    pairs: list[tuple[int, int]] = []
    for _ in MODES:
        pair: list[int] = []
        for _ in range(2):
            others = [row for row in left if labels[row] not in labels[pair]]
            if not others:
                return pairs
            pair.append(min(others, key=lambda row: shown[int(labels[row])]))
            left.remove(pair[-1])
            shown[int(labels[pair[-1]])] += 1
        pairs.append((pair[0], pair[1]))
    return pairs


def _mix(
    source: ClipSource, pair: tuple[int, int], mode: VideoMixMode, seed: int
) -> tuple[Tensor, NDArray[np.bool_], Tensor]:
    """A box of the second clip in the first: uint8 [T, H, W, 3], where, and the label [C]."""
    real = source.real(np.array(pair, dtype=np.int64))
    # The masks follow the pixels: one that is the whole second clip tells where its box went.
    whose = torch.tensor([False, True])[:, None, None, None].expand(real.clips.shape[:-1])
    batch = Batch(real.clips.permute(0, 4, 1, 2, 3), real.labels, whose)
    low, high = _SHARES
    for attempt in range(200):
        draws = draws_of(torch.Generator().manual_seed(1000 * seed + attempt))
        mixed = VideoMix(mode=mode).apply(batch, draws)
        assert mixed.masks is not None, "masks went in"
        pasted = mixed.masks[0].numpy()
        if low <= pasted.mean() <= high:
            break
    return mixed.clips[0].permute(1, 2, 3, 0), pasted, mixed.labels[0]


def _heats(maps: Tensor) -> NDArray[np.float32]:
    """Maps [2, T, H, W] in 0..1 on one scale, so that they can be compared; what speaks against a
    class is 0."""
    positive = maps.clamp_min(0)
    heats: NDArray[np.float32] = (positive / positive.max().clamp_min(1e-6)).numpy()
    return heats


def _heated(frames: UInt8, heat: NDArray[np.float32]) -> UInt8:
    """Frames [T, H, W, 3] under their heat [T, H, W]: the hotter, the less of the frame is left."""
    grey = frames.mean(axis=-1, keepdims=True)
    colours = np.stack(
        [
            cv2.cvtColor(
                cv2.applyColorMap((255 * one).astype(np.uint8), cv2.COLORMAP_INFERNO),
                cv2.COLOR_BGR2RGB,
            )
            for one in heat
        ]
    )
    weight = (0.15 + 0.6 * heat)[..., None]
    mixed: UInt8 = ((1 - weight) * grey + weight * colours).astype(np.uint8)
    return mixed


def _outlined(frames: UInt8, pasted: NDArray[np.bool_]) -> UInt8:
    """Frames with the outline of what was pasted."""
    drawn = frames.copy()
    for frame, mask in zip(drawn, pasted, strict=True):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(frame, contours, -1, _EDGE, 1)
    return drawn


def _strip(clip: UInt8) -> UInt8:
    """Some moments of a clip side by side."""
    moments = sample_indices(np.arange(len(clip), dtype=np.float64), _MOMENTS)
    cells = resize_frames(clip[moments], (_SIDE, _SIDE))
    gap = np.full((_SIDE, _GAP, 3), 255, np.uint8)
    parts: Sequence[UInt8] = [part for cell in cells for part in (gap, cell)][1:]
    return np.concatenate(parts, axis=1)
