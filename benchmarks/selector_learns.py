"""Does the Selector learn? Each reward against mislabelled videos, next to yardsticks that learn
nothing.

    python benchmarks/selector_learns.py gaussian
    python benchmarks/selector_learns.py clips --data ../shared/clips/jhmdb12 \
        --segmenter masks:../shared/clips/jhmdb12/masks --jobs 2
    python benchmarks/selector_learns.py transfer --data ...

`gaussian` is the toy of `selector.gaussian`: thousands of steps take seconds. `clips` is stage one
as `l2a train` runs it, on real clips, 30 % of whose training videos have exchanged labels. The
figure is the AUROC of ω: how often a good one outranks a bad one (0.5 is chance); for clips by
foreground video (mean logit over its pairs), for points by pair. `transfer` trains on half of the
classes and looks at the other half, with labels exchanged as well. Mean ± standard deviation over
seeds. Settings were chosen on seeds 101 to 106; report others.

Prints a table of AUROC by steps and seconds, one core for each seed, and draws it (--plot).
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from l2a.logs import say
from selector.agreement import label_agreement
from selector.diagnosis import Probe, auroc
from selector.environment import PairBatch
from selector.gaussian import GaussianEnvironment, GaussianWorld
from selector.network import Selector, SelectorConfig, new_selector
from selector.reinforce import train_selector
from selector.settings import ReinforceSettings, SelectorSettings

BAD_SHARE = 0.3

Curve = list[tuple[int, float, float]]
"""(steps, seconds of training, AUROC) from time to time."""


@dataclass(frozen=True)
class Arm:
    """One way to teach a Selector."""

    name: str
    reward: dict[str, Any]
    network: SelectorSettings = field(default_factory=SelectorSettings)
    sign: float = 1.0


# 16 numbers describe a point: agreement needs less weight next to them than next to hundreds, and
# there is less to learn by heart.
GAUSSIAN_NETWORK = {"agreement_scale": 2.0, "dropout": 0.5}
GAUSSIAN_TRAINING = ReinforceSettings(
    selector_steps=1500, selector_batch=512, selector_lr=1e-3, settle=1.0
)

PLAIN = SelectorSettings(agreement_scale=0, dropout=0)
ARMS = (
    Arm("credit (default)", {"reward": "credit"}),
    Arm("counterfactual", {"reward": "counterfactual"}),
    Arm("counterfactual, 4 tries", {"reward": "counterfactual", "trajectories": 4,
                                    "roll_back": True}),
    Arm("moving-average (the paper's)", {"reward": "moving-average"}),
    Arm("credit, against all pairs", {"reward": "credit", "within_class": False}),
    Arm("credit, inputs of the paper", {"reward": "credit"}, PLAIN),
    Arm("moving-average, inputs of the paper", {"reward": "moving-average"}, PLAIN),
    Arm("credit, sign turned", {"reward": "credit"}, sign=-1.0),
)  # fmt: skip


class Stopwatch:
    """Seconds of training, without those of measuring."""

    def __init__(self) -> None:
        self._begun, self._paused = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begun - self._paused

    @contextmanager
    def stopped(self) -> Iterator[float]:
        """Do not count what happens inside; yields the seconds so far."""
        begun = time.perf_counter()
        yield self.seconds
        self._paused += time.perf_counter() - begun


def learn(
    selector: Selector,
    environment: Any,
    arm: Arm,
    settings: ReinforceSettings,
    seed: int,
    every: int,
    measure: Callable[[], float],
) -> Curve:
    """Train, measuring every so many steps."""
    watch, curve = Stopwatch(), [(0, 0.0, measure())]

    def log(step: int, figures: dict[str, float]) -> None:
        if (step + 1) % every == 0:
            with watch.stopped() as seconds:
                curve.append((step + 1, seconds, measure()))

    train_selector(selector, environment, replace(settings, **arm.reward), seed, log=log)
    return curve


def gaussian(seed: int, arms: list[Arm], arguments: argparse.Namespace) -> dict[str, Any]:
    """All arms and yardsticks in one world of points."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for arm in arms:
        world = GaussianWorld(credit_sign=arm.sign, agreement=arm.network.agreement_scale > 0)
        environment = GaussianEnvironment(world, seed)
        network = replace(arm.network, labels="one-hot", hidden=(256, 64))
        if network.agreement_scale:
            network = replace(network, **GAUSSIAN_NETWORK)
        config = SelectorConfig.from_settings(network, world.feature_dim, world.classes)
        selector = new_selector(config, seed)
        selector.fit_standardiser(environment.features)
        test = environment.sample(4000, torch.Generator().manual_seed(0))
        good = ~environment.bad[test.rows[:, 0]]
        settings = GAUSSIAN_TRAINING
        if arguments.steps:
            settings = replace(settings, selector_steps=arguments.steps)
        found[arm.name] = learn(
            selector, environment, arm, settings, seed, arguments.every or 100,
            partial(auroc_of_pairs, selector, test, good),
        )  # fmt: skip
    points, classes, bad = environment.points, environment.classes, environment.bad
    linear = torch.nn.Linear(world.feature_dim, world.classes)
    optimiser = torch.optim.SGD(linear.parameters(), lr=0.5)
    for _ in range(50):
        optimiser.zero_grad()
        functional.cross_entropy(linear(points), classes).backward()
        optimiser.step()
    with torch.no_grad():
        losses = functional.cross_entropy(linear(points), classes, reduction="none")
    scores = {
        "small loss": -losses,
        "λ alone": environment.weights[:, 0],
        "label agreement": label_agreement(points, classes, torch.arange(len(points))),
    }
    return found | {f"yardstick: {name}": auroc(score, ~bad) for name, score in scores.items()}


