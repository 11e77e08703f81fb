"""`--compile`: the same training, whatever computes its passes; one sentence where it cannot be."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_distributed import assert_same, ended
from together import plain_network, train_plain

from l2a.errors import L2AError
from train import compiling
from train.compiling import compiled

CLIPS = torch.linspace(-1, 1, 2 * 3 * 4 * 8 * 8).reshape(2, 3, 4, 8, 8)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In place of a compiler, whose import takes seconds, what runs what it is given and counts."""
    seen: list[int] = []

    def compile(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
        assert how == {
            "backend": "inductor", "dynamic": False, "options": {"fallback_random": True}
        }  # fmt: skip

        def run(clips: torch.Tensor) -> Any:
            seen.append(1)
            return function(clips)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    return seen


def test_a_training_computes_by_what_is_compiled(tmp_path: Path, calls: list[int]) -> None:
    train_plain(tmp_path / "plain")
    assert calls == []
    train_plain(tmp_path / "compiled", compile=True)
    assert len(calls) == 9  # 3 epochs of 3 steps
    assert_same(ended(tmp_path / "plain"), ended(tmp_path / "compiled"))


def test_copies_files_and_what_comes_after_know_nothing_of_it(calls: list[int]) -> None:
    network = plain_network()
    plain = network(CLIPS)
    with compiled(network, wanted=True):
        twin = copy.deepcopy(network)
        kept = io.BytesIO()
        torch.save(network, kept)
        kept.seek(0)
        sent = torch.load(kept, weights_only=False)
        assert list(network.state_dict()) == list(twin.state_dict())
        torch.testing.assert_close(network(CLIPS), plain)
        assert len(calls) == 1
        # A copy that computed with the other's weights would give the same here.
        with torch.no_grad():
            for other in (twin, sent):
                for parameter in other.trunk.parameters():
                    parameter.zero_()
                assert other.trunk(CLIPS).abs().max() == 0
        assert len(calls) == 1
    torch.testing.assert_close(network(CLIPS), plain)
    assert len(calls) == 1


def test_other_errors_are_not_its(calls: list[int]) -> None:
    with pytest.raises(RuntimeError, match="must match"), compiled(plain_network(), wanted=True):
        torch.ones(2) + torch.ones(3)


# With PyTorch's compiler.


@pytest.mark.slow
def test_where_it_fails_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("No working C++ compiler found.\nand a page of more")

    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", backend)
    with pytest.raises(L2AError, match=r"on this machine \(No working C\+\+ compiler found\)"):
        train_plain(tmp_path, compile=True)
    monkeypatch.undo()
    train_plain(tmp_path)
    assert len(json.loads((tmp_path / "figures.json").read_text())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_a_compiled_training_ends_where_one_that_is_not_ends(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second writes kernels; both trace the trunk, its batches of two sizes, and gradients."""
    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", backend)
    train_plain(tmp_path / "plain")
    train_plain(tmp_path / "compiled", compile=True)
    assert_same(ended(tmp_path / "plain"), ended(tmp_path / "compiled"))
