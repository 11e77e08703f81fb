"""What commands take besides the packages' settings: what to work on, with what, and where to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from l2a.errors import InputError
from l2a.files import check_target
from l2a.settings import setting


@dataclass(frozen=True)
class Data:
    """What to work on.

    Attributes:
        data: the data set's folder.
    """

    GROUP: ClassVar[str] = "data"

    data: Path


@dataclass(frozen=True)
class Out:
    """Where the results go.

    Attributes:
        out: the run's folder; an interrupted run resumes in its own.
    """

    GROUP: ClassVar[str] = "run"

    out: Path


@dataclass(frozen=True)
class FromSelector:
    """A Selector that was trained before.

    Attributes:
        selector: its folder, or USER/NAME[@REVISION] on the Hugging Face Hub. `train` then trains
            no Selector of its own; `export` then chooses the pairs itself, in OUT-selection.
        finetune_selector: train it further on this data set before it chooses, for the
            --selector-steps given.
    """

    GROUP: ClassVar[str] = "selector"

    selector: str | None = None
    finetune_selector: bool = False

    def __post_init__(self) -> None:
        if self.selector == "":
            raise InputError("--selector is empty; give a Selector's folder, or leave it out.")
        if self.finetune_selector and not self.selector:
            raise InputError(
                "--finetune-selector trains a Selector from before further, and none is given; "
                "name it with --selector, or leave --finetune-selector out."
            )


@dataclass(frozen=True)
class NeedsSelector:
    """The Selector to choose with.

    Attributes:
        selector: its folder, or USER/NAME[@REVISION] on the Hugging Face Hub.
        finetune_selector: train it further on this data set before it chooses, for the
            --selector-steps given.
    """

    GROUP: ClassVar[str] = "selector"

    selector: str
    finetune_selector: bool = False


@dataclass(frozen=True)
class Budget:
    """How much to choose.

    Attributes:
        budget: how many pairs to composite; as many as there are real training clips if not
            given.
    """

    GROUP: ClassVar[str] = "stage_two"

    budget: int | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise InputError(f"budget is {self.budget}; it must be at least 1.")


@dataclass(frozen=True)
class CheckSettings:
    """What the check does with its findings.

    Attributes:
        strict: exit with 1 when something is broken, for scripts.
        json: also write everything that was found to this JSON file.
    """

    GROUP: ClassVar[str] = "check"

    strict: bool = False
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.json is not None:
            check_target(self.json, "--json", ())


@dataclass(frozen=True)
class AblationSettings:
    """What is compared with what.

    Attributes:
        table: the rows: 1 or 2 for the paper's tables, pools for pools of pairs, fine-tuned for
            networks that are trained on, or FILE.yaml for rows of your own.
        splits: the official splits that each row is trained for, such as 1 2 3; that of --split if
            not given.
        seeds: the seeds that each row is trained with, such as 0 1 2; that of --seed if not given.
        dry_run: only say what would be trained, and what the rows share.
        jobs: runs side by side, each in a process of its own, which share out the cores and the
            GPUs; one after another if not given. With the engine ray each run is a task on a GPU of
            its own, and as many run as the cluster has room for, if not given.
    """

    GROUP: ClassVar[str] = "ablation"

    # Each run keeps its own settings: more rows, splits and seeds may be asked for later.
    table: str = setting("1", speed_only=True)
    splits: tuple[int, ...] | None = setting(None, speed_only=True)
    seeds: tuple[int, ...] | None = setting(None, speed_only=True)
    dry_run: bool = setting(False, speed_only=True)
    jobs: int | None = setting(None, speed_only=True, added=True)

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise InputError(f"jobs is {self.jobs}; it must be at least 1.")
        for name, least in (("splits", 1), ("seeds", 0)):
            numbers = getattr(self, name)
            if numbers is None:
                continue
            if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < least:
                shown = " ".join(map(str, numbers))
                raise InputError(
                    f"{name} is {shown!r}; give whole numbers from {least}, each once, such as"
                    f" --{name} 1 2 3."
                )


@dataclass(frozen=True)
class PaperSettings:
    """Which table of the paper, and where its data lie.

    Attributes:
        cells: the table: 1, 2, 3 (semi-supervised), 4 (few-shot) or 5 (fully supervised).
        data_root: the folder that holds ucf101, hmdb51, kinetics100 and kinetics400, as they are
            unpacked.
        out: the folder of all runs.
        seeds: each cell is trained with each of them.
        lists: the folder that holds VideoSSL's lists of labelled clips and the splits of classes,
            at any depth; DATA_ROOT/lists if not given.
        presets: a folder of settings files that take the place of those of the same name in
            configs/paper.
        sports1m: a state dict of r2plus1d_18 that was trained on Sports-1M, for the cells that
            begin with it; none is published for torchvision's network.
        pretrained_selector: a Selector that was trained on Kinetics-400 (a folder or Hub id), for
            the row "L2A + pre-training" of Table 3.
        dollars_per_hour: the price of a GPU for an hour; the plan then has a price, too.
        start: run what is not finished; else only the plan is printed.
    """

    GROUP: ClassVar[str] = "paper"

    cells: str
    data_root: Path
    out: Path = Path("runs/paper")
    seeds: tuple[int, ...] = (0, 1, 2)
    lists: Path | None = setting(None, added=True)
    presets: Path | None = setting(None, added=True)
    sports1m: Path | None = None
    pretrained_selector: str | None = setting(None, added=True)
    dollars_per_hour: float | None = setting(None, added=True)
    start: bool = False

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            shown = " ".join(map(str, self.seeds))
            raise InputError(
                f"seeds is {shown!r}; give whole numbers from 0, each once, such as --seeds 0 1 2."
            )
        if self.dollars_per_hour is not None and not 0 <= self.dollars_per_hour < math.inf:
            raise InputError(f"dollars_per_hour is {self.dollars_per_hour}; give 0 or more.")


@dataclass(frozen=True)
class MapPicture:
    """Where the map goes.

    Attributes:
        map: the PNG file to draw the map of classes to.
    """

    GROUP: ClassVar[str] = "match"

    map: Path = Path("matches.png")

    def __post_init__(self) -> None:
        check_target(self.map, "--map", (".png", ".pdf"))


@dataclass(frozen=True)
class OutDemo:
    """Where the results go.

    Attributes:
        out: the demo's folder; an interrupted demo resumes in its own.
    """

    GROUP: ClassVar[str] = "run"

    out: Path = Path("runs/demo")


@dataclass(frozen=True)
class DemoSettings:
    """The generated data set.

    Attributes:
        demo_seed: all randomness of the demo follows from it.
    """

    GROUP: ClassVar[str] = "demo"

    demo_seed: int = 0


@dataclass(frozen=True)
class FromPairs:
    """What to composite, if it was chosen before.

    Attributes:
        pairs: a pairs.parquet that `l2a train` or `l2a select` wrote. Its settings of data,
            masks and labels and its seed hold unless given again. Without it, --selector chooses.
    """

    GROUP: ClassVar[str] = "export"

    pairs: Path | None = None


@dataclass(frozen=True)
class DryRun:
    """A forecast before the work.

    Attributes:
        dry_run: only say how many clips, hours of video, bytes and minutes it would be; nothing
            stays on disk.
    """

    GROUP: ClassVar[str] = "export"

    dry_run: bool = False


@dataclass(frozen=True)
class FromClassifier:
    """What to measure.

    Attributes:
        classifier: a classifier.safetensors that `l2a train` wrote.
        subset: the split to measure on: test, val or train.
        views: CLIPSxCROPS, such as 10x3: how many clips spread over a video's time, and how many
            squares along the longer side of each, are looked at; their softmax is averaged.
        scene_test: also ask about test videos whose actors and scenes were exchanged. Layers are
            made of them, for this alone, with the settings of the classifier's run unless given.
    """

    GROUP: ClassVar[str] = "evaluate"

    classifier: Path
    subset: Literal["test", "val", "train"] = "test"
    views: str = setting("1x1", added=True)
    scene_test: bool = False


@dataclass(frozen=True)
class LookFirst:
    """A look before the work.

    Attributes:
        preview: prepare only a dozen training videos, spread over the classes, and draw sheets
            and short clips of them to OUT/preview; the same command without it does the rest.
    """

    GROUP: ClassVar[str] = "prepare"

    preview: bool = False


@dataclass(frozen=True)
class OfRun:
    """What to report on.

    Attributes:
        run: the folder that `l2a train` or `l2a select` wrote to, finished or not.
    """

    GROUP: ClassVar[str] = "run"

    run: Path


@dataclass(frozen=True)
class OutPage:
    """Where the page goes.

    Attributes:
        out: the HTML file; report.html in the run's folder if not given.
    """

    GROUP: ClassVar[str] = "run"

    out: Path | None = None

    def __post_init__(self) -> None:
        if self.out is not None:
            check_target(self.out, "--out", ())


@dataclass(frozen=True)
class PreviewSettings:
    """What to show: pairs, augmentations, or both.

    Attributes:
        pairs: a pairs.parquet that `l2a train` or `l2a select` wrote. Its settings of data,
            masks and labels and its seed hold unless given again.
        augment: augmentations by name, as `l2a train` takes them, drawn on training clips.
        count: how many pairs, the best of each foreground class first; and how many clips.
        every_blend: also make each pair in every way of blending, for comparison.
    """

    GROUP: ClassVar[str] = "preview"

    pairs: Path | None = None
    augment: tuple[str, ...] | str | None = None
    count: int = 6
    every_blend: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"count is {self.count}; it must be at least 1.")
