"""The scene test: what a classifier knows of actors, and what of scenes (Xiao et al. 2020).

Test videos are taken apart and put together anew, for evaluation alone: their layers and clips lie
apart from those of training, in a store and a bank of their own, and nothing that trains opens
them. `cast.py` says who stands on whose scene, `clips.py` makes the clips, `asking.py` asks and
`scores.py` measures, `stage.py` does all of it for a run, `tables.py` and `picture.py` show it.
"""

from __future__ import annotations

from train.scene_test.asking import SceneFeatures, logits_of, scene_features
from train.scene_test.cast import FORMS, SCENES
from train.scene_test.clips import NoSceneTest, SceneClips
from train.scene_test.scores import (
    SceneScores,
    measure_scenes,
    measure_scenes_from_logits,
)

__all__ = [
    "FORMS",
    "SCENES",
    "NoSceneTest",
    "SceneClips",
    "SceneFeatures",
    "SceneScores",
    "logits_of",
    "measure_scenes",
    "measure_scenes_from_logits",
    "scene_features",
]
