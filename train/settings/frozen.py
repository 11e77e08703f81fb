"""Settings of training on the features of a frozen trunk (`--freeze-trunk`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from l2a.errors import InputError
from l2a.settings import setting

MOST_VIEWS = 64
"""Views of one clip or composite that features are kept of."""


@dataclass(frozen=True)
class FrozenSettings:
    """Training on features of a trunk that stays as it is; of use with --freeze-trunk alone.

    Attributes:
        views: random views (crop and flip) of each real training clip that the head is fitted to.
        composite_views: random views, each with a placement of its own, of each composite.
        draws: with pairs that are drawn, how many times they are drawn anew, with a head for each;
            results are means over the draws.
        l2: strength of the head's L2 penalty on standardised features; chosen by the loss on
            validation clips if not given.
    """

    GROUP: ClassVar[str] = "frozen"

    views: int = setting(2, added=True)
    composite_views: int = setting(1, added=True)
    draws: int = setting(16, added=True)
    l2: float | None = setting(None, added=True)

    def __post_init__(self) -> None:
        for name in ("views", "composite_views"):
            if not 1 <= getattr(self, name) <= MOST_VIEWS:
                raise InputError(f"{name} is {getattr(self, name)}; give 1 to {MOST_VIEWS}.")
        if self.draws < 1:
            raise InputError(f"draws is {self.draws}; it must be at least 1.")
        if self.l2 is not None and not 0 < self.l2 < math.inf:
            raise InputError(
                f"l2 is {self.l2}; give a number above 0, or leave it out to have it chosen."
            )
