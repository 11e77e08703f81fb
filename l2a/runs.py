"""Run folders: everything one command made, and what is needed to make it again.

RUN/run.yaml       command, resolved settings, versions: written before any work
RUN/stages.json    seconds each stage took, over all tries
RUN/skipped.csv    videos that were left out, with the reason
RUN/unfit.csv      videos that are no good foreground or background, with the reason
RUN/metrics.json   what came out
RUN/tensorboard/   curves
"""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from l2a.errors import InputError
from l2a.files import hold_folder, read_json, write_json, write_text, written_whole
from l2a.progress import say
from l2a.videos import Skipped

# Settings that change how fast a result comes, and not the result.
SPEED_ONLY = frozenset({"engine", "workers", "devices", "frames_at_once", "ray_address"})

_PACKAGES = ("l2a", "torch", "torchvision", "numpy", "av", "opencv-python-headless", "model2vec")


@dataclass(frozen=True)
class Run:
    """One run folder, made by `Run.open`."""

    folder: Path

    @classmethod
    def open(cls, folder: Path, command: str, settings: Mapping[str, Any]) -> Run:
        """Make a run folder, or go on in the one that the same command and settings made.

        Until `fix_settings` is called, other settings may be given: nothing depends on them yet,
        and a budget that was too large can be mended in the same folder.

        Args:
            folder: created when absent.
            command: the command's name, such as "train".
            settings: every resolved setting; paths and tuples are allowed.

        Raises:
            InputError: the folder holds another run, or something else altogether, or another
                process is at work in it.
        """
        plain = {key: _plain(value) for key, value in settings.items()}
        run = cls(folder)
        if run._record.is_file():
            before = run.read()
            _check_same(folder, before, command, plain)
            if before["fixed"]:
                hold_folder(folder)
                return run
        elif folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                f"{folder} is not empty and holds no run; give --out a new or an empty folder."
            )
        hold_folder(folder)
        run._write({"command": command, "fixed": False, "settings": plain, "versions": versions()})
        return run

    def fix_settings(self) -> None:
        """From now on results depend on the settings: the folder takes no others."""
        self._write(self.read() | {"fixed": True})

    @property
    def _record(self) -> Path:
        return self.folder / "run.yaml"

    def read(self) -> dict[str, Any]:
        """What `run.yaml` says: command, fixed, settings, versions.

        Raises:
            InputError: it is not there, or damaged.
        """
        try:
            content = yaml.safe_load(self._record.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError):
            content = None
        if not isinstance(content, dict) or not {"command", "fixed", "settings"} <= content.keys():
            raise InputError(f"{self._record} is damaged; give --out another folder.")
        return content

    def _write(self, content: dict[str, Any]) -> None:
        write_text(self._record, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Say that a stage begins, and add the seconds it takes to `stages.json`."""
        say(f"── {name}")
        started = time.monotonic()
        try:
            yield
        finally:
            record = self.path("stages.json")
            seconds = read_json(record) if record.is_file() else {}
            seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - started, 2)
            write_json(record, seconds)

    def write_skipped(self, skipped: Iterable[Skipped]) -> int:
        """List what was left out in `skipped.csv`; returns how many. No file when none."""
        rows = [(row.id, row.reason) for row in dict.fromkeys(skipped)]
        if rows:
            self._write_table("skipped.csv", ("video", "reason"), rows)
        return len(rows)

    def write_unfit(self, unfit: Iterable[tuple[str, str, str]]) -> int:
        """List in `unfit.csv` the videos that no pair may use on one side; returns how many rows.

        The limits may change between two tries, so a list that an earlier one left is replaced,
        and removed when there is nothing to list.

        Args:
            unfit: (video id, "foreground" or "background", reason).
        """
        rows = list(dict.fromkeys(unfit))
        if rows:
            self._write_table("unfit.csv", ("video", "side", "reason"), rows)
        else:
            self.path("unfit.csv").unlink(missing_ok=True)
        return len(rows)

    def _write_table(
        self, name: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]
    ) -> None:
        with (
            written_whole(self.path(name)) as aside,
            aside.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)


def versions() -> dict[str, str]:
    """The versions that can change a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _check_same(
    folder: Path, before: Mapping[str, Any], command: str, settings: Mapping[str, Any]
) -> None:
    if before["command"] != command:
        raise InputError(
            f"{folder} was made by `l2a {before['command']}`, not by `l2a {command}`; "
            f"give --out another folder."
        )
    old = before["settings"]
    for key in sorted(set(old) | set(settings)):
        if before["fixed"] and key not in SPEED_ONLY and old.get(key) != settings.get(key):
            raise InputError(
                f"{folder} was made with {key}={old.get(key)} and not {settings.get(key)}; "
                f"give the same settings to go on, or --out another folder."
            )


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
