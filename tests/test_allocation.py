"""Freed memory is kept: large arrays, freed and asked for again, cost no new pages."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_ROUNDS = """
import resource, torch
from l2a.allocation import keep_freed_memory
assert keep_freed_memory()
torch.set_num_threads(1)
for turn in range(24):
    arrays = [torch.ones(6 * 2**20) for _ in range(4)]  # 24 MB each
    del arrays
    if turn == 3:
        first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is told")
def test_large_arrays_find_the_pages_of_those_before() -> None:
    """With glibc's first bounds, which it may raise by itself, all of them are new each round."""
    bounds = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    said = subprocess.check_output(
        [sys.executable, "-c", _ROUNDS], text=True, env=os.environ | bounds
    )
    new_pages = int(said)
    assert new_pages < 100  # of 4 · 24 MB / 4 KB = 24,576 in each of 20 rounds
