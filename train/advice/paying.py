"""Whether composites pay, and of which pool and label rule: paired differences to none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from train.advice.answers import Answer, Table, cannot_say
from train.advice.arms import NONE, Arm, HeldOut
from train.advice.looking import Folds
from train.advice.scenes import HeldOutScenes
from train.estimates import Estimate
from train.prepared import PreparedData
from train.scene_test.cast import FOREIGN
from train.scene_test.scores import SAID

_DECIDING = {"top1": 1, "loss": -1, FOREIGN: 1}
"""Figures that an arm may be chosen by, in this order ─► the sign of what is better."""

Differences = Mapping[str, Estimate]
"""Figure ─► arm less none."""


@dataclass(frozen=True)
class Payment:
    """What composites come to.

    Attributes:
        differences: name of an arm ─► figure ─► difference to real clips alone, over recordings.
        pays: the arm that is advised; None where none is better than real clips alone.
        by: the figure that says so: top1, loss or `FOREIGN`.
        nearest: the arm with the lowest loss, which other questions are asked about.
    """

    differences: Mapping[str, Differences]
    pays: Arm | None
    by: str
    nearest: Arm | None

    @property
    def best(self) -> Arm | None:
        """The advised arm, or the nearest to it."""
        return self.pays or self.nearest


def compare(
    prepared: PreparedData,
    folds: Folds,
    held: Mapping[str, HeldOut],
    scenes: HeldOutScenes | None,
) -> Payment:
    """Differences of all arms to none, clip by clip, and what follows from them."""
    recordings = prepared.recordings[folds.measured]
    base = held[NONE]
    found: dict[str, Differences] = {}
    for name, arm in held.items():
        if name == NONE:
            continue
        own = {
            "top1": Estimate.of(arm.right - base.right, recordings),
            "loss": Estimate.of(arm.losses - base.losses, recordings),
        }
        if scenes is not None:
            own |= {
                figure: Estimate.of(values - base.scenes[figure], scenes.recordings(figure))
                for figure, values in arm.scenes.items()
            }
        found[name] = own
    pays, by = choose_arm(found)
    nearest = min(found, key=lambda name: found[name]["loss"].mean, default=None)
    return Payment(found, held[pays].arm if pays else None, by,
                   held[nearest].arm if nearest else None)  # fmt: skip


def choose_arm(differences: Mapping[str, Differences]) -> tuple[str | None, str]:
    """The name of the arm that is better than none, and the figure by which it is: "" for no arm.

    Accuracy comes first, then the loss, then actors on other scenes. A figure counts where it is
    beyond chance in as many comparisons as there are arms and figures to choose by, and an arm with
    a clear loss of accuracy (two errors) is out.
    """
    count = max(1, sum(figure in own for own in differences.values() for figure in _DECIDING))
    able = {
        name: own for name, own in differences.items()
        if not (own["top1"].clear and own["top1"].mean < 0)
        and not (own["loss"].clear and own["loss"].mean > 0)
    }  # fmt: skip
    for figure, sign in _DECIDING.items():
        better = {
            name: sign * own[figure].mean for name, own in able.items()
            if figure in own and own[figure].sure(count) and sign * own[figure].mean > 0
        }  # fmt: skip
        if better:
            return max(better, key=lambda name: better[name]), figure
    return None, ""


_SENTENCES = {
    "top1": "accuracy {top1} points, loss {loss}",
    "loss": "loss {loss}, accuracy {top1} points",
    FOREIGN: f"actors on other scenes {{{FOREIGN}}} points, "
    "accuracy {top1} points, loss {loss}",
}


def answer_pays(
    payment: Payment, held: Mapping[str, HeldOut], refused: Mapping[str, str], draws: int
) -> Answer:
    """The answer for a person."""
    left_out = tuple(f"Not measured: the pool {name}: {why}" for name, why in refused.items())
    if not payment.differences:
        reasons = " ".join(left_out) or "No pool can be drawn from."
        return cannot_say("pays", reasons)
    titles = ("top1", "loss", FOREIGN, SAID, "scene_alone")
    shown = [name for name in titles if all(name in own for own in payment.differences.values())]
    words = {"top1": "accuracy, points", "loss": "loss, nats", FOREIGN: "actor on other scenes",
             SAID: "scene named instead", "scene_alone": "scene alone"}  # fmt: skip
    rows = tuple(
        (name, *(_cell(figure, own[figure]) for figure in shown), _word(own))
        for name, own in payment.differences.items()
    )
    table = Table(
        ("pool | label rule", *(words[name] for name in shown), ""), rows,
        f"Differences to real clips alone, on the same held-out clips, ± 1 s.e. over recordings; "
        f"means over {draws} draws of pairs in each fold",
    )  # fmt: skip
    return Answer(
        "pays", _verdict(payment), (*_caution(payment), *left_out), table,
        {
            "advised": payment.pays.name if payment.pays else None, "by": payment.by or None,
            "none": {"top1": float(held[NONE].right.mean()),
                     "loss": float(held[NONE].losses.mean())},
            "differences": {
                name: {figure: one.to_json() for figure, one in own.items()}
                for name, own in payment.differences.items()
            },
        },
    )  # fmt: skip


def _verdict(payment: Payment) -> str:
    if payment.pays is None:
        if all(own["top1"].clear and own["top1"].mean < 0 for own in payment.differences.values()):
            return "No: with every pool and label rule accuracy falls."
        assert payment.nearest is not None  # there are differences
        near = payment.differences[payment.nearest.name]
        return (
            "No difference: no pool and label rule is better than real clips alone by more than "
            f"chance among {len(payment.differences)} in any figure; the lowest loss is of "
            f"{payment.nearest.name}: loss {near['loss'].plain()}, "
            f"accuracy {near['top1'].points()} points."
        )
    own = payment.differences[payment.pays.name]
    figures = {
        name: _cell(name, one) + ("" if one.clear else " (no difference)")
        for name, one in own.items()
    }
    return f"Yes, with {payment.pays.name}: {_SENTENCES[payment.by].format(**figures)}."


def _caution(payment: Payment) -> tuple[str, ...]:
    count = len(payment.differences)
    text = (
        f"{count} arms were compared; one that is best of {count} on these clips will be a little "
        "less so on others."
    )
    return (text,) if count > 1 else ()


def _word(own: Differences) -> str:
    clear = [name for name in ("top1", "loss") if own[name].clear]
    if not clear:
        return "no difference"
    good = {"top1": own["top1"].mean > 0, "loss": own["loss"].mean < 0}
    verdicts = {good[name] for name in clear}
    return "both ways" if len(verdicts) == 2 else ("better" if True in verdicts else "worse")


def _cell(figure: str, value: Estimate) -> str:
    text = value.plain() if figure == "loss" else value.points()
    return text.replace("-", "−")
