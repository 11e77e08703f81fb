"""What all tests share: the folder of real clips, and a quiet, repeatable property tester."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Deadlines measure the machine, not the code; the same examples every time keep CI repeatable.
settings.register_profile(
    "l2a",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("l2a")


@pytest.fixture(scope="session")
def clips_root() -> Path:
    """The folder with the real clips, or a failure that says where to put them."""
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "clips"
    folder = Path(os.environ.get("L2A_CLIPS", default)).resolve()
    if not (folder / "jhmdb12" / "videos").is_dir():
        pytest.fail(
            f"The real clips are not at {folder}; put them there or set L2A_CLIPS to their folder.",
            pytrace=False,
        )
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """A running Ray with a token of its own; gives its address.

    One for all tests: Ray keeps the first token that a process has had.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # actors import our tasks
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        ray.init(
            address="local",
            num_cpus=2,
            num_gpus=1,  # a number that Ray counts with: nothing here computes on it
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()
