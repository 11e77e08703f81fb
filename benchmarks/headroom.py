"""How much the choice of pairs can change, and how little one set of recordings says of another.

    python benchmarks/headroom.py ../shared/clips/jhmdb12 \
        --segmenter masks:../shared/clips/jhmdb12/masks --out runs/pools

On features of a frozen image network, a budget of as many pairs as there are training clips is
chosen from `--universe` listed pairs of a pool, equal over the classes of the foregrounds:

- at random, `--draws` times;
- by credit in the head's last layer, as stage one measures it, on the validation clips: the best,
  drawn from the better half of each class (`--draws` times), the worst;
- the same by credit on training recordings, measured by cross-fitting: no pair by a head or on a
  clip that knows one of its videos;
- by credit on the test clips themselves, the best and the worst: no method, but the ceiling, and
  overfitted at that.

A head is fitted to real clips and the chosen composites, which weigh the same in all, its strength
chosen on validation. A second table has rank correlations of pairs' credit, within the foreground's
class: between validation, held-out training recordings and test, and between two random halves
of the recordings of one of them. Clips and features are those of `pools.py`, found again where
`--out`, or `--layers` and `--bank`, are the same. Every split is kept in `--out`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from choices import Rows, choose, credit_on, rank_agreement
from draws import listed_pairs
from heads import MeasuredStudy, Score, independent, mean_score
from pools import RULES, settings_of
from tables import print_header, print_table, run
from torch import Tensor

from compositing.settings import CompositeSettings
from l2a.files import fingerprint, read_json, write_json
from l2a.networks import build_network
from selector.reliability import measure_reliability
from semantic_match.settings import MatchSettings
from train.advice.study import Sides
from train.estimates import Estimate
from train.frozen.crossfit import FoldedClips, crossfit_credit, deal_folds
from train.frozen.environment import DrawnPairs, MeasuredClips
from train.frozen.features import FeatureBank
from train.frozen.head import HeadProblem, LinearHead, choose_l2, cross_entropy
from train.opening import open_data
from train.prepared import PreparedData
from train.settings.frozen import FrozenSettings

SHARES = {"best": 0.0, "better half": 0.5, "worst": 0.0}
CHOICES = (
    *(("validation", how) for how in SHARES),
    *(("held-out training", how) for how in SHARES),
    ("test itself", "best"), ("test itself", "worst"),
)  # fmt: skip
FIGURES = ("top1", "loss", "validation_loss")
NONE, RANDOM = "no composites", "random"


@dataclass(frozen=True)
class Listed:
    """The pairs that are chosen from, and how they are measured.

    Attributes:
        prepared, bank: the data set and features of its clips.
        drawn: the pairs, with features and labels of their composites.
        classes: int64 `[M]`, of their foregrounds.
        head: the one of the real training clips, or None for one of zeros.
        l2: its strength.
    """

    prepared: PreparedData
    bank: FeatureBank
    drawn: DrawnPairs
    classes: Tensor
    head: LinearHead | None
    l2: float

    def clips(self, rows: Rows) -> MeasuredClips:
        """Clips that credit can be measured on."""
        recordings = np.unique(self.prepared.recordings[rows], return_inverse=True)[1]
        return MeasuredClips(
            self.bank.centre(rows), self.prepared.source.one_hot(rows),
            torch.from_numpy(recordings.astype(np.int64)),
        )  # fmt: skip

    def credit(self, split: str) -> Tensor:
        """Credit by recording, `[M, R]`, on the clips of a split."""
        return credit_on(self.clips(self.prepared.rows[split]), self.drawn, self.head)

    def held_out(self, folds: int) -> Tensor:
        """Credit `[M, R]` on training recordings, by heads that have not seen them."""
        rows = self.prepared.rows["train"]
        own = self.prepared.recordings[rows], self.prepared.source.labels[rows]
        dealt = deal_folds(*own, folds, seed=0)
        of_row = np.full(len(self.prepared.bank), -1, np.int64)
        of_row[rows] = dealt
        real = FoldedClips(self.clips(rows), self.bank.real(rows), torch.from_numpy(dealt))
        of_pairs = torch.from_numpy(of_row)[self.drawn.rows]
        return crossfit_credit(real, self.drawn, of_pairs, self.l2)


def correlations(
    credit: Mapping[str, Tensor], classes: Tensor, test_clips: Tensor
) -> dict[str, float]:
    """Rank correlations of pairs' credit, by what is compared.

    Args:
        credit: side ─► float `[M, R]`, by recording.
        classes: int64 `[M]`, of the foregrounds.
        test_clips: the credit on the test clips, `[M, clips]`, clip by clip.
    """
    sums = {side: values.sum(1) for side, values in credit.items()}
    sides = list(sums)
    found = {
        f"{a} and {b}": rank_agreement(sums[a], sums[b], classes)
        for place, a in enumerate(sides) for b in sides[place + 1 :]
    }  # fmt: skip
    halved = {f"halves of the recordings: {side}": values for side, values in credit.items()}
    for name, values in {**halved, "halves of the clips: test": test_clips}.items():
        reliability = measure_reliability(values, classes, fewest=2)
        found[name] = reliability.halves if reliability else float("nan")
    return found


def one_split(split: str, given: argparse.Namespace) -> dict[str, Any]:
    """Figures of every choice, and correlations; kept."""
    chosen = [given.pool, given.rule, given.universe, given.draws, given.head, given.folds]
    how = [given.network, given.weights, given.segmenter, *chosen]
    folder = given.out / f"split-{split}"
    path = folder / f"headroom-{fingerprint(how)}.json"
    if path.is_file():
        return dict(read_json(path))
    settings = settings_of(split, given)
    run_settings = replace(
        settings.run,
        layers=given.layers or settings.run.layers, bank=given.bank or settings.run.bank,
    )  # fmt: skip
    opened = open_data(
        given.data, folder, settings.data, settings.prepare, settings.engine, run_settings
    )
    prepared = opened.prepare(settings.clips, CompositeSettings(label_rule=given.rule))
    trunk = build_network(given.network, 1, given.weights).trunk.eval()
    bank = FeatureBank(trunk, prepared, FrozenSettings(), flip=True, seed=0)
    pairs = np.unique(
        listed_pairs(
            prepared, MatchSettings(matches=given.pool), settings.rank, given.universe, seed=0
        ),
        axis=0,
    )
    listed = look_at(prepared, bank, pairs, fitted=given.head == "fitted")
    found = measure_choices(listed, given)
    found["recordings"] = {
        side: len(np.unique(prepared.recordings[rows])) for side, rows in prepared.rows.items()
    }
    write_json(path, found)
    return found


def look_at(prepared: PreparedData, bank: FeatureBank, pairs: Rows, *, fitted: bool) -> Listed:
    """The features of pairs, and the head that their credit is measured in."""
    made = bank.composites(pairs)
    labels = bank.composite_labels(pairs, made)
    rows = prepared.rows["train"]
    views = bank.real(rows)
    one_hot = prepared.source.one_hot(rows).repeat_interleave(views.shape[1], dim=0)
    tune = prepared.rows["val"]
    strength = choose_l2(
        [HeadProblem(views.flatten(0, 1), one_hot)], bank.centre(tune),
        prepared.source.one_hot(tune),
    )  # fmt: skip
    drawn = DrawnPairs(torch.from_numpy(pairs), made.features, labels)
    classes = torch.from_numpy(prepared.source.labels[pairs[:, 0]])
    head = strength.heads[0] if fitted else None
    return Listed(prepared, bank, drawn, classes, head, strength.l2)


def measure_choices(listed: Listed, given: argparse.Namespace) -> dict[str, Any]:
    """Accuracy and losses of each choice, and correlations of credit."""
    begun, prepared = time.monotonic(), listed.prepared
    rows, source = prepared.rows, prepared.source
    credit = {
        "validation": listed.credit("val"),
        "held-out training": listed.held_out(given.folds),
        "test": listed.credit("test"),
    }
    clips = listed.clips(rows["test"])
    alone = replace(clips, recordings=torch.arange(len(rows["test"])))
    found: dict[str, Any] = {
        "correlations": correlations(
            credit, listed.classes, credit_on(alone, listed.drawn, listed.head)
        )
    }
    tune = listed.bank.centre(rows["val"]), source.one_hot(rows["val"]).double()

    def validation(logits: Callable[[Tensor], Tensor]) -> Mapping[str, float]:
        shares = torch.full((len(tune[0]),), 1 / len(tune[0]), dtype=torch.float64)
        return {"validation_loss": float(cross_entropy(logits(tune[0]), tune[1], shares)[0])}

    study = MeasuredStudy(
        prepared, listed.bank, Sides(rows["train"], rows["val"], rows["test"]), validation
    )
    budget = min(len(rows["train"]), len(listed.drawn.rows))
    pairs = listed.drawn.rows.numpy()

    def lots(scores: Tensor, share: float, draws: int) -> list[Rows]:
        return [
            pairs[choose(pairs, scores, source.labels, budget, share, draw)]
            for draw in range(draws)
        ]

    scores = {side: values.sum(1) for side, values in credit.items()}
    scores["test itself"] = scores.pop("test")
    flat = torch.zeros(len(pairs))

    def with_pairs(draws: list[Rows]) -> dict[str, float]:
        fitted = study.with_pairs(draws, given.rule)
        return figures(study.scores(fitted), fitted.l2)

    none = study.real_alone()
    arms = found["arms"] = {NONE: figures(study.scores(none), none.l2)}
    arms[RANDOM] = with_pairs(lots(flat, 1.0, given.draws))
    for side, how in CHOICES:
        sign = -1 if how == "worst" else 1
        draws = given.draws if SHARES[how] else 1
        drawn = lots(sign * scores[side], SHARES[how], draws)
        arms[f"{side}, {how}"] = with_pairs(drawn)
    found["seconds"] = time.monotonic() - begun
    return found


def figures(scores: Sequence[Score], l2: float) -> dict[str, float]:
    """Means over draws, and the standard deviation of their accuracy."""
    top1 = [score.top1 for score in scores]
    spread = statistics.stdev(top1) if len(top1) > 1 else 0.0
    return {**mean_score(scores), "spread": spread, "draws": len(top1), "l2": l2}


def show(results: Mapping[str, Mapping[str, Any]], *, markdown: bool) -> None:
    """Each split, the means, and differences to random choices paired by split."""
    for figure, decimals in (("top1", 1), ("loss", 2), ("validation_loss", 2)):
        times = 100 if figure == "top1" else 1
        rows = []
        for arm in next(iter(results.values()))["arms"]:
            own = [times * one["arms"][arm][figure] for one in results.values()]
            base = [times * one["arms"][RANDOM][figure] for one in results.values()]
            gain = independent([a - b for a, b in zip(own, base, strict=True)])
            rows.append([
                arm, *(f"{value:.{decimals}f}" for value in own),
                f"{statistics.fmean(own):.{decimals}f}",
                "" if arm == RANDOM else _with_error(gain, decimals),
            ])  # fmt: skip
        names = {"top1": "Accuracy on test, %", "loss": "Loss on test, nats"}
        title = names.get(figure, "Loss on validation, nats")
        header = ["chosen by credit on", *(f"split {s}" for s in results), "mean", "to random"]
        print_table(title, header, rows, markdown=markdown)
    rows = []
    for name in next(iter(results.values()))["correlations"]:
        own = [one["correlations"][name] for one in results.values()]
        rows.append([name, *(f"{value:.2f}" for value in own), _plain(independent(own))])
    print_table(
        "Rank correlation of pairs' credit within the foreground's class",
        ["between", *(f"split {s}" for s in results), "mean"], rows, markdown=markdown,
    )  # fmt: skip
    print(f"\nrecordings: {_recordings(results.values())}")


def _recordings(results: Iterable[Mapping[str, Any]]) -> str:
    counts = [one["recordings"] for one in results]
    return ", ".join(f"{side} {' '.join(str(one[side]) for one in counts)}" for side in counts[0])


def _with_error(value: Estimate, decimals: int) -> str:
    error = "" if np.isnan(value.error) else f" ± {value.error:.{decimals}f}"
    return f"{value.mean:+.{decimals}f}{error}"


def _plain(value: Estimate) -> str:
    error = "" if np.isnan(value.error) else f" ± {value.error:.2f}"
    return f"{value.mean:.2f}{error}"


def main() -> None:
    """Measure what is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the data set's folder")
    parser.add_argument("--segmenter", default="motion", help="as for l2a prepare")
    parser.add_argument("--splits", nargs="+", default=["1", "2", "3"])
    parser.add_argument("--pool", default="any", help="as --matches takes it")
    parser.add_argument("--rule", choices=RULES, default="actor", help="label rule")
    parser.add_argument("--universe", type=int, default=828, help="listed pairs of the pool")
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument(
        "--head", choices=("fitted", "fresh"), default="fitted",
        help="credit in the last layer fitted to real clips, or in one of zeros",
    )  # fmt: skip
    parser.add_argument("--folds", type=int, default=6, help="of held-out training recordings")
    parser.add_argument("--network", default="tsn_efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--out", type=Path, default=Path("runs/pools"))
    parser.add_argument("--layers", type=Path, help="a layer store (OUT/layers)")
    parser.add_argument("--bank", type=Path, help="a folder of banks (OUT/bank)")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    print_header()
    results = {split: one_split(split, given) for split in given.splits}
    show(results, markdown=given.markdown)


if __name__ == "__main__":
    run(main)
