"""Scores of pairs, at what a pair must cost: a sum, and the layers after the first.

The first layer of the Selector is linear in the concatenation of both videos, so each video goes
through it once per side (`Selector.project`), and a pair adds two rows.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selector.network import Selector, Side
from selector.protocols import Logits, Numbers, Pairs
from selector.settings import Precision

CHUNK_CPU = 1024  # 8 MB of sums at the paper's sizes: more leaves the caches, and is slower
CHUNK_GPU = 65_536
_GPU_BYTES = 2 * 1024**3  # what the layers of one chunk may take there
_PROJECTED_AT_ONCE = 8192


class PairScorer:
    """Logits of pairs by a Selector.

    What a matrix product rounds depends on its shape: alone, or in other company, a pair would get
    other last bits. So chunks always have the same number of rows, and the last is filled up; then
    a pair's logit is the same in whichever block it comes, on one kind of machine.

    `bfloat16` keeps the halves of the first layer and runs the hidden layers in bfloat16, summed
    in float32; the last layer and the logits are float32, so that pairs do not tie by the dozen.
    Pairs whose logits are near each other change places: of the best 1 % of the pairs of an
    untrained Selector of the paper's sizes, 99 % stay (`benchmarks/selector_rank.py`).

    Memory on the device: 2 · N · hidden[0] numbers (16 KB a video at the paper's sizes in float32)
    and one chunk.

    Args:
        selector: trained; where its weights are is where pairs are scored. It is put into
            evaluation mode: what training hides at random must not be hidden here.
        features: float32 [N, D], the trunk's features of the videos.
        labels: float32 [N, E], their label vectors.
        precision: "float32" or "bfloat16".
    """

    def __init__(
        self, selector: Selector, features: Tensor, labels: Tensor, precision: Precision = "float32"
    ) -> None:
        self.selector = selector.eval()
        self._features, self._labels = features, labels
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self._precision = precision

    @property
    def device(self) -> torch.device:
        """See `Scorer`: where the Selector's weights are."""
        return self.selector.feature_mean.device

    @torch.inference_mode()
    def __call__(self, numbers: Numbers, pairs: Pairs | Tensor) -> Tensor:
        """See `Scorer`."""
        foregrounds, backgrounds = self._halves
        chunk, count = self.chunk, len(pairs)
        sides = torch.as_tensor(pairs, device=self.device).T
        if missing := -count % chunk:
            sides = torch.nn.functional.pad(sides, (0, missing))
        logits = torch.empty(sides.shape[1], device=self.device)
        for start in range(0, sides.shape[1], chunk):
            foreground, background = sides[:, start : start + chunk]
            values = foregrounds.index_select(0, foreground)
            values += backgrounds.index_select(0, background)
            for weight, bias in self._hidden:
                values = torch.addmm(bias, values.relu_(), weight)
            weight, bias = self._last
            torch.addmm(
                bias, values.relu_().float(), weight, out=logits[start : start + chunk, None]
            )
        return logits[:count]

    def on(self, device: str) -> PairScorer:
        """See `Scorer`."""
        selector = copy.deepcopy(self.selector).to(device)
        return PairScorer(selector, self._features, self._labels, self._precision)

    def memory(self) -> int:
        """See `Scorer`: features, labels, halves and a chunk."""
        sizes = self.selector.config.hidden
        given = self._features.numel() + self._labels.numel()
        halves = 2 * len(self._features) * sizes[0] * self._dtype.itemsize
        return 4 * given + halves + self.chunk * _row_bytes(sizes, self._dtype)

    def __getstate__(self) -> dict[str, Any]:
        """What travels: arrays, which every pickle can take, and nothing that was computed."""
        weights = self.selector.state_dict()
        return {
            "config": self.selector.config,
            "weights": {name: tensor.cpu().numpy() for name, tensor in weights.items()},
            "features": self._features.cpu().numpy(),
            "labels": self._labels.cpu().numpy(),
            "precision": self._precision,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The same, on the CPU."""
        selector = Selector(state["config"])
        selector.load_state_dict({n: torch.from_numpy(w) for n, w in state["weights"].items()})
        features, labels = (torch.from_numpy(state[name]) for name in ("features", "labels"))
        self.__init__(selector, features, labels, state["precision"])  # type: ignore[misc]

    @cached_property
    def chunk(self) -> int:
        """Rows of every matrix product. It must not depend on what else is in the memory."""
        if self.device.type == "cpu":
            return CHUNK_CPU
        fitting = _GPU_BYTES // _row_bytes(self.selector.config.hidden, self._dtype)
        return min(CHUNK_GPU, 1 << max(10, fitting.bit_length() - 1))

    @cached_property
    def _halves(self) -> tuple[Tensor, Tensor]:
        return self._half("foreground"), self._half("background")

    def _half(self, side: Side) -> Tensor:
        """One side's half of the first layer, [N, hidden[0]]."""
        size = (len(self._features), self.selector.config.hidden[0])
        half = torch.empty(size, dtype=self._dtype, device=self.device)
        for start in range(0, len(half), _PROJECTED_AT_ONCE):
            part = slice(start, start + _PROJECTED_AT_ONCE)
            features, labels = self._features[part], self._labels[part]
            half[part] = self.selector.project(
                features.to(self.device), labels.to(self.device), side
            )
        return half

    @cached_property
    def _hidden(self) -> list[tuple[Tensor, Tensor]]:
        """Weights, transposed, and biases of the hidden layers after the first."""
        return [_parameters(layer, self._dtype) for layer in self._linear()[:-1]]

    @cached_property
    def _last(self) -> tuple[Tensor, Tensor]:
        return _parameters(self._linear()[-1], torch.float32)

    def _linear(self) -> list[nn.Linear]:
        return [layer for layer in self.selector.rest if isinstance(layer, nn.Linear)]


class RandomScorer:
    """Scores that are a hash of the pair's number: a random order that needs no storing.

    Args:
        key: any whole number below 2⁶⁴; another key is another order.
    """

    def __init__(self, key: int) -> None:
        self._key = np.uint64(key)

    @property
    def device(self) -> torch.device:
        """See `Scorer`."""
        return torch.device("cpu")

    def __call__(self, numbers: Numbers, pairs: Pairs | Tensor) -> Tensor:
        """See `Scorer`; in −1..0."""
        # SplitMix64 (Steele, Lea and Flood, 2014), whose state after n steps is known.
        state = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + self._key
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
        # Best is what is nearest to 0, where float32 tells more numbers apart than at 1.
        return torch.from_numpy(-(state.astype(np.float32) * np.float32(2.0**-64)))

    def on(self, device: str) -> RandomScorer:
        """See `Scorer`; it has no use for a device."""
        return self

    def memory(self) -> int:
        """See `Scorer`."""
        return 0


class StoredScorer:
    """Scores that were computed once, looked up by the pair's number.

    Args:
        logits: float32 [pairs in the pool].
    """

    def __init__(self, logits: Logits) -> None:
        self._logits = logits

    @property
    def device(self) -> torch.device:
        """See `Scorer`."""
        return torch.device("cpu")

    def __call__(self, numbers: Numbers, pairs: Pairs | Tensor) -> Tensor:
        """See `Scorer`."""
        return torch.from_numpy(self._logits[numbers])

    def on(self, device: str) -> StoredScorer:
        """See `Scorer`; a table has no use for a device."""
        return self

    def memory(self) -> int:
        """See `Scorer`."""
        return self._logits.nbytes


def _parameters(layer: nn.Linear, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return layer.weight.detach().to(dtype).t(), layer.bias.detach().to(dtype)


def _row_bytes(hidden: tuple[int, ...], dtype: torch.dtype) -> int:
    """Bytes of the layers of one pair; the first is there twice, as its halves are gathered."""
    return (hidden[0] + sum(hidden)) * dtype.itemsize