@torch.no_grad()
def auroc_of_pairs(selector: Selector, pairs: PairBatch, good: torch.Tensor) -> float:
    """How often a good pair outranks a bad one; `good` is bool [n]."""
    return auroc(selector.eval()(*pairs.to(torch.device("cpu"))), good)


@dataclass(frozen=True)
class RealWorld:
    """A data set of real clips, mislabelled videos among them, and a warmed-up classifier.

    Attributes:
        mislabelled: bool [N], by row of the bank.
        inputs: float32 [N, F], the trunk's features. labels: float32 [N, E].
        pairs: int64 [n, 2], the pool, or 20,000 pairs of it, to measure on.
    """

    recipe: Any
    prepared: Any
    matching: Any
    mislabelled: torch.Tensor
    network: Any
    trunk: Any
    features: torch.Tensor
    labels: torch.Tensor
    pairs: np.ndarray
    seconds: float

    def selector_inputs(self, config: SelectorConfig) -> torch.Tensor:
        """What a Selector sees of the videos."""
        from train.features import selector_inputs

        return selector_inputs(self.features, self.prepared, self.matching, config)

    def environment(self, inputs: torch.Tensor) -> Any:
        """Stage one's environment, from the warmed-up classifier on."""
        from train.environment import CompositingEnvironment, FrozenFeatures, ValidationRows
        from train.stage_one import validation_subset

        stage = self.recipe.stage
        rows = validation_subset(self.prepared, stage.validation_clips, self.recipe.seed)
        return CompositingEnvironment(
            copy.deepcopy(self.network), self.prepared.source, self.matching.pool,
            FrozenFeatures(inputs), self.labels,
            ValidationRows.of(rows, self.prepared.recordings), stage,
            self.recipe.classifier,
        )  # fmt: skip

    def auroc(self, selector: Selector, inputs: torch.Tensor) -> float:
        """By foreground video."""
        from selector.score import PairScorer

        scorer = PairScorer(selector, inputs, self.labels)
        logits = scorer(np.arange(len(self.pairs)), self.pairs)
        return self.probe(logits)

    def probe(self, scores: torch.Tensor) -> float:
        """AUROC of the mean of each foreground video's scores, float [n] by pair."""
        found = Probe.of(scores, torch.from_numpy(self.pairs[:, 0]), self.mislabelled)
        assert found is not None
        return found.auroc

    def new_selector(self, arm: Arm) -> tuple[Selector, torch.Tensor]:
        """Untrained, with what it sees."""
        config = SelectorConfig.from_settings(
            arm.network, self.features.shape[1], self.labels.shape[1]
        )
        inputs = self.selector_inputs(config)
        selector = new_selector(config, self.recipe.seed)
        selector.fit_standardiser(inputs[torch.from_numpy(self.matching.rows)])
        return selector, inputs


