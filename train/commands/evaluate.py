"""`l2a evaluate`: the accuracy of a trained classifier on a data set, and its scene test."""

from __future__ import annotations

from l2a.arguments import Arguments
from l2a.options import Data, FromClassifier, Out
from train.commands import show
from train.evaluating import evaluate
from train.settings.full import FullSettings


def run(arguments: Arguments) -> None:
    """Measure, and print the accuracy, in all and by class, and the table of scenes if asked."""
    source, settings = arguments[FromClassifier], FullSettings.of(arguments)
    data, out = arguments[Data].data, arguments[Out].out
    found = evaluate(data, out, source, settings)
    metrics = found.metrics
    show(f"top-1 {metrics.top1:.4f}, top-5 {metrics.top5:.4f} on {metrics.n} clips")
    show(*(f"  {name:<28}{accuracy:.3f}" for name, accuracy in metrics.per_class.items()))
    if found.scenes:
        show("", found.scenes)
