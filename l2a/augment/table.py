"""Every augmentation by the name that its makers gave it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, cast, get_type_hints

from l2a.augment.base import Augmentation
from l2a.augment.blend import CubeCutMixUp, CutMixUp, FadeMixUp, FrameCutMixUp, MixUp
from l2a.augment.compose import Compose
from l2a.augment.cut import CubeCutMix, CutMix, FrameCutMix, VideoMix, VideoMixMode
from l2a.augment.delete import CubeCutOut, CutOut, FrameCutOut
from l2a.augment.geometry import Flip, RandomResizedCrop, ScaleJitter
from l2a.augment.objects import ActorCut, ObjectMix
from l2a.augment.randaugment import RandAugment, RandAugmentT, Variation
from l2a.backends import make_backend
from l2a.errors import InputError


def _videomix(argument: str) -> Augmentation:
    return VideoMix(mode=cast(VideoMixMode, argument)) if argument else VideoMix()


def _randaugment_t(argument: str) -> Augmentation:
    return RandAugmentT(variation=cast(Variation, argument)) if argument else RandAugmentT()


def _flip(argument: str) -> Augmentation:
    try:
        fixed = tuple(int(word) for word in argument.split("+")) if argument else ()
    except ValueError:
        raise InputError(
            f"flip:{argument} must name class indices joined by +, such as flip:3+17."
        ) from None
    return Flip(fixed_classes=fixed)


def _plain(name: str, make: Callable[[], Augmentation]) -> Callable[[str], Augmentation]:
    """A factory that takes nothing after the colon."""

    def factory(argument: str) -> Augmentation:
        if argument:
            raise InputError(f"{name} takes nothing after a colon, not {argument!r}.")
        return make()

    return factory


_PLAIN: Mapping[str, Callable[[], Augmentation]] = {
    "cutmix": CutMix,
    "framecutmix": FrameCutMix,
    "cubecutmix": CubeCutMix,
    "mixup": MixUp,
    "fademixup": FadeMixUp,
    "cutmixup": CutMixUp,
    "framecutmixup": FrameCutMixUp,
    "cubecutmixup": CubeCutMixUp,
    "cutout": CutOut,
    "framecutout": FrameCutOut,
    "cubecutout": CubeCutOut,
    "objectmix": ObjectMix,
    "objectmix+or": lambda: ObjectMix(over_time=True),
    "objectmix+videomix": lambda: ObjectMix(videomix=True),
    "objectmix+or+videomix": lambda: ObjectMix(over_time=True, videomix=True),
    "actorcut": ActorCut,
    "actorcut+videomix": lambda: Compose((ActorCut(), VideoMix())),
    "randaugment": RandAugment,
    "random-resized-crop": RandomResizedCrop,
    "scale-jitter": ScaleJitter,
}

AUGMENTATIONS: Mapping[str, Callable[[str], Augmentation]] = {
    "videomix": _videomix,
    **{name: _plain(name, make) for name, make in _PLAIN.items()},
    "randaugment-t": _randaugment_t,
    "flip": _flip,
}
"""Name ─► factory, which takes what follows the name's colon ("" for nothing).

`videomix:` spatial, temporal, spatio-temporal, per-frame. `randaugment-t:` temporal, temporal+,
mix. `flip:3+17` never mirrors clips of the classes 3 and 17. The others take nothing. All have
their default settings; `make_augmentation` takes others.
"""


def make_augmentation(spec: str) -> Augmentation:
    """The augmentation that `spec` names; several joined by commas follow one another.

    Args:
        spec: a name of the table, and after colons settings of its class that are one number, or
            true or false: "videomix", "videomix:per-frame:alpha=0.5",
            "flip:3+17,cutmix:probability=1:per_clip=true".

    Raises:
        InputError: a name is not in the table, or what follows its colons is not known.
    """
    steps = tuple(_made(part.strip()) for part in spec.split(","))
    return steps[0] if len(steps) == 1 else Compose(steps)


def _made(spec: str) -> Augmentation:
    """One step: `name[:argument][:setting=value ...]`."""
    words = spec.split(":")
    plain = ":".join(word for word in words if "=" not in word)
    augmentation = make_backend("augmentation", plain, AUGMENTATIONS)
    if plain == spec:
        return augmentation
    if isinstance(augmentation, Compose):
        raise InputError(
            f"{plain} is two augmentations and takes no settings, as in {spec!r}; give them to"
            f" each: {','.join(plain.split('+'))}."
        )
    settings: Any = augmentation
    try:
        return cast(Augmentation, replace(settings, **_settings(augmentation, words)))
    except InputError as error:
        raise InputError(f"In {spec!r}: {error}") from None


def _settings(augmentation: Augmentation, words: Sequence[str]) -> dict[str, Any]:
    """The settings among `words`, each as its field's type."""
    hints, settings = get_type_hints(type(augmentation)), cast(Any, augmentation)
    kinds = {f.name: hints[f.name] for f in fields(settings) if hints[f.name] in _READERS}
    found: dict[str, Any] = {}
    for name, _, value in (word.partition("=") for word in words if "=" in word):
        if name not in kinds:
            raise InputError(f"there is no setting {name!r}; choose one of: {', '.join(kinds)}.")
        if name in found:
            raise InputError(f"{name} is given twice; leave one out.")
        read, wanted = _READERS[kinds[name]]
        try:
            found[name] = read(value)
        except (ValueError, KeyError):
            raise InputError(f"{name} must be {wanted}, not {value!r}.") from None
    return found


_READERS: Mapping[type, tuple[Callable[[str], Any], str]] = {
    float: (float, "a number"),
    int: (int, "a whole number"),
    bool: ({"true": True, "false": False}.__getitem__, "true or false"),
}
