"""`detectron2`: any of detectron2's instance segmentation models, from its model zoo or your own.

detectron2 is imported only when it is named. It reads `.pkl` checkpoints, those of its model zoo
included, by pickle, which can run code: give it only weights that you trust. Configs are read
without the Python tags that YAML would allow.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from compositing.masks import VideoMasks
from compositing.networks import one_thread, out_of_memory
from compositing.segmenters.detections import Detections
from compositing.segmenters.following import IDENTITY, detect_and_track
from l2a.errors import InputError
from l2a.files import file_sha256, fingerprint
from l2a.media import Frames
from l2a.videos import Video

DEFAULT = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
FLOOR = 0.05
"""Least score of a detection that is stored; whoever uses the masks sets a higher one."""
INSTALL = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2'"


class Detectron:
    """Finds what a detectron2 model detects, in every frame by itself, and follows it.

    Frames go through the network one by one and in full precision: so detectron2's own predictor
    has it.

    Args:
        config: the path of a .yaml config, or a name in the model zoo.
        weights: the path or the URL of a checkpoint; by default the model zoo's for its own
            configs, and MODEL.WEIGHTS for any other.

    Raises:
        InputError: detectron2 is not installed; the config is not there, is not valid, or makes no
            masks; the weights are not there.
    """

    name = "detectron2"
    uses_network = True

    def __init__(self, config: str = DEFAULT, weights: str = "") -> None:
        import_detectron2()
        self._cfg = _read_config(config, weights)
        self._device = torch.device("cpu")
        self._predictor: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the network, which is loaded where it is used."""
        return self.__dict__ | {"_predictor": None}

    @classmethod
    def from_argument(cls, argument: str) -> Detectron:
        """The segmenter of `detectron2`, `detectron2:CONFIG` or `detectron2:CONFIG,WEIGHTS`."""
        config, _, weights = argument.partition(",")
        return cls(config.strip() or DEFAULT, weights.strip())

    @cached_property
    def identity(self) -> str:
        """`detectron2`, with the whole config and the weights: their SHA-256, or their URL."""
        cfg = self._cfg.clone()
        weights = str(cfg.MODEL.WEIGHTS)
        mark = weights if _is_remote(weights) else f"sha256 {file_sha256(Path(weights))[:16]}"
        cfg.MODEL.WEIGHTS = cfg.MODEL.DEVICE = ""
        return f"detectron2 1 config {fingerprint(cfg.dump())} weights {mark} {IDENTITY}"

    def check(self, videos: Sequence[Video]) -> None:
        """Have detectron2 fetch the weights, if they are not on this machine yet."""
        from detectron2.utils.file_io import PathManager

        weights = str(self._cfg.MODEL.WEIGHTS)
        try:
            PathManager.get_local_path(weights)
        except OSError as error:
            raise InputError(
                f"detectron2 cannot fetch {weights} ({error}); download it where there is a"
                " network, and write detectron2:CONFIG,WEIGHTS with the path of the file."
            ) from error

    def to_device(self, device: str, frames_at_once: int) -> None:
        """See `OnDevice`. One frame goes through at a time."""
        if torch.device(device) != self._device:
            self._predictor = None
        self._device = torch.device(device)

    def __call__(self, video: Video, frames: Frames) -> VideoMasks:
        """All that the model detects above `FLOOR`; `video` itself is not needed.

        Raises:
            L2AError: the GPU runs out of memory.
        """
        return detect_and_track(frames.frames, self.detect, self.name)

    def detect(self, frames: NDArray[np.uint8]) -> list[Detections]:
        """See `Detector`; raises as a call does."""
        predictor = self._loaded()
        found = []
        for frame in frames:
            # The predictor takes BGR, whatever INPUT.FORMAT is: it turns it by itself.
            bgr = np.ascontiguousarray(frame[:, :, ::-1])
            try:
                with torch.inference_mode(), one_thread(self._device):
                    output = predictor(bgr)
                    shown = output["instances"] if isinstance(output, dict) else output
                    found.append(self._detections(shown.to("cpu"), frame.shape[:2]))
            except torch.OutOfMemoryError:
                raise out_of_memory(str(self._device), 1) from None
        return found

    def _detections(self, found: Any, size: tuple[int, int]) -> Detections:
        """What detectron2's `Instances` hold, for frames of `size` = (height, width)."""
        labels, names = found.pred_classes.tolist(), self._names
        categories = tuple(names[n] if n < len(names) else f"class {n}" for n in labels)
        scores = np.asarray(found.scores, np.float32)
        masks = np.asarray(found.pred_masks, np.float32)
        if masks.ndim == 3:  # pasted already: a cell for each pixel
            boxes = np.tile(np.array([0.0, 0.0, size[1], size[0]]), (len(masks), 1))
            return Detections(categories, scores, boxes, masks)
        # As `detector_postprocess` has it: to the frame's size, cut at its edges.
        scale = np.array([to / of for to, of in zip(size, found.image_size, strict=True)])
        boxes = np.asarray(found.pred_boxes.tensor, np.float32) * np.tile(
            scale[::-1].astype(np.float32), 2
        )
        boxes = np.clip(boxes, 0, np.tile(np.array(size[::-1], np.float32), 2))
        some = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        return Detections(
            tuple(categories[n] for n in some.tolist()),
            scores[some],
            boxes[some].astype(np.float64),
            masks[some, 0],
        )

    @cached_property
    def _names(self) -> Sequence[str]:
        """The categories by number; () when the config's data set is not registered."""
        from detectron2.data import MetadataCatalog

        tests = self._cfg.DATASETS.TEST
        return MetadataCatalog.get(tests[0]).get("thing_classes", ()) if len(tests) else ()

    def _loaded(self) -> Any:
        if self._predictor is None:
            from detectron2.engine import DefaultPredictor

            cfg = self._cfg.clone()
            cfg.MODEL.DEVICE = str(self._device)
            predictor = DefaultPredictor(cfg)
            # Models with a box for each mask can leave the pasting to whoever asks. Others have
            # masks of the frame's size from the beginning.
            model: Any = getattr(predictor, "model", None)
            inference = getattr(model, "inference", None)
            if inference and "do_postprocess" in inspect.signature(inference).parameters:
                model.inference = partial(inference, do_postprocess=False)
            self._predictor = predictor
        return self._predictor


