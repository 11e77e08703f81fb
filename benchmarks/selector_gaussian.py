"""How well each reward teaches the Selector, in a toy world where the good pairs are known.

    python benchmarks/selector_gaussian.py --steps 100 300 1000 --seeds 3

Prints, for each reward, the AUROC of the Selector's logits over fresh pairs (good against bad,
0.5 is chance, mean ± standard deviation over seeds) after so many steps. The world is
`selector.gaussian`: 30 % of the videos carry a wrong label, and a pair is bad when its foreground
is one of them. The order of the rewards is the message, not the last digit: real video is harder.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from selector.gaussian import GaussianEnvironment, GaussianWorld
from selector.network import Selector, SelectorConfig, new_selector
from selector.rank import auroc
from selector.reinforce import REWARDS, train_selector
from selector.settings import ReinforceSettings, RewardName


def measure(environment: GaussianEnvironment, selector: Selector, count: int = 4000) -> float:
    """AUROC of the logits over `count` pairs, the same for every Selector of one world."""
    batch = environment.sample(count, torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = selector(batch.features_f, batch.features_b, batch.labels_f, batch.labels_b)
    return auroc(logits, ~environment.bad[batch.rows[:, 0]])


def curve(
    settings: ReinforceSettings, steps: list[int], seed: int, world: GaussianWorld
) -> list[float]:
    """AUROC after each number of `steps` of one training."""
    environment = GaussianEnvironment(world, seed)
    config = SelectorConfig(world.feature_dim, world.classes, "one-hot", hidden=(256, 64))
    selector = new_selector(config, seed)
    selector.fit_standardiser(environment.features)
    found: list[float] = []

    def log(step: int, figures: dict[str, float]) -> None:
        if step + 1 in steps:
            found.append(measure(environment, selector))

    train_selector(selector, environment, settings, seed, log=log)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-3, help="the Selector's learning rate")
    parser.add_argument("--weight", type=float, default=1e3, help="of the exploration penalty")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the networks are too small to share

    steps = sorted(set(arguments.steps))
    rows: list[tuple[str, RewardName, float]] = [(name, name, 1.0) for name in REWARDS]
    rows.append(("credit, sign turned", "credit", -1.0))
    print("| reward | " + " | ".join(f"{step} steps" for step in steps) + " | s per 1,000 |")
    print("| --- " * (len(steps) + 2) + "|")
    for title, reward, sign in rows:
        begun = time.perf_counter()
        settings = ReinforceSettings(
            reward,
            selector_steps=steps[-1],
            selector_lr=arguments.lr,
            explore_weight=arguments.weight,
        )
        world = GaussianWorld(credit_sign=sign)
        curves = [curve(settings, steps, seed, world) for seed in range(arguments.seeds)]
        pace = (time.perf_counter() - begun) / arguments.seeds / steps[-1] * 1000
        by_steps = zip(*curves, strict=True)
        cells = [f"{statistics.mean(c):.3f} ± {statistics.pstdev(c):.3f}" for c in by_steps]
        print(f"| {title} | " + " | ".join(cells) + f" | {pace:.1f} |", flush=True)


if __name__ == "__main__":
    main()
