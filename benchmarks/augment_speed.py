"""What each augmentation costs a batch, next to one `torch.clone` of it.

    python benchmarks/augment_speed.py [--repeats 7] [--threads 1] [--dtype float32] [--only NAME]

A batch of 16 clips [3, 16, 112, 112]: the median of milliseconds over several seeds, probabilities
at 1, and its ratio to a clone taken in turn with it. RandAugment-T stands next to torchvision v2's
RandAugment of the same N and M applied frame by frame (on uint8, the only type it promises), and to
whole clips; the crop next to torchvision v2's of the same windows, and ActorCut next to the lines
of its authors' code, both on uint8.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from l2a.augment import AUGMENTATIONS, Augmentation, make_augmentation

SHAPE = (16, 3, 16, 112, 112)
MODES = ("videomix:temporal", "videomix:spatio-temporal", "videomix:per-frame")
RANGES = ("randaugment-t:temporal", "randaugment-t:mix")


def milliseconds(way: Callable[[int], object], seed: int) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    way(seed)
    return 1000 * (time.perf_counter() - started)


def beside(
    way: Callable[[int], object], other: Callable[[int], object], repeats: int
) -> tuple[float, float]:
    """Median milliseconds of both, in turns, after one call that is not counted."""
    way(0), other(0)
    pairs = [(milliseconds(way, seed), milliseconds(other, seed)) for seed in range(repeats)]
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second)


def frame_by_frame(clips: Tensor) -> Callable[[int], object]:
    """torchvision's RandAugment on every frame by itself."""
    theirs = v2.RandAugment(num_ops=2, magnitude=5)

    def run(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return [torch.stack([theirs(frame) for frame in clip.unbind(1)], 1) for clip in clips]

    return run


def clip_by_clip(clips: Tensor) -> Callable[[int], object]:
    """torchvision's RandAugment on clips [T, 3, H, W]: one magnitude for all frames."""
    theirs = v2.RandAugment(num_ops=2, magnitude=5)

    def run(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return [theirs(clip.transpose(0, 1)) for clip in clips]

    return run


def cropped_by_torchvision(clips: Tensor) -> Callable[[int], object]:
    """torchvision's RandomResizedCrop on clips [T, 3, H, W]."""
    theirs = v2.RandomResizedCrop(clips.shape[-2:], antialias=True)

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.stack([theirs(clip.transpose(0, 1)).transpose(0, 1) for clip in clips])

    return run


def pasted_by_the_authors(clips: Tensor, masks: Tensor) -> Callable[[int], object]:
    """What `base_semi.py` of github.com/vt-vl-lab/video-data-aug computes, once masks are boxes."""
    human = masks.to(clips.dtype)[:, None]

    def run(_: int) -> Tensor:
        scene = torch.flip(clips * (1 - human), dims=[0])
        return clips * human + scene * (1 - human)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "uint8"), default="float32")
    parser.add_argument("--only", default="", help="measure names that contain this")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.dtype)
    whole = torch.randint(0, 256, SHAPE, dtype=torch.uint8)
    clips = whole if dtype == torch.uint8 else whole.float() / 255
    labels = torch.eye(SHAPE[0])
    masks = torch.zeros(SHAPE[0], *SHAPE[2:], dtype=torch.bool)
    masks[..., 20:100, 40:75] = True  # a seventh of the frame

    def ours(augment: Augmentation) -> Callable[[int], object]:
        return lambda seed: augment(clips, labels, masks, torch.Generator().manual_seed(seed))

    def clone(_: int) -> Tensor:
        return clips.clone()

    print(f"{arguments.dtype}, {arguments.threads} thread(s)")
    print(f"{'':28}{'ms':>8}{'clones':>9}")
    names = sorted({*AUGMENTATIONS, *MODES, *RANGES})
    for name in (name for name in names if arguments.only in name):
        taken, copy = beside(ours(make_augmentation(name).always()), clone, arguments.repeats)
        print(f"{name:28}{taken:8.1f}{taken / copy:9.2f}", flush=True)
    for name in (
        n for n in ("randaugment-t:temporal+", "randaugment-t:mix") if arguments.only in n
    ):
        augment = make_augmentation(name)
        for title, other in (("frame by frame", frame_by_frame), ("clip by clip", clip_by_clip)):
            taken, theirs = beside(ours(augment), other(whole), arguments.repeats)
            print(f"{name} {taken:.0f} ms, torchvision {title} {theirs:.0f} ms", flush=True)
    pairs = {
        "random-resized-crop": (None, "torchvision", cropped_by_torchvision(whole)),
        "actorcut": (masks, "its authors' lines", pasted_by_the_authors(whole, masks)),
    }
    eye = torch.eye(len(whole))
    for name, (given, title, other) in pairs.items():
        if arguments.only in name:
            augment = make_augmentation(name).always()
            taken, theirs = beside(
                lambda seed, augment=augment, given=given: augment(
                    whole, eye, given, torch.Generator().manual_seed(seed)
                ),
                other, arguments.repeats,
            )  # fmt: skip
            print(f"{name} {taken:.1f} ms, {title} {theirs:.1f} ms (uint8)", flush=True)


if __name__ == "__main__":
    main()
