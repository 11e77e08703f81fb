"""What both few-shot commands work with: settings, classes, the trunk and the method on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from l2a.class_splits import ClassSplit, random_class_split, read_class_split
from l2a.clips import ClipSettings
from l2a.devices import pick_device
from l2a.errors import InputError
from l2a.files import fingerprint
from l2a.logs import say
from l2a.networks import VideoNetwork
from l2a.trunk import Trunk
from l2a.videos import VideoSet
from train.classifier import make_classifier
from train.few_shot.episodes import DrawnEpisodes, EpisodeClips, EpisodeSettings
from train.few_shot.frames import FrameBank, Kind, features_of
from train.few_shot.methods import METHODS, FeatureShape, FewShotMethod, make_method
from train.few_shot.opening import FewShotData
from train.settings.few_shot import FewShotSettings
from train.settings.full import FullSettings


@dataclass(frozen=True)
class FewShotPlan:
    """All that can be set about few-shot learning.

    Attributes:
        full: the groups that other commands have too.
        few: of episodes.
        methods: a group for each method.
        selector: one from before; None to train one.
    """

    full: FullSettings
    few: FewShotSettings
    methods: tuple[Any, ...]
    selector: str | None = None

    @property
    def frozen(self) -> bool:
        """Whether the trunk stays as it is."""
        return self.full.classifier.freeze_trunk

    @property
    def kind(self) -> Kind:
        """What a method is given: maps where it takes them and the trunk learns with it. Of a
        frozen trunk frames alone are kept: maps of thousands of clips would fill the memory."""
        takes = METHODS[self.few.method].method.takes
        return "maps" if takes == "maps" and not self.frozen else "frames"

    def groups(self) -> tuple[Any, ...]:
        """What `Run.open` takes: the groups that the command line has."""
        own = self.full
        return (
            own.data, own.clips, own.prepare, own.composite, own.match, own.selector,
            own.reinforce, own.rank, own.classifier, own.stage_one, own.frozen, own.run,
            own.engine, self.few, *self.methods,
        )  # fmt: skip

    def episode_settings(
        self, queries: int | None = None, way: int | None = None
    ) -> EpisodeSettings:
        """What an episode is; of the most shots that are asked for."""
        few = self.few
        return EpisodeSettings(
            way or few.way, max(few.shots), queries or few.queries, few.group_disjoint,
            self.full.run.seed,
        )  # fmt: skip

    def training_episodes(self) -> EpisodeSettings:
        """What an episode of training is."""
        recipe = METHODS[self.few.method].method.recipe
        return self.episode_settings(self.few.train_queries or recipe.queries)


def check_method(plan: FewShotPlan) -> None:
    """Fail now on an unknown method, or one that its network's features are not for; say what
    should be known of it on these.

    Raises:
        InputError: as `make_method` and `build_network` do.
    """
    if plan.few.method not in METHODS:
        make_method(plan.few.method, FeatureShape(1, 1, 1, 1, 1))
    for group in plan.methods:
        if plan.frozen and getattr(group, "arn_auxiliary", None):
            raise InputError(
                "The self-supervised tasks of --arn-auxiliary turn and shuffle clips, and with "
                "--freeze-trunk a method sees features alone; leave one of the two out."
            )
    for note in new_method(plan, make_network(plan).trunk).notes:
        say(f"note: {note}")


def make_network(plan: FewShotPlan) -> VideoNetwork:
    """The network whose trunk gives the features, with a head that is of no use."""
    settings = plan.full.classifier
    return make_classifier(settings, 1, plan.full.run.seed, pick_device(settings.device))


def new_method(plan: FewShotPlan, trunk: Trunk) -> FewShotMethod:
    """The method on a trunk's features, initialised by the seed."""
    shape = feature_shape(trunk, plan.full.clips, plan.kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.full.run.seed)
        method = make_method(plan.few.method, shape, plan.methods)
    return method.to(trunk.device)


@torch.no_grad()
def feature_shape(trunk: Trunk, clips: ClipSettings, kind: Kind) -> FeatureShape:
    """The shape of what a trunk gives for one clip of this geometry."""
    size = (1, clips.num_frames, clips.crop, clips.crop, 3)
    blank = torch.zeros(size, dtype=torch.uint8, device=trunk.device)
    training = trunk.training
    maps = trunk.eval().forward_features(trunk.to_input(blank))
    trunk.train(training)
    return FeatureShape.of(features_of(maps, kind), clips.num_frames)


def choose_classes(videos: VideoSet, plan: FewShotPlan) -> ClassSplit:
    """The class split that is asked for.

    Raises:
        InputError: it cannot be read, or does not fit the data set.
    """
    few = plan.few
    if few.class_split is not None:
        return read_class_split(few.class_split, videos.classes)
    return random_class_split(
        videos.classes, few.validation_classes, few.novel_classes, plan.full.run.seed
    )


def check_clips(videos: VideoSet, split: ClassSplit, side: str, settings: EpisodeSettings) -> None:
    """Fail before anything is decoded where a side has too few classes or clips for episodes.

    Raises:
        InputError: as `DrawnEpisodes`.
    """
    own = split.videos_of(side, videos.videos)
    DrawnEpisodes(EpisodeClips.from_videos(own, range(len(own)), split.of(side)), settings, 1)


def frame_bank(plan: FewShotPlan, trunk: Trunk, data: FewShotData) -> FrameBank:
    """Features of clips by the trunk as it is now."""
    return FrameBank(trunk, data.prepared, plan.kind, plan.full.classifier.flip, plan.full.run.seed)


def split_facts(split: ClassSplit) -> dict[str, str]:
    """What `run.yaml` keeps of a class split: another one under the same name is noticed."""
    return {"class_split_mark": fingerprint(split.fingerprint())[:16]}


def refuse_data(folder: Path, needs: str) -> InputError:
    """What is wrong with evaluating a method that has weights on data alone."""
    return InputError(
        f"The method {needs} has weights that are learned, and {folder} is no run of `l2a few-shot "
        "train`; train first, and give the run's folder in place of the data."
    )
