"""`l2a advise`: what a person can know about their own data in minutes."""

from __future__ import annotations

import typing

from l2a.arguments import Arguments
from l2a.options import Data, Out
from train.advice.advise import Asked, advise
from train.commands import show


def run(arguments: Arguments) -> None:
    """Answer the questions, and print the answers."""
    kinds = typing.get_type_hints(Asked)
    asked = Asked(**{name: arguments[kind] for name, kind in kinds.items()})
    data = arguments[Data].data
    found = advise(data, arguments[Out].out, asked)
    for number, answer in enumerate(found.answers, 1):
        show(f"{number}. {answer.question}", f"   {answer.verdict}")
    show("", f"page: {found.path('html')}", f"settings: l2a train {data} --config "
         f"{found.path('yaml')} --out RUN")  # fmt: skip
