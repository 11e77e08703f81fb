"""Settings of the fully supervised setting (Sec. 5.1 "Training Settings", Sec. 5.6)."""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from compositing.settings import (
    CompositeSettings,
    EngineSettings,
    ExportSettings,
    PrepareSettings,
)
from l2a.arguments import Arguments
from l2a.errors import InputError
from l2a.formats.settings import DataSettings
from l2a.options import Budget
from l2a.settings import ClipSettings, flat, setting
from selector.settings import RankSettings, ReinforceSettings, SelectorSettings
from semantic_match.settings import MatchSettings
from train.settings.frozen import FrozenSettings
from train.settings.semi import SemiSettings


@dataclass(frozen=True)
class ClassifierSettings:
    """The classifier and how it is optimised; the defaults are the paper's.

    Attributes:
        network: the classifier: r3d_18, r2plus1d_18, mc3_18, swin3d_t, swin3d_s, or tiny3d for
            two cores. Image networks that see a clip frame by frame: tsn_resnet18, tsn_resnet50,
            tsn_convnext_tiny, tsn_efficientnet_lite0 (extra "pretrained"), tsn_timm:NAME (extra
            "timm"). They average over frames; ":spread" after the name adds the standard
            deviation over frames, ":conv" a small convolution over time.
        weights: start of the trunk: nothing for from scratch, "kinetics" for torchvision's
            Kinetics-400 weights of a video network, "imagenet" for the ImageNet weights of an
            image network, or a weight file.
        epochs: passes over the real clips in stage two.
        batch_size: real clips in a batch.
        lr: learning rate at the start; it falls to 0 along a cosine.
        momentum: momentum of stochastic gradient descent.
        weight_decay: weight decay of stochastic gradient descent.
        flip: mirror clips at random; switch it off when left and right tell classes apart.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "bfloat16" runs the networks in mixed precision on a GPU.
        freeze_trunk: keep the trunk as its weights are and fit the last layer alone, to its one
            optimum, on features that are computed once; epochs are then used only by methods that
            learn from unlabelled clips, lr only as what their lr_restart is a share of, momentum
            and weight_decay by nothing.
        micro_batch: clips in one pass of a training; gradients of a batch are then summed up, for
            a small memory. All at once if not given. What is learned is the same up to rounding,
            but for batch normalisation, which normalises each micro-batch by itself, and for
            methods that learn from unlabelled clips, which compare the clips of one pass; theirs
            hold at least one labelled and one unlabelled clip (two of a pair that ActorCut cut).
            Steps of stage one are divided likewise. In `few-shot train` it counts episodes, of
            which none is divided.
        sync_batchnorm: where several GPUs train together, batch normalisation over the clips of
            all of them; else each normalises its own.
        compile: train the network's trunk as `torch.compile` makes it, for a long training on a
            GPU: compiling takes minutes, needs a C++ compiler, and pays where steps are many. The
            results are the same up to rounding.
        clip_gradients: the norm, over all parameters, above which a step's gradients are scaled
            down to it; 0 leaves them as they are.
        lr_restart: learning rate that the cosine begins again with, at restart_at of the training,
            to fall as slowly as before; no restart if not given.
        restart_at: share of the training's steps after which it begins again.
    """

    GROUP: ClassVar[str] = "classifier"

    network: str = "r3d_18"
    weights: str | None = None
    epochs: int = 100
    batch_size: int = 8
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.001
    flip: bool = True
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    freeze_trunk: bool = setting(False, added=True)
    micro_batch: int | None = setting(None, added=True)
    sync_batchnorm: bool = setting(False, added=True)
    compile: bool = setting(False, speed_only=True, added=True)
    clip_gradients: float = setting(0.0, added=True)
    lr_restart: float | None = setting(None, added=True)
    restart_at: float = setting(0.875, added=True)

    def __post_init__(self) -> None:
        if self.micro_batch is not None and self.micro_batch < 1:
            raise InputError(f"micro_batch is {self.micro_batch}; it must be at least 1.")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.lr < math.inf:
            raise InputError(f"lr is {self.lr}; it must be above 0.")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum}; give 0 or more, and below 1.")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay is {self.weight_decay}; give 0 or more.")
        if not 0 <= self.clip_gradients < math.inf:
            raise InputError(
                f"clip_gradients is {self.clip_gradients}; give a norm above 0, or 0 for none."
            )
        if self.lr_restart is not None and not 0 < self.lr_restart < math.inf:
            raise InputError(
                f"lr_restart is {self.lr_restart}; give a rate above 0, or leave it out."
            )
        if not 0 < self.restart_at < 1:
            raise InputError(f"restart_at is {self.restart_at}; give a share between 0 and 1.")