def real_world(
    seed: int, arguments: argparse.Namespace, part: slice = slice(None), trunk: Any = None
) -> RealWorld:
    """Prepare the clips of some classes, exchange labels, warm a classifier up.

    Args:
        part: which of the classes, in the order of their names.
        trunk: whose features to take; that of the classifier if None.
    """
    from compositing.settings import CompositeSettings, EngineSettings, PrepareSettings
    from l2a.clips import ClipSettings
    from l2a.formats import DataSettings
    from semantic_match.settings import MatchSettings
    from train.features import all_features, label_vectors
    from train.opening import open_data
    from train.prepared import build_matching, rematch
    from train.probe import exchange_labels
    from train.recipe import SelectorRecipe
    from train.settings.full import ClassifierSettings, RunSettings, StageOneSettings
    from train.stage_one import selector_trunk, warm_up

    torch.set_num_threads(1)
    folder = arguments.out / f"clips-{seed}-{part.start}-{part.stop}"
    opened = open_data(
        arguments.data, folder, DataSettings(split="1"),
        PrepareSettings(segmenter=arguments.segmenter), EngineSettings(),
        RunSettings(seed=seed, layers=arguments.layers or arguments.out / "layers"),
    )  # fmt: skip
    classes = opened.videos.classes[part]
    videos = tuple(video for video in opened.videos.videos if video.label in classes)
    opened = replace(opened, videos=replace(opened.videos, classes=classes, videos=videos))
    prepared = opened.prepare(
        ClipSettings(num_frames=8, height=64, width=86, crop=56),
        CompositeSettings(label_rule=arguments.label_rule),
    )
    matching = build_matching(prepared, MatchSettings())
    prepared, wrong = exchange_labels(prepared, BAD_SHARE, seed)
    matching = rematch(matching, prepared)
    vectors = label_vectors(matching, "embedding", len(prepared.videos.classes))
    count = min(len(matching.pool), 20_000)
    chosen = np.random.default_rng(0).permutation(len(matching.pool))[:count]
    recipe = SelectorRecipe(
        classifier=ClassifierSettings(network="tiny3d", lr=0.05, device="cpu"),
        stage=StageOneSettings(warmup_epochs=20, validation_clips=128),
        seed=seed,
    )
    begun = time.perf_counter()
    network = warm_up(prepared, recipe, folder, torch.device("cpu"))
    trunk = trunk or selector_trunk(network, recipe, torch.device("cpu"))
    features = all_features(trunk, prepared)
    return RealWorld(
        recipe, prepared, matching, torch.from_numpy(wrong), network, trunk, features,
        vectors[torch.from_numpy(prepared.source.labels)], matching.pool.pairs(chosen),
        time.perf_counter() - begun,
    )  # fmt: skip


def clips(seed: int, arms: list[Arm], arguments: argparse.Namespace) -> dict[str, Any]:
    """All arms and yardsticks on real clips."""
    world = real_world(seed, arguments)
    found: dict[str, Any] = {"seconds of warming up": world.seconds}
    for arm in arms:
        selector, inputs = world.new_selector(arm)
        reinforce = ReinforceSettings(settle=1.0)
        if arguments.steps:
            reinforce = replace(reinforce, selector_steps=arguments.steps)
        found[arm.name] = learn(
            selector, world.environment(inputs), arm, reinforce, seed, arguments.every or 15,
            partial(world.auroc, selector, inputs),
        )  # fmt: skip
        say(f"seed {seed}, {arm.name}: {found[arm.name][-1]}")
    return found | yardsticks(world)


