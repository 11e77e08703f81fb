"""What a Selector's training takes besides the data: the groups of settings that stage one uses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from l2a.errors import InputError
from selector.settings import ReinforceSettings, SelectorSettings
from train.settings.frozen import FrozenSettings
from train.settings.full import ClassifierSettings, FullSettings, StageOneSettings


@dataclass(frozen=True)
class SelectorRecipe:
    """How a Selector is trained.

    Attributes:
        classifier: whose validation loss teaches it.
        stage: of stage one.
        selector: sizes of the Selector.
        reinforce: how it is trained.
        seed: all randomness follows from it.
        workers: processes that make the batches of the warming up, as `--workers` says.
        frozen: with a frozen trunk, of its features.

    Raises:
        InputError: folds are asked for, and the reward is not measured by pair.
    """

    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    stage: StageOneSettings = field(default_factory=StageOneSettings)
    selector: SelectorSettings = field(default_factory=SelectorSettings)
    reinforce: ReinforceSettings = field(default_factory=ReinforceSettings)
    seed: int = 0
    workers: int = 0
    frozen: FrozenSettings = field(default_factory=FrozenSettings)

    def __post_init__(self) -> None:
        if self.stage.reward_folds and self.reinforce.reward != "credit":
            raise InputError(
                f"reward_folds is {self.stage.reward_folds}, and the reward "
                f"{self.reinforce.reward} has no use for it; choose the reward credit."
            )

    @classmethod
    def of(cls, settings: FullSettings) -> SelectorRecipe:
        """The groups of a command that has them all."""
        return cls(
            settings.classifier, settings.stage_one, settings.selector, settings.reinforce,
            settings.run.seed, settings.engine.workers, settings.frozen,
        )  # fmt: skip

    def flat(self) -> dict[str, object]:
        """Every setting by its name."""
        groups = (self.classifier, self.stage, self.selector, self.reinforce, self.frozen)
        return {name: v for group in groups for name, v in asdict(group).items()} | {
            "seed": self.seed
        }