@dataclass(frozen=True)
class StageOneSettings:
    """Stage one: the classifier whose validation loss teaches the Selector.

    Attributes:
        warmup_epochs: epochs on real clips before the Selector's training begins; the
            validation gradient of an untrained classifier says nothing.
        environment_lr: learning rate of the one step that a chosen subset gives the classifier.
        validation_clips: size of the validation subset that rewards are measured on. It is
            drawn once, so that losses are compared on the same clips.
        trunk: what turns a video into the Selector's feature: "classifier" copies the trunk of
            the warmed-up classifier; a network's name takes that network with trunk_weights.
        trunk_weights: "kinetics", "imagenet" or a weight file, for a trunk given by name.
        trunk_lr: Adam's learning rate for the trunk, which then learns with the Selector; 0 keeps
            it as it is, so that features are computed once per video.
        fresh_head: begin with a last layer of zeros on the warmed-up trunk, and put it back to that
            at each restart. A head that has seen the real clips has memorised them, and its
            gradients say little of what a composite would teach.
        probe: share of the training recordings whose clips get each other's classes, in a copy of
            the labels for stage one alone; how well ω tells them from the others is reported. 0
            for none.
        frozen_pairs: with --freeze-trunk, how many pairs of the pool are composited once, for
            stage one to learn from again and again.
        reward_folds: measure credit by cross-fitting in so many folds of the training and
            validation recordings, 4 or more: each pair on clips, and by heads, that know neither of
            its videos. Many more recordings measure then; the trunk stays as it is. 0 measures on
            the validation subset.
    """

    GROUP: ClassVar[str] = "stage_one"

    warmup_epochs: int = 10
    environment_lr: float = 0.01
    validation_clips: int = 64
    trunk: str = "classifier"
    trunk_weights: str | None = None
    trunk_lr: float = 0.0
    fresh_head: bool = True
    probe: float = 0.0
    frozen_pairs: int = setting(1400, added=True)
    reward_folds: int = setting(0, added=True)

    def __post_init__(self) -> None:
        if self.frozen_pairs < 10:
            raise InputError(f"frozen_pairs is {self.frozen_pairs}; it must be at least 10.")
        if self.reward_folds and self.reward_folds < 4:
            raise InputError(
                f"reward_folds is {self.reward_folds}; give 0 (none), or 4 or more: with fewer, no "
                "clip is left to fit a head to."
            )
        if not 0 <= self.probe <= 0.5:
            raise InputError(f"probe is {self.probe}; give a share from 0 (none) to 0.5.")
        if not 0 <= self.trunk_lr < 1:
            raise InputError(f"trunk_lr is {self.trunk_lr}; give 0 (frozen) or more, and below 1.")
        if self.warmup_epochs < 0:
            raise InputError(f"warmup_epochs is {self.warmup_epochs}; give 0 (none) or more.")
        if not 0 < self.environment_lr < math.inf:
            raise InputError(f"environment_lr is {self.environment_lr}; it must be above 0.")
        if self.validation_clips < 1:
            raise InputError(f"validation_clips is {self.validation_clips}; it must be at least 1.")
        if self.trunk == "classifier" and self.trunk_weights is not None:
            raise InputError(
                f"trunk_weights is {self.trunk_weights}, but the trunk is the classifier's own; "
                f"name its network with --trunk."
            )


