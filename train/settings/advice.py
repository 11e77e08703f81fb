"""What a person can set about `l2a advise`. No heavy imports: the command line reads this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2a.errors import InputError

LEAST_FOLDS = 3
"""With two, half of the recordings are all that a head is fitted to."""


@dataclass(frozen=True)
class AdviceSettings:
    """What is tried, and how much of the data is looked at.

    Attributes:
        pools: the pools of pairs that are compared, each as --matches takes it, with commas
            between.
        folds: parts that the training recordings are dealt into; each is measured by heads that
            have seen the others alone.
        draws: how many times the pairs of a pool are drawn in each fold; figures are means.
        videos: training and validation videos that are looked at, at most: of larger data sets as
            many of each class, of as many recordings as that allows.
    """

    GROUP: ClassVar[str] = "advice"

    pools: tuple[str, ...] = ("1", "3", "any", "independent")
    folds: int = 5
    draws: int = 6
    videos: int = 600

    def __post_init__(self) -> None:
        from semantic_match.partners import parse_matches  # NumPy, which help does without

        if not self.pools or len(set(self.pools)) < len(self.pools):
            shown = ",".join(self.pools)
            raise InputError(f"pools is {shown!r}; give some pools, each once, such as 1,3,any.")
        for pool in self.pools:
            parse_matches(pool)
        if not LEAST_FOLDS <= self.folds <= 20:
            raise InputError(f"folds is {self.folds}; give {LEAST_FOLDS} to 20.")
        if not 1 <= self.draws <= 100:
            raise InputError(f"draws is {self.draws}; give 1 to 100.")
        if self.videos < 20:
            raise InputError(f"videos is {self.videos}; give 20 or more.")


@dataclass(frozen=True)
class EyesSettings:
    """The frozen network that everything is seen with.

    Attributes:
        network: any network that `l2a train` takes; one that has learned from images or videos.
        weights: "imagenet", "kinetics" or a weight file.
        flip: mirror clips at random; switch it off when left and right tell classes apart.
        device: "auto", "cpu", "cuda" or "cuda:N".
    """

    GROUP: ClassVar[str] = "classifier"

    network: str = "tsn_efficientnet_lite0"
    weights: str | None = "imagenet"
    flip: bool = True
    device: str = "auto"
