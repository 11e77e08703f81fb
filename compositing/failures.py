"""One video that fails does not end the run: what it raised is the reason why it is skipped."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from compositing.engines.base import HostDied
from l2a.errors import L2AError, UnreadableVideo, in_one_line
from l2a.logs import LOGGER

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the work on one video failed.

    Attributes:
        reason: in one line.
        details: the traceback of an unexpected error; "" where the file is the cause. It
            travels with the failure, because nobody reads the logs of worker processes.
        of_file: whether the file's content is the cause, so that no other try can succeed.
    """

    reason: str
    details: str = ""
    of_file: bool = False

    def log(self, video_id: str) -> None:
        """Write the details to the debug log."""
        if self.details:
            LOGGER.debug(f"{video_id}: {self.reason}\n{self.details}")


def attempt(work: Callable[..., Result], *arguments: object) -> Result | Failure:
    """What `work(*arguments)` gives for one video, or why it fails.

    Whatever a segmenter, an inpainter or an encoder raises (out of memory, a size that OpenCV or
    x264 refuses, a bug of this program) costs this video alone. What concerns the run ends it:
    wrong input, weights that do not fit, a GPU that is too small, a full disk, a dead host of
    networks.
    """
    try:
        return work(*arguments)
    except UnreadableVideo as error:
        return Failure(error.reason, of_file=not error.passing)
    except (L2AError, HostDied, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - the one place: the video is skipped, with this reason
        return Failure(in_one_line(error), traceback.format_exc())


def refuse_if_all(failures: Iterable[Failure], done: int, what: str) -> None:
    """End a run in which nothing worked: then the videos are not the cause.

    Args:
        failures: those of this run.
        done: how many videos it went well for.
        what: what was to be done, such as "prepared".

    Raises:
        L2AError: all failed, and at least one by an unexpected error.
    """
    rows = list(failures)
    unexpected = [row for row in rows if row.details]
    if done or not unexpected:
        return
    raise L2AError(
        f"None of the videos could be {what} ({len(rows)} tried); the first unexpected error was"
        f" {unexpected[0].reason}. `run.log` in the run folder has its traceback."
    )