@dataclass(frozen=True)
class StageTwoSettings:
    """Stage two: which pairs are composited, and how they join the real clips.

    Attributes:
        budget: how many pairs to composite; as many as there are real training clips if not
            given.
        selection: "selector" takes the best pairs under the budget, "random" as many at random
            from the same pool, "none" trains on real clips alone.
        composites_per_batch: composites added to each batch of real clips; as many as there are
            real ones if not given.
        replace_real: let composites take the place of real clips in a batch of batch_size.
        compare: also train without composites and with random pairs, for the same number of
            steps, and say how they did.
        augment: other augmentations to compare with, by name: for each word the classifier is
            trained once more, on the same real clips for the same number of steps, with that
            augmentation in place of composites. "selector+videomix" augments real clips and
            selected composites together. The names are in docs/augment.md.
        repeats: how many times the classifier is trained, each with its own seed; results are
            given as mean and standard deviation.
        export: also write the chosen pairs as an augmented data set to RUN/export.
        drop_real: the share that stage two leaves out of the real training videos that have a value
            (that can stand in a pair), 0 to 0.5: those that the Selector values least over all
            classes, and of no class more than half. Real clips and pairs of selected arms are
            without them, for the same number of steps; with --compare a classifier is also trained
            on the real clips that are kept, alone.
        scene_test: ask each trained classifier about test videos whose actors and scenes were
            exchanged: what it knows of actors, and what of scenes. With --compare it is done if not
            given; their layers lie apart, and nothing that trains sees them.
    """

    GROUP: ClassVar[str] = "stage_two"

    budget: int | None = None
    selection: Literal["selector", "random", "none"] = "selector"
    composites_per_batch: int | None = None
    replace_real: bool = False
    compare: bool = False
    augment: tuple[str, ...] | str | None = None
    repeats: int = 1
    export: bool = False
    drop_real: float = setting(0.0, added=True)
    scene_test: bool | None = setting(None, speed_only=True, added=True)

    def __post_init__(self) -> None:
        for name in ("budget", "composites_per_batch", "repeats"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1.")
        if not 0 <= self.drop_real <= 0.5:
            raise InputError(f"drop_real is {self.drop_real}; give a share from 0 (none) to 0.5.")


@dataclass(frozen=True)
class RunSettings:
    """What every command that computes shares.

    Attributes:
        seed: all randomness follows from it.
        layers: a layer store to use and extend; by default the run keeps its own. Layers know the
            settings that they were made with, so results do not depend on where they lie.
        bank: a folder of clips at training size to use and extend, which runs share; by default
            the run keeps its own. Banks are found by what their clips depend on.
    """

    GROUP: ClassVar[str] = "run"

    seed: int = 0
    layers: Path | None = setting(None, speed_only=True)
    bank: Path | None = setting(None, speed_only=True)

    def __post_init__(self) -> None:
        # Generators take no negative number; epochs and repeats are added to multiples of it.
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; give a whole number from 0 to {2**32 - 1}.")


@dataclass(frozen=True)
class FullSettings:
    """All settings of `l2a train`, one group for each room; every group has working defaults."""

    data: DataSettings = field(default_factory=DataSettings)
    clips: ClipSettings = field(default_factory=ClipSettings)
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    composite: CompositeSettings = field(default_factory=CompositeSettings)
    match: MatchSettings = field(default_factory=MatchSettings)
    selector: SelectorSettings = field(default_factory=SelectorSettings)
    reinforce: ReinforceSettings = field(default_factory=ReinforceSettings)
    rank: RankSettings = field(default_factory=RankSettings)
    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    stage_one: StageOneSettings = field(default_factory=StageOneSettings)
    stage_two: StageTwoSettings = field(default_factory=StageTwoSettings)
    frozen: FrozenSettings = field(default_factory=FrozenSettings)
    semi: SemiSettings = field(default_factory=SemiSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    run: RunSettings = field(default_factory=RunSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)

    @classmethod
    def of(cls, arguments: Arguments) -> FullSettings:
        """The settings that a command takes; groups that it does not take keep their defaults."""
        given: dict[str, Any] = {
            name: arguments[kind]
            for name, kind in typing.get_type_hints(cls).items()
            if kind in arguments
        }
        if Budget in arguments:
            given["stage_two"] = StageTwoSettings(budget=arguments[Budget].budget)
        return cls(**given)

    def groups(self) -> tuple[Any, ...]:
        """Its groups, in order: what `Run.open` takes."""
        return tuple(getattr(self, part.name) for part in fields(self))

    def flat(self) -> dict[str, Any]:
        """Every setting by its name, as the command line and `run.yaml` spell it."""
        return flat(self.groups())
