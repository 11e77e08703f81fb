"""Run folders: everything one command made, and what is needed to make it again.

RUN/run.yaml       command, where it was called, resolved settings, versions: written before any
                   work
RUN/run.log        what was said while it was made, with the time; appended to
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
import math
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from l2a.errors import InputError
from l2a.files import atomic_write, read_json, read_text, write_json, write_text
from l2a.locks import is_empty, lock_folder
from l2a.logs import LOGGER, opened_run
from l2a.settings import about, flat
from l2a.videos import Skipped

_MOST_BYTES = 100_000
"""Far more than a run's settings need."""

_PACKAGES = ("l2a", "torch", "torchvision", "numpy", "av", "opencv-python-headless", "model2vec")


@dataclass(frozen=True)
class Run:
    """One run folder, made by `Run.open`.

    Attributes:
        folder: where it lies.
        part: a folder inside, of a part of the run that has stages of its own: `path` leads
            there, and its stages carry its name.
    """

    folder: Path
    part: str = ""

    def within(self, part: str) -> Run:
        """The part of the run in a folder inside, such as "rounds/1"."""
        return replace(self, part=part)

    @classmethod
    def open(
        cls,
        folder: Path,
        command: str,
        settings: Iterable[Any],
        facts: Mapping[str, Any] | None = None,
    ) -> Run:
        """Make a run folder, or resume the one that the same command and settings made.

        Until `fix_settings` is called, other settings may be given: nothing depends on them yet,
        and a budget that was too large can be corrected in the same folder. After that, a setting
        that the run lacks, because it was made by an earlier version, had its default; one on
        which only the time depends may differ; and one that this version no longer has is passed
        over with a note.

        Args:
            folder: created when absent.
            command: the command's name, such as "train".
            settings: instances of settings dataclasses, whose fields say what must be the same.
            facts: what else the results depend on, by name: the data set, a checksum of weights.

        Raises:
            InputError: the folder holds another run, or something else altogether, or another
                process is at work in it.
        """
        groups, facts = list(settings), dict(facts or {})
        run = cls(folder)
        if run._record.is_file():
            before = run.read()
            fixed = before["fixed"]
            _check_command(folder, before["command"], command)
            if fixed:
                _check_settings(folder, before["settings"], groups, facts)
            run._seconds()
        elif folder.is_dir() and not is_empty(folder):
            raise InputError(
                f"{folder} is not empty and holds no run; give --out a new or an empty folder."
            )
        else:
            fixed = False
        lock_folder(folder)
        if not fixed:
            plain = {key: _plain(value) for key, value in (flat(groups) | facts).items()}
            content = {"command": command, "fixed": False, "called_in": str(Path.cwd()),
                       "settings": plain}  # fmt: skip
            run._write(content | {"versions": versions()})
        opened_run(folder)
        return run

    def refuse_other(
        self, command: str, settings: Iterable[Any], facts: Mapping[str, Any] | None = None,
        unasked: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """Refuse to read the results of another command, or of other settings; nothing is written.

        Args:
            command, settings, facts: as for `open`.
            unasked: further settings and facts that the run may have, whatever they are.

        Raises:
            InputError: it is another's; the message names the first setting that differs.
        """
        before = self.read()
        _check_command(self.folder, before["command"], command)
        unasked = set(unasked)
        asked = {key: value for key, value in before["settings"].items() if key not in unasked}
        _check_settings(self.folder, asked, list(settings), dict(facts or {}))

    def fix_settings(self) -> None:
        """From now on results depend on the settings: the folder takes no others."""
        self._write(self.read() | {"fixed": True})

    def keep_data_mark(self, mark: str) -> None:
        """Keep what tells the data set from what it may become; refuse another one as soon as
        results depend on it. A run of an earlier version has none, and keeps this one from now on.

        Raises:
            InputError: the data set has changed since.
        """
        content = self.read()
        if content["fixed"]:
            self.refuse_other_data(mark)
        if content.get("data_mark") != mark:
            self._write(content | {"data_mark": mark})

    def refuse_other_data(self, mark: str) -> None:
        """Refuse results of a data set that has changed since; see `keep_data_mark`.

        Raises:
            InputError: it has.
        """
        if self.read().get("data_mark") not in (None, mark):
            raise InputError(
                f"{self.folder} was made when its data set had other videos, classes or splits "
                "than now, or other files under the same names; put it back as it was to resume, "
                "or give --out another folder."
            )

    @property
    def _record(self) -> Path:
        return self.folder / "run.yaml"

    def read(self) -> dict[str, Any]:
        """What `run.yaml` says: command, fixed, called_in, settings, versions.

        Raises:
            InputError: it is not there, or damaged.
        """
        content: Any = None
        # Deep nesting and numbers of thousands of digits are no YAML errors to the loader.
        with contextlib.suppress(InputError, yaml.YAMLError, RecursionError, ValueError):
            content = yaml.safe_load(read_text(self._record, _MOST_BYTES, "record of a run"))
        if not _is_record(content):
            raise InputError(f"{self._record} is damaged; give --out another folder.")
        found: dict[str, Any] = content
        return found

    def found(self, kept: str | Path) -> Path:
        """Where a path lies that the run's settings name; they keep it as it was typed.

        A relative one is looked for from where the command was called, which earlier versions did
        not keep, then from here, then from the folders that the run lies in.

        Returns:
            The path as it is kept where it is found from here, or nowhere.
        """
        path, here = Path(kept), Path.cwd()
        called_in = self.read().get("called_in")
        began = [Path(called_in)] if isinstance(called_in, str) else []
        for base in (*began, here, *self.folder.absolute().parents):
            if (base / path).exists():
                return path if base == here else base / path
        return path

    def _write(self, content: dict[str, Any]) -> None:
        write_text(self._record, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def path(self, *parts: str) -> Path:
        """A path inside the run folder, or of its part."""
        return self.folder.joinpath(self.part, *parts)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Say that a stage begins, and add the seconds it takes to `stages.json`."""
        name = f"{self.part}: {name}" if self.part else name
        LOGGER.info(f"── {name}")
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = self._seconds()
            took = time.monotonic() - started
            LOGGER.debug(f"{name} took {took:.1f} s")
            seconds[name] = round(seconds.get(name, 0.0) + took, 2)
            write_json(self.folder / "stages.json", seconds)

    def _seconds(self) -> dict[str, float]:
        """Seconds that each stage has taken so far.

        Raises:
            InputError: the file is damaged.
        """
        path = self.folder / "stages.json"
        content = read_json(path) if path.is_file() else {}
        if not (isinstance(content, dict) and all(map(_is_duration, content.values()))):
            raise InputError(f"{path} holds no seconds of stages; remove it.")
        return content

    def write_skipped(self, skipped: Iterable[Skipped]) -> int:
        """List what was left out in `skipped.csv`; returns how many. No file when none, also where
        an earlier try left one."""
        rows = [(row.id, row.reason) for row in dict.fromkeys(skipped)]
        if rows:
            self._write_table("skipped.csv", ("video", "reason"), rows)
        else:
            self.path("skipped.csv").unlink(missing_ok=True)
        return len(rows)

    def left_out(self) -> tuple[Skipped, ...]:
        """What `skipped.csv` lists, once results depend on it; nothing before."""
        path = self.path("skipped.csv")
        if not (path.is_file() and self.read()["fixed"]):
            return ()
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(Skipped(row["video"], row["reason"]) for row in csv.DictReader(file))

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
            atomic_write(self.path(name)) as aside,
            aside.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's; somebody else's `run.yaml` alone is none of ours."""
    return all((folder / name).is_file() for name in ("run.yaml", "stages.json"))


def is_fixed(folder: Path) -> bool:
    """Whether a folder holds a run whose results depend on its settings by now.

    Raises:
        InputError: its `run.yaml` is damaged.
    """
    return (folder / "run.yaml").is_file() and bool(Run(folder).read()["fixed"])


def versions() -> dict[str, str]:
    """The versions that can change a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _is_duration(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < math.inf


def _is_record(content: object) -> bool:
    """Whether this is what `Run.open` writes: settings are scalars, and lists of scalars."""
    if not isinstance(content, dict) or not {"command", "fixed", "settings"} <= content.keys():
        return False
    settings = content["settings"]
    return isinstance(settings, dict) and all(
        isinstance(key, str) and _is_plain(value) for key, value in settings.items()
    )


def _is_plain(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(item is None or isinstance(item, (str, bool, int, float)) for item in items)


def _check_command(folder: Path, before: object, command: str) -> None:
    if before != command:
        raise InputError(
            f"{folder} was made by `l2a {before}`, not by `l2a {command}`; "
            f"give --out another folder."
        )


def _check_settings(
    folder: Path, old: Mapping[str, Any], groups: Iterable[Any], facts: Mapping[str, Any]
) -> None:
    """Refuse to resume where a setting differs on which results depend."""
    known = set(facts)
    for group in groups:
        for field in fields(group):
            names = (field.name, *about(field).formerly)
            known.update(names)
            kept = [name for name in names if name in old]
            # A setting that the run lacks is newer than the run, which had what is its default.
            if field.name in facts or about(field).speed_only or _lacks(kept, field.default):
                continue
            before = old[kept[0]] if kept else _plain(field.default)
            _check_same(folder, field.name, before, _plain(getattr(group, field.name)))
    for key in facts.keys() & old.keys():
        _check_same(folder, key, old[key], _plain(facts[key]))
    for key in sorted(old.keys() - known):
        LOGGER.info(
            f"note: {folder} was made with {key}={_shown(old[key])}; this version "
            f"has no such setting and ignores it"
        )


def _lacks(kept: list[str], default: object) -> bool:
    """Whether there is nothing to compare with: not in the run, and no default stands for it."""
    return not kept and default is MISSING


def _check_same(folder: Path, key: str, before: object, now: object) -> None:
    if before != now:
        raise InputError(
            f"{folder} was made with {key}={_shown(before)} and not {_shown(now)}; "
            f"give the same settings to resume, or --out another folder."
        )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
