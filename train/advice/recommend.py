"""Settings for `l2a train` that follow from the answers, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import yaml

from l2a.settings import about
from selector.reliability import FEWEST, USABLE, Reliability, too_few
from train.advice.doubts import Doubts
from train.advice.paying import Payment
from train.advice.reward import Agreement, tells
from train.scene_test.cast import FOREIGN
from train.settings.advice import EyesSettings

MOST_DROPPED = 0.25


@dataclass(frozen=True)
class Setting:
    """One line of the settings file.

    Attributes:
        name: of the setting.
        value: as the command line would have it.
        why: a comment.
    """

    name: str
    value: Any
    why: str


@dataclass(frozen=True)
class Known:
    """What the advice rests on; None for what could not be answered.

    Attributes:
        eyes: the frozen network; None where there is none.
        payment: whether composites pay.
        validation: how reliable the reward is that validation gives.
        crossfit: how far that of cross-fitting agrees with it.
        folds: of cross-fitting.
        doubts: of labels.
        validation_clips: how many the data set has.
        recordings: how many of validation measured the reward; None where none did.
    """

    eyes: EyesSettings | None = None
    payment: Payment | None = None
    validation: Reliability | None = None
    crossfit: Agreement | None = None
    folds: int = 0
    doubts: Doubts | None = None
    validation_clips: int = 0
    recordings: int | None = None


def recommend(known: Known) -> list[Setting]:
    """The settings, in the order in which they decide."""
    return [*_eyes(known), *_pairs(known), *_choice(known)]


def _eyes(known: Known) -> list[Setting]:
    if known.eyes is None:
        return []
    found = [
        Setting("network", known.eyes.network, "the network that this advice was measured with"),
        Setting("weights", known.eyes.weights, "its weights"),
        Setting("freeze_trunk", True, "fits the last layer alone, as it was done here; leave it "
                "out to fine-tune, which was not measured"),
    ]  # fmt: skip
    if not known.eyes.flip:
        found.append(Setting("flip", False, "as given"))
    return found


def _pairs(known: Known) -> list[Setting]:
    payment = known.payment
    if payment is None or payment.best is None or payment.best.pool is None:
        return [Setting("selection", "none", "whether composites pay could not be measured")]
    arm, pool = payment.best, payment.best.pool.name
    if payment.pays is None:
        return [
            Setting("selection", "none", "no pool and label rule is better than real clips alone "
                    "beyond chance"),
            Setting("matches", pool, f"of use with another selection: {arm.name} has the lowest "
                    "loss, though no difference"),
            Setting("label_rule", arm.rule, "the same"),
        ]  # fmt: skip
    own = payment.differences[arm.name]
    why = f"accuracy {own['top1'].points()} points, loss {own['loss'].plain()} against none"
    if payment.by == FOREIGN:
        why += f", actors on other scenes {own[FOREIGN].points()} points"
    return [
        Setting("matches", pool, why),
        Setting("label_rule", arm.rule, "the best of those that were compared"),
    ]


def _choice(known: Known) -> list[Setting]:
    if known.payment is None or known.payment.pays is None:
        return []
    wrong = known.doubts is not None and known.doubts.clear
    own, folds = known.validation, known.crossfit
    if folds is not None and not folds.tells:
        folds = None
    if not wrong and folds is None and (own is None or not tells(own)):
        return [Setting("selection", "random", _why_not(known))]
    found = []
    if folds is not None:
        found.append(
            Setting("selection", "selector", f"credit by cross-fitting on {folds.recordings} "
                    f"recordings agrees by {folds.value + 0.0:.2f} with others")
        )  # fmt: skip
        found.append(
            Setting("reward_folds", known.folds, "more recordings than validation alone has")
        )
    elif own is None or not tells(own):
        # It is the labels that speak for a Selector here, not its reward.
        found.append(Setting("selection", "selector", "it tells videos with wrong labels"))
    else:
        found.append(
            Setting("selection", "selector", f"the reward's reliability is {own.whole + 0.0:.2f} "
                    f"over {own.recordings} recordings")
        )  # fmt: skip
    if folds is None and known.validation_clips > 64:
        found.append(
            Setting("validation_clips", known.validation_clips, "all that there are: more "
                    "recordings, a more reliable reward")
        )  # fmt: skip
    found.append(
        Setting("sharpness", "half", "drawn from the better half, whose gain differed least "
                "from split to split where it was measured") if folds is not None else
        Setting("sharpness", "auto", "as sharp as the reliability that its training measures")
    )  # fmt: skip
    if wrong and known.doubts is not None:
        noise = known.doubts.noise
        found.append(
            Setting("drop_real", round(min(MOST_DROPPED, noise.share), 3),
                    f"{100 * noise.share:.1f} ± {100 * noise.spread:.1f} % of the labels look "
                    "wrong; better still, mend them")
        )  # fmt: skip
    return found


def _why_not(known: Known) -> str:
    """Why no Selector is advised."""
    own, count = known.validation, known.recordings
    if own is None and count is not None and count < FEWEST:
        return too_few(count)
    measured = "not known" if own is None else f"{own.whole + 0.0:.2f}, beyond chance it is not"
    if own is not None and own.whole < USABLE:
        measured = f"{own.whole + 0.0:.2f}"
    return f"the reward's reliability is {measured}: a Selector's choice would be no difference"


def settings_yaml(found: Sequence[Setting], given: Sequence[Any], layers: str) -> str:
    """The settings file, for `l2a train --config`.

    Args:
        found: what is advised.
        given: the settings that the advice was asked with, and that a training must share: those
            that are not at their defaults are written, too.
        layers: the layer store, in which the work is done already.
    """
    lines = ["# Advice of `l2a advise`; the reasons are in advice.html.", ""]
    for one in found:
        lines += [f"# {one.why}", _line(one.name, one.value)]
    names = {one.name for one in found}
    shared = [
        (one.name, getattr(group, one.name))
        for group in given for one in fields(group)
        if one.name not in names and getattr(group, one.name) != one.default
        and not about(one).speed_only
    ]  # fmt: skip
    if shared:
        lines += ["", "# as the advice was asked with"]
        lines += [_line(name, value) for name, value in shared]
    lines += [
        "",
        "# the masks and backgrounds that were made for the advice",
        _line("layers", layers),
    ]
    return "\n".join(lines) + "\n"


def _line(name: str, value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    if not (plain is None or isinstance(plain, (bool, int, float, str, list))):
        plain = str(plain)  # a path
    flow = None if isinstance(plain, list) else False
    return yaml.safe_dump({name: plain}, allow_unicode=True, default_flow_style=flow, width=10_000)[
        :-1
    ]