def yardsticks(world: RealWorld) -> dict[str, float]:
    """What can be had without learning, and each video's mean credit: all there is to learn."""
    from train.features import agreement_among

    rows = torch.from_numpy(world.matching.rows)
    classes = torch.from_numpy(world.prepared.source.labels)
    fore = torch.from_numpy(world.matching.foregrounds)
    good = ~world.mislabelled[fore]
    agreement = torch.zeros(len(classes))
    agreement[rows] = agreement_among(world.matching.rows, world.features, world.prepared)
    lam = world.prepared.source.composites(world.pairs).labels
    of_pair = torch.arange(len(world.pairs))
    return {
        "yardstick: small loss": auroc(-own_losses(world)[fore], good),
        "yardstick: λ alone": world.probe(lam[of_pair, classes[world.pairs[:, 0]]]),
        "yardstick: label agreement": auroc(agreement[fore], good),
        "yardstick: mean credit of each video": signal(
            world.environment(world.features), world.mislabelled
        ),
    }


def own_losses(world: RealWorld) -> torch.Tensor:
    """Each video's own loss under the warmed-up classifier, float [N]; 0 outside of training."""
    from train.classifier import predict

    rows = world.matching.rows
    logits = torch.from_numpy(predict(world.network, world.prepared.source, rows))
    losses = torch.zeros(len(world.mislabelled))
    carried = torch.from_numpy(world.prepared.source.labels[rows])
    losses[torch.from_numpy(rows)] = functional.cross_entropy(logits, carried, reduction="none")
    return losses


def transfer(seed: int, arms: list[Arm], arguments: argparse.Namespace) -> dict[str, Any]:
    """A Selector of half of the classes on the other half, and one that was trained there."""
    halves = (slice(0, 6), slice(6, 12))
    found: dict[str, Any] = {}
    for home, away in (halves, halves[::-1]):
        world = real_world(seed, arguments, home)
        selector, inputs = world.new_selector(arms[0])
        settings = ReinforceSettings(settle=1.0)
        way = f"classes {home.start + 1}-{home.stop} to the others"
        train_selector(
            selector, world.environment(inputs), settings, seed, log=lambda step, figures: None
        )
        other = real_world(seed, arguments, away, trunk=world.trunk)
        seen = other.selector_inputs(selector.config)
        found |= {
            f"{way}: at home": world.auroc(selector, inputs),
            f"{way}: away": other.auroc(selector, seen),
            f"{way}: untrained, away": other.auroc(other.new_selector(arms[0])[0], seen),
            f"{way}: label agreement, away": yardsticks(other)["yardstick: label agreement"],
        }
    return found


