"""Augmentations of video clips, as batch transforms of one form for any PyTorch loop.

    from l2a.augment import VideoMix
    clips, labels = VideoMix()(clips, labels, generator=generator, num_classes=51)

`Augmentation.__call__` says what goes in and comes out; `docs/augment.md` shows each of them.
"""

from l2a.augment.base import Augmentation, Batch
from l2a.augment.blend import CubeCutMixUp, CutMixUp, FadeMixUp, FrameCutMixUp, MixUp
from l2a.augment.compose import Collate, Compose, OneOf
from l2a.augment.cut import CubeCutMix, CutMix, FrameCutMix, VideoMix
from l2a.augment.delete import CubeCutOut, CutOut, FrameCutOut
from l2a.augment.geometry import Flip, RandomResizedCrop, ScaleJitter
from l2a.augment.objects import ActorCut, ObjectMix
from l2a.augment.randaugment import RandAugment, RandAugmentT
from l2a.augment.table import AUGMENTATIONS, make_augmentation

__all__ = [
    "AUGMENTATIONS",
    "ActorCut",
    "Augmentation",
    "Batch",
    "Collate",
    "Compose",
    "CubeCutMix",
    "CubeCutMixUp",
    "CubeCutOut",
    "CutMix",
    "CutMixUp",
    "CutOut",
    "FadeMixUp",
    "Flip",
    "FrameCutMix",
    "FrameCutMixUp",
    "FrameCutOut",
    "MixUp",
    "ObjectMix",
    "OneOf",
    "RandAugment",
    "RandAugmentT",
    "RandomResizedCrop",
    "ScaleJitter",
    "VideoMix",
    "make_augmentation",
]