def import_detectron2() -> ModuleType:
    """detectron2's model zoo.

    Raises:
        InputError: it cannot be imported; the message says how to install what is missing.
    """
    try:
        from detectron2 import model_zoo
    except ImportError as error:
        if error.name == "pkg_resources":
            raise InputError(
                "detectron2 needs pkg_resources, which setuptools no longer has;"
                " pip install 'setuptools<82'."
            ) from None
        if error.name == "detectron2":
            raise InputError(
                "The segmenter detectron2 is not installed; it is built from source, with torch"
                f" and a C++ compiler there: {INSTALL}, then pip install 'setuptools<82'."
            ) from None
        raise InputError(
            f"detectron2 is installed but cannot be imported ({error}); install what is missing, or"
            f" rebuild it for this torch: {INSTALL}."
        ) from None
    return model_zoo


def _read_config(config: str, weights: str) -> Any:
    """The whole config, with the path or the URL of the weights in MODEL.WEIGHTS."""
    from detectron2.config import get_cfg

    cfg = get_cfg()
    own = Path(config).expanduser()
    path = str(own) if own.is_file() else _in_model_zoo(config)
    try:
        # detectron2's own default would run Python that a YAML file names.
        cfg.merge_from_file(path, allow_unsafe=False)
    except (AssertionError, KeyError, OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not a config of detectron2 ({error}); correct it.") from None
    if not cfg.MODEL.MASK_ON:
        raise InputError(f"The detectron2 config {config} makes no masks; choose {DEFAULT}.")
    if weights:
        cfg.MODEL.WEIGHTS = weights
    elif not own.is_file():
        cfg.MODEL.WEIGHTS = _published(config)
    cfg.MODEL.WEIGHTS = _checked(str(cfg.MODEL.WEIGHTS), config)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = FLOOR
    return cfg


def _in_model_zoo(config: str) -> str:
    try:
        return str(import_detectron2().get_config_file(config))
    except RuntimeError:
        raise InputError(
            f"There is no detectron2 config {config}, neither as a file nor in the model zoo;"
            f" choose one such as {DEFAULT}."
        ) from None


def _published(config: str) -> str:
    try:
        return str(import_detectron2().get_checkpoint_url(config))
    except RuntimeError:
        raise InputError(
            f"The model zoo has no weights for {config}; write detectron2:{config},WEIGHTS."
        ) from None


def _checked(weights: str, config: str) -> str:
    """The weights, if they are a URL or a file; an untrained model would detect noise."""
    if not weights or "ImageNetPretrained" in weights:
        raise InputError(
            f"The detectron2 config {config} has no weights of a trained detector; write"
            f" detectron2:{config},WEIGHTS."
        )
    if _is_remote(weights):
        return weights
    path = Path(weights).expanduser()
    if not path.is_file():
        raise InputError(f"There is no weight file {path} for detectron2; check the path.")
    return str(path)


def _is_remote(weights: str) -> bool:
    return "://" in weights
