"""One of many pieces of work, such as a run of a table, whose failure costs itself alone."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from l2a.disks import is_full
from l2a.errors import L2AError, in_one_line
from l2a.logs import LOGGER


def why_failed(work: Callable[[], object]) -> str:
    """Do something, and say in a sentence why it failed; "" where it did not.

    Raises:
        OSError: a disk is full, which strikes all that follows.
    """
    try:
        work()
    except L2AError as error:
        return str(error)
    except Exception as error:  # it costs this piece alone, and its reason is listed
        if is_full(error):
            raise
        LOGGER.debug(traceback.format_exc())
        return in_one_line(error)
    return ""
