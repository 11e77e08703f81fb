"""Thousands of episodes, measured: codes of clips are made once, an episode compares a few of them.

The real clips of the novel classes, and the composites that episodes use, each become a code once
(`FewShotMethod.encode`); an episode is then a few products of matrices. So the memory grows with
the clips and the composites, and by eight bytes with each episode.

Episodes are measured in chunks, in their order. After each, the accuracies so far are written, so
that a killed evaluation goes on with the next chunk, to the same bytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2a.errors import InputError
from l2a.files import atomic_write
from l2a.progress import progress
from train.few_shot.composites import Compositor, refuse_leaks
from train.few_shot.episodes import Episodes, labels_of
from train.few_shot.frames import FrameBank
from train.few_shot.methods import FewShotMethod
from train.few_shot.results import score

Rows = NDArray[np.int64]
Values = NDArray[np.float64]

_ENCODED_AT_ONCE = 64


@dataclass
class Codes:
    """Codes of real clips and of composites, made when they are first asked for.

    Attributes:
        method: in evaluation mode.
        bank: of features.
        total: N, the rows of the bank of clips: (foreground, background) is the number
            foreground · N + background, and a real clip the pair of itself with itself.
        keep: keep features for other runs too, which the codes are made of; a trunk that still
            learns has no use for it.
    """

    method: FewShotMethod
    bank: FrameBank
    total: int
    keep: bool = True
    _place: dict[int, int] = field(default_factory=dict)
    _codes: Tensor | None = None
    _made: int = 0

    def of(self, pairs: Rows) -> Tensor:
        """Places int64 of the codes of pairs `[..., 2]`, of the shape of `pairs[..., 0]`."""
        keys = pairs[..., 0] * self.total + pairs[..., 1]
        flat = keys.ravel().tolist()
        missing = sorted({key for key in flat if key not in self._place})
        if missing:
            self._add(np.array(missing, np.int64))
        return torch.tensor([self._place[key] for key in flat]).view(keys.shape)

    @property
    def all(self) -> Tensor:
        """Codes `[n, ...]`; `of` says where each stands."""
        if self._codes is None:
            raise ValueError("no code was made yet")
        return self._codes[: self._made]

    @torch.inference_mode()
    def _add(self, keys: Rows) -> None:
        actors, scenes = np.divmod(keys, self.total)
        real = actors == scenes
        parts = []
        for chosen in (real, ~real):
            own = np.stack([actors[chosen], scenes[chosen]], axis=1)
            for start in range(0, len(own), _ENCODED_AT_ONCE):
                some = own[start : start + _ENCODED_AT_ONCE]
                features = self._features(some, real=chosen is real)
                parts.append(self.method.encode(features.to(self.bank.device)))
        order = np.concatenate([keys[real], keys[~real]]).tolist()
        self._place |= {key: self._made + i for i, key in enumerate(order)}
        self._keep(torch.cat(parts))

    def _features(self, pairs: Rows, *, real: bool) -> Tensor:
        if not self.keep:
            return self.bank.unkept(pairs[:, 0])
        return self.bank.centre(pairs[:, 0]) if real else self.bank.pairs(pairs)

    def _keep(self, codes: Tensor) -> None:
        """Append; room is doubled, so that adding a few at a time copies little."""
        needed = self._made + len(codes)
        if self._codes is None or needed > len(self._codes):
            room = codes.new_empty(max(needed, 2 * self._made), *codes.shape[1:])
            if self._codes is not None:
                room[: self._made] = self._codes[: self._made]
            self._codes = room
        self._codes[self._made : needed] = codes
        self._made = needed


@dataclass(frozen=True)
class Evaluation:
    """Episodes that are measured with one method.

    Attributes:
        codes: of the novel clips, or of the validation clips.
        episodes: by number.
        base: rows of base classes, whose scenes composites may have.
    """

    codes: Codes
    episodes: Episodes
    base: Rows

    def accuracies(
        self, count: int, shot: int, compositor: Compositor | None, path: Path, chunk: int,
        title: str = "episodes",
    ) -> Measured:  # fmt: skip
        """The share of queries that is named right in each of the first `count` episodes.

        Args:
            count: of episodes.
            shot: support clips of each class.
            compositor: adds composites to the support; None adds none.
            path: a `.npy` file of what is measured so far.
            chunk: episodes after which it is written.
            title: of the bar.

        Raises:
            InputError: the file is damaged, or of other episodes.
        """
        done = _read(path, count)
        began, first = time.monotonic(), len(done)
        with progress(title, "episodes") as report:
            while len(done) < count:
                numbers = range(len(done), min(count, len(done) + chunk))
                done = np.concatenate([done, self.values(numbers, shot, compositor)])
                with atomic_write(path) as aside, aside.open("wb") as file:
                    np.save(file, done)
                report(len(done), count)
        seconds = time.monotonic() - began
        return Measured(done, (count - first) / seconds if count > first else None)

    @torch.inference_mode()
    def values(self, numbers: range, shot: int, compositor: Compositor | None) -> Values:
        """The accuracy of each of some episodes, float64 `[n]`; see `accuracies`."""
        some = [self.episodes[number].with_shots(shot) for number in numbers]
        support = np.stack([episode.support for episode in some])
        query = np.stack([episode.query for episode in some])
        shown = np.stack([support, support], axis=-1)  # a real clip: itself on its own scene
        if compositor is not None:
            compositor.expect(support)
            made = np.stack([compositor.pairs(e.support, e.number) for e in some])
            refuse_leaks(support, query, made, self.base)
            shown = np.concatenate([shown, made], axis=2)
        places, device = self.codes.of(shown), self.codes.bank.device
        asked = self.codes.of(np.stack([query, query], axis=-1))
        way, clips = shown.shape[1:3]
        logits = self.codes.method.compare_all(
            self.codes.all, places.flatten(1).to(device),
            torch.arange(way, device=device).repeat_interleave(clips), asked.flatten(1).to(device),
            way,
        )  # fmt: skip
        return score(logits.cpu().numpy(), labels_of(query[0]))


@dataclass(frozen=True)
class Measured:
    """Accuracies of episodes.

    Attributes:
        values: float64 `[n]`, 0..1, in the episodes' order.
        per_second: episodes a second of this call, with making features; None where all were
            measured before.
    """

    values: Values
    per_second: float | None


def _read(path: Path, most: int) -> Values:
    """What an earlier call has measured, at most `most`."""
    if not path.is_file():
        return np.empty(0)
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it to measure again.") from None
    if found.ndim != 1 or found.dtype != np.float64 or len(found) > most:
        raise InputError(f"{path} holds other episodes; delete it to measure again.")
    values: Values = found
    return values