def signal(environment: Any, mislabelled: torch.Tensor, pairs: int = 3000) -> float:
    """AUROC of each foreground video's mean credit: what there is to learn, without a Selector."""
    from selector.environment import Measurements
    from selector.reward import standardise_credit

    environment.restart()
    rows, values = [], []
    generator = torch.Generator().manual_seed(0)
    for _ in range(pairs // 500):
        batch = environment.sample(500, generator)
        credit = environment.step(batch, torch.ones(1, 500), Measurements(credit=True)).credit
        values.append(standardise_credit(credit, batch.classes[:, 0]))
        rows.append(batch.rows[:, 0])
        environment.restart()
    probe = Probe.of(torch.cat(values), torch.cat(rows), mislabelled)
    assert probe is not None
    return probe.auroc


def table(results: list[dict[str, Any]], arms: list[Arm]) -> str:
    """Markdown: arms by steps, then the yardsticks."""
    names = [arm.name for arm in arms if arm.name in results[0]]
    shown = sorted({point[0] for name in names for point in results[0][name]})
    wanted = [shown[round(part * (len(shown) - 1))] for part in (0.25, 0.5, 0.75, 1)]
    lines = [
        "| reward | " + " | ".join(f"{step} steps" for step in wanted) + " | by seed | seconds |",
        "| --- " * (len(wanted) + 3) + "|",
    ]
    for name in names:
        curves = [{step: (seconds, value) for step, seconds, value in r[name]} for r in results]
        cells = [spread([curve[step][1] for curve in curves]) for step in wanted]
        seeds = " ".join(f"{curve[wanted[-1]][1]:.3f}" for curve in curves)
        pace = statistics.median(curve[wanted[-1]][0] for curve in curves)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {seeds} | {pace:.1f} |")
    for name in (key for key in results[0] if key.startswith("yardstick")):
        values = [result[name] for result in results]
        seeds = " ".join(f"{value:.3f}" for value in values)
        empty = " | " * (len(wanted) - 1)
        lines.append(f"| {name} | {empty}{spread(values)} | {seeds} | |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Mean ± standard deviation."""
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ± {sd:.3f}"


def draw(path: Path, results: list[dict[str, Any]], arms: list[Arm], title: str) -> None:
    """AUROC over steps and over seconds, the mean of the seeds and their range."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    for axes, of in zip(figure.subplots(1, 2, sharey=True), ("steps", "seconds"), strict=True):
        for arm in arms:
            curves = np.array([result[arm.name] for result in results if arm.name in result])
            if len(curves):
                x = np.median(curves[:, :, 0 if of == "steps" else 1], axis=0)
                line = axes.plot(x, curves[:, :, 2].mean(axis=0), label=arm.name)[0]
                low, high = curves[:, :, 2].min(axis=0), curves[:, :, 2].max(axis=0)
                axes.fill_between(x, low, high, color=line.get_color(), alpha=0.12)
        for name, style in (("small loss", ":"), ("label agreement", "--")):
            value = statistics.fmean(result[f"yardstick: {name}"] for result in results)
            axes.axhline(value, color="grey", ls=style, lw=1, label=f"yardstick: {name}")
        axes.axhline(0.5, color="black", lw=0.8)
        axes.set(xlabel=f"{of} of training", ylabel="AUROC of ω" if of == "steps" else None)
        axes.grid(alpha=0.3)
    figure.axes[1].legend(fontsize="x-small", loc="lower right")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _meant(word: str, name: str) -> bool:
    return name == word or (name.startswith(word) and all(word != arm.name for arm in ARMS))


def main() -> None:
    """Run, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    worlds = {"gaussian": gaussian, "clips": clips, "transfer": transfer}
    parser.add_argument("world", choices=list(worlds), nargs="?", default="gaussian")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, help="of training (1500, or the default of l2a train)")
    parser.add_argument("--every", type=int, help="measure every so many steps (100, or 15)")
    parser.add_argument("--arms", nargs="+", help="names of arms, or words that they begin with")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, each on one core")
    parser.add_argument("--data", type=Path, help="of clips: the data set's folder")
    parser.add_argument("--segmenter", default="motion", help="of clips, as for l2a prepare")
    parser.add_argument("--label-rule", default="mixed", help="of clips, as for l2a train")
    parser.add_argument("--layers", type=Path, help="a layer store to use and extend")
    parser.add_argument("--out", type=Path, default=Path("runs/selector-learns"))
    parser.add_argument("--plot", type=Path, help="the PNG to draw")
    arguments = parser.parse_args()
    if arguments.world != "gaussian" and not arguments.data:
        parser.error(f"{arguments.world} needs --data, the data set's folder")
    turned = arguments.world == "gaussian"
    arms = [
        arm for arm in ARMS
        if (turned or arm.sign > 0)
        and (not arguments.arms or any(_meant(word, arm.name) for word in arguments.arms))
    ]  # fmt: skip
    arguments.out.mkdir(parents=True, exist_ok=True)
    work = partial(worlds[arguments.world], arms=arms, arguments=arguments)
    if arguments.jobs == 1:
        results = [work(seed) for seed in arguments.seeds]
    else:
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
            results = list(pool.map(work, arguments.seeds))
    record = arguments.out / f"{arguments.world}.json"
    record.write_text(json.dumps(dict(zip(map(str, arguments.seeds), results, strict=True))))
    if arguments.world == "transfer":
        for name in results[0]:
            values = [result[name] for result in results]
            print(f"| {name} | {spread(values)} | " + " ".join(f"{v:.3f}" for v in values) + " |")
        return
    print(table(results, arms))
    if arguments.plot:
        title = f"Telling {BAD_SHARE:.0%} mislabelled videos apart: {arguments.world}"
        draw(arguments.plot, results, arms, f"{title}, {len(results)} seeds")


if __name__ == "__main__":
    main()
