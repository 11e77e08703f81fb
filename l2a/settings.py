"""What a setting says about itself, at its own field, and the geometry of a clip.

    lr: float = 0.1                                             results depend on it
    workers: int = setting(0, speed_only=True)                  only the time depends on it
    layouts: str = setting("folder", formerly=("faces",))       it had another name
    smooth: float = setting(0.0, added=True)                    earlier versions did not have it

Nothing heavy is imported here: the command line reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from l2a.errors import InputError

T = TypeVar("T")

_ABOUT = "about"


@dataclass(frozen=True)
class About:
    """What is known of a setting besides its default.

    Attributes:
        speed_only: how fast a result is reached depends on it, and not the result: a run goes on
            whatever its value.
        formerly: names that it had in earlier versions. Run folders, settings files and command
            lines that use them are still understood.
        added: the first version did not have it. At its default it then leaves every fingerprint
            as it was, so that what was made before is still known for what it is.
    """

    speed_only: bool = False
    formerly: tuple[str, ...] = ()
    added: bool = False


def setting(
    default: T, *, speed_only: bool = False, formerly: tuple[str, ...] = (), added: bool = False
) -> T:
    """A field of a settings dataclass, with what `About` says."""
    made: T = field(default=default, metadata={_ABOUT: About(speed_only, formerly, added)})
    return made


def about(of: Field[Any]) -> About:
    """What a field says of itself."""
    found: About = of.metadata.get(_ABOUT, About())
    return found


def flat(groups: Iterable[Any]) -> dict[str, Any]:
    """Every setting of some instances of settings dataclasses, by its name."""
    return {one.name: getattr(group, one.name) for group in groups for one in fields(group)}


def speed_only(groups: Iterable[Any]) -> frozenset[str]:
    """The names of the settings on which no result depends, the names that they had included."""
    found = [(one.name, about(one)) for group in groups for one in fields(group)]
    return frozenset(
        name for own, facts in found if facts.speed_only for name in (own, *facts.formerly)
    )


def kept(group: Any) -> dict[str, Any]:
    """The settings of a dataclass that belong into a fingerprint; see `About.added`.

    Dataclasses that are no settings give all their fields.
    """
    values = asdict(group)
    for one in fields(group):
        if about(one).added and getattr(group, one.name) == one.default:
            del values[one.name]
    return values


@dataclass(frozen=True)
class ClipSettings:
    """The geometry of a clip.

    Attributes:
        num_frames: T, the frames taken from a video, uniformly in time.
        height: rows of a stored frame, in pixels.
        width: columns of a stored frame, in pixels.
        crop: side of the square that training cuts out of a stored frame, in pixels.
    """

    GROUP: ClassVar[str] = "clips"

    num_frames: int = 8
    height: int = 128
    width: int = 171
    crop: int = 112

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise InputError(f"The clip's {name} is {value}; it must be at least 1.")
        if self.crop > min(self.height, self.width):
            raise InputError(
                f"A crop of {self.crop} pixels does not fit into frames of"
                f" {self.height}x{self.width}; make it smaller, or the frames larger."
            )
