"""`l2a demo`: a generated data set, and everything that `l2a train` does on it."""

from __future__ import annotations

from l2a.arguments import Arguments, parse
from l2a.demo import SETTINGS, generate_demo
from l2a.logs import say
from l2a.options import DemoSettings, OutDemo
from train.command_table import ALL_GROUPS, COMMANDS
from train.commands import show


def run(arguments: Arguments) -> None:
    """Generate the videos and train on them."""
    out, seed = arguments[OutDemo].out, arguments[DemoSettings].demo_seed
    data, place = out / "data", out / "run"
    say(f"generating videos in {data}")
    generate_demo(
        data,
        seed=seed,
        per_class_train=24,
        per_class_val=8,
        per_class_test=20,
        home_share=0.75,
    )
    words = [str(data), "--out", str(place), "--config", str(SETTINGS), "--seed", str(seed)]
    say("the demo is: l2a train " + " ".join(words))
    train = COMMANDS["train"]
    train.run(parse("train", train.about, train.groups, words, known=ALL_GROUPS))
    show(f"look at {place / 'contact_sheet.png'}, composites.png, matches.png")
