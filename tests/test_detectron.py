"""The segmenter `detectron2`, tested with a package that has detectron2's interface."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from compositing.masks import decode
from compositing.networks import is_network, to_device
from compositing.segmenters import detectron, make_segmenter
from compositing.segmenters.detectron import Detectron
from l2a.errors import InputError
from l2a.media import Frames
from l2a.videos import Video

H, W = 24, 32
VIDEO = Video("videos/run/a.avi", Path("/data/videos/run/a.avi"), "run", "g", "train")
SQUARE = np.zeros((3, H, W), np.bool_)
for t in range(3):
    SQUARE[t, 4:12, 4 + t : 12 + t] = True


class Config(dict[str, Any]):
    """A CfgNode as far as the segmenter knows it: attributes, merging of known keys only."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value

    def clone(self) -> Config:
        return copy.deepcopy(self)

    def dump(self) -> str:
        return str(yaml.safe_dump(json.loads(json.dumps(self))))

    def merge_from_file(self, path: str, allow_unsafe: bool = True) -> None:
        assert not allow_unsafe, "a config may not run Python"
        self._merge(yaml.safe_load(Path(path).read_text()))

    def _merge(self, values: dict[str, Any]) -> None:
        for key, value in values.items():
            if key not in self:
                raise KeyError(f"Non-existent config key: {key}")
            if isinstance(value, dict):
                self[key]._merge(value)
            else:
                self[key] = value


class Instances:
    """One frame's bright and dark region, as detectron2 gives them."""

    def __init__(self, image: NDArray[np.uint8], floor: float) -> None:
        red = image[:, :, 2] > 200
        masks = torch.tensor(np.stack([red, ~red, np.zeros_like(red)]))
        keep = torch.tensor([0.9, 0.3, 0.2]) > floor
        self.pred_masks = masks[keep]
        self.scores = torch.tensor([0.9, 0.3, 0.2])[keep]
        self.pred_classes = torch.tensor([0, 7, 1])[keep]

    def to(self, device: str) -> Instances:
        assert device == "cpu"
        return self


class Predictor:
    """detectron2's DefaultPredictor: one image at a time, always BGR."""

    made: list[Predictor] = []  # noqa: RUF012

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg.clone()
        self.images: list[NDArray[np.uint8]] = []
        Predictor.made.append(self)

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Instances]:
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert torch.get_num_threads() == 1
        self.images.append(image)
        return {"instances": Instances(image, self.cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST)}


class RoiInstances:
    """Detections as a model has them before they are pasted: at the size that the network sees."""

    image_size = (2 * H, 2 * W)

    def __init__(self, empty_too: bool) -> None:
        boxes = [[8.0, 8, 24, 24], [-6, 20, 30, 60]] + [[70.0, 10, 90, 20]] * empty_too
        count = len(boxes)
        self.pred_boxes = types.SimpleNamespace(tensor=torch.tensor(boxes))
        self.pred_masks = torch.ones(count, 1, 28, 28)
        self.scores = torch.tensor([0.9, 0.8, 0.7])[:count]
        self.pred_classes = torch.tensor([0, 1, 1])[:count]

    def to(self, device: str) -> RoiInstances:
        assert device == "cpu"
        return self


class RoiModel:
    """A detectron2 model with a box for each mask (`GeneralizedRCNN`)."""

    def inference(
        self, inputs: list[Any], detected: None = None, do_postprocess: bool = True
    ) -> list[Any]:
        assert not do_postprocess, "masks are pasted one by one in the process with the network"
        return [RoiInstances(empty_too=True) for _ in inputs]

    def __call__(self, inputs: list[Any]) -> list[Any]:
        return self.inference(inputs)


class RoiPredictor(Predictor):
    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.model = RoiModel()

    def __call__(self, image: NDArray[np.uint8]) -> Any:
        return self.model([{"image": image}])[0]


class PathManager:
    online = True

    @staticmethod
    def get_local_path(path: str) -> str:
        if "://" in path and not PathManager.online:
            raise URLError("no route to host")
        return path


URL = "https://example.org/model_final_f10217.pkl"


@pytest.fixture
def detectron2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A package with detectron2's interface; gives the folder of its model zoo."""
    zoo = tmp_path / "zoo"
    (zoo / "COCO-InstanceSegmentation").mkdir(parents=True)
    base = {"WEIGHTS": "detectron2://ImageNetPretrained/MSRA/R-50.pkl", "MASK_ON": True}
    (zoo / detectron.DEFAULT).write_text(yaml.safe_dump({"MODEL": base}))
    (zoo / "boxes.yaml").write_text(yaml.safe_dump({"MODEL": {**base, "MASK_ON": False}}))
    (zoo / "untrained.yaml").write_text(yaml.safe_dump({"MODEL": base}))

    def get_cfg() -> Config:
        heads = Config(SCORE_THRESH_TEST=0.25)
        model = Config(WEIGHTS="", DEVICE="cuda", MASK_ON=False, ROI_HEADS=heads)
        return Config(
            MODEL=model, DATASETS=Config(TEST=["coco_2017_val"]), INPUT=Config(FORMAT="RGB")
        )

    def get_config_file(name: str) -> str:
        if not (zoo / name).is_file():
            raise RuntimeError(f"{name} not available in Model Zoo!")
        return str(zoo / name)

    def get_checkpoint_url(name: str) -> str:
        if name == "untrained.yaml":
            raise RuntimeError(f"Pretrained model for {name} is not available!")
        return URL

    names = types.SimpleNamespace(get=lambda key, default: ["person", "dog"])
    catalog = types.SimpleNamespace(get=lambda name: names if name == "coco_2017_val" else Config())
    modules: dict[str, dict[str, Any]] = {
        "detectron2": {},
        "detectron2.model_zoo": {
            "get_config_file": get_config_file,
            "get_checkpoint_url": get_checkpoint_url,
        },
        "detectron2.config": {"get_cfg": get_cfg},
        "detectron2.engine": {"DefaultPredictor": Predictor},
        "detectron2.data": {"MetadataCatalog": catalog},
        "detectron2.utils": {},
        "detectron2.utils.file_io": {"PathManager": PathManager},
    }
    for name, contents in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["detectron2"].model_zoo = sys.modules["detectron2.model_zoo"]  # type: ignore[attr-defined]
    monkeypatch.setattr(PathManager, "online", True)
    Predictor.made.clear()
    yield zoo
    Predictor.made.clear()


def red_square() -> Frames:
    """A red square that moves over a blue ground."""
    pixels = np.zeros((3, H, W, 3), np.uint8)
    pixels[..., 2] = 255
    for t in range(3):
        pixels[t][SQUARE[t]] = (255, 0, 0)
    return Frames(pixels, np.arange(3) / 25, 25.0)


def test_detectron2_gets_bgr_and_gives_instances_by_their_names(detectron2: Path) -> None:
    source = red_square()
    masks = make_segmenter("detectron2")(VIDEO, source)
    (predictor,) = Predictor.made
    assert len(predictor.images) == 3
    np.testing.assert_array_equal(predictor.images[0][0, 0], [255, 0, 0])  # blue
    np.testing.assert_array_equal(predictor.images[0][5, 5], [0, 0, 255])  # red
    # The third of the stub's detections has no pixel; "class 7" has no name.
    assert [(i.category, i.score) for i in masks.instances] == [("person", 0.9), ("class 7", 0.3)]
    for t, mask in decode(masks.instances[0].rles, H, W):
        np.testing.assert_array_equal(mask, SQUARE[t])
    assert None not in masks.instances[0].rles
    assert masks.note == ""


def test_masks_of_detectron2_are_taken_before_it_pastes_them(
    detectron2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes at the network's size, twice the frame's; the third lies outside once it is cut."""
    monkeypatch.setattr(sys.modules["detectron2.engine"], "DefaultPredictor", RoiPredictor)
    segmenter = Detectron()
    (found, *_) = segmenter.detect(red_square().frames)
    assert found.categories == ("person", "dog")
    np.testing.assert_array_equal(found.boxes, [[4, 4, 12, 12], [0, 10, 15, 24]])
    assert (found.masks.shape, found.masks.dtype) == ((2, 28, 28), np.float32)
    masks = segmenter(VIDEO, red_square())
    ((_, first), *_) = decode(masks.instances[0].rles, H, W)
    np.testing.assert_array_equal(first, SQUARE[0])


def test_detectron2_is_configured_for_raw_masks_on_its_device(detectron2: Path) -> None:
    segmenter = make_segmenter("detectron2")
    assert is_network(segmenter)
    assert Predictor.made == []
    to_device(segmenter, "cuda:0", 4)
    to_device(segmenter, "cpu", 4)(VIDEO, red_square())
    segmenter(VIDEO, red_square())
    (predictor,) = Predictor.made
    model = predictor.cfg.MODEL
    assert (model.DEVICE, model.WEIGHTS) == ("cpu", URL)
    assert model.ROI_HEADS.SCORE_THRESH_TEST == detectron.FLOOR == 0.05
    to_device(segmenter, "cuda:1", 4)
    assert pickle.loads(pickle.dumps(segmenter)).identity == segmenter.identity  # noqa: S301


def test_a_detectron2_of_ones_own(detectron2: Path, tmp_path: Path) -> None:
    config, weights = tmp_path / "mine.yaml", tmp_path / "mine.pkl"
    weights.write_bytes(b"weights")
    config.write_text(yaml.safe_dump({"MODEL": {"MASK_ON": True, "WEIGHTS": str(weights)}}))
    by_config = Detectron.from_argument(str(config))
    both = Detectron.from_argument(f"{config},{weights}")
    assert by_config.identity == both.identity
    assert Detectron.from_argument(f"{config},{URL}").identity != both.identity
    digits = hashlib.sha256(b"weights").hexdigest()[:16]
    assert f"weights sha256 {digits} " in both.identity
    moved = tmp_path / "elsewhere.pkl"
    moved.write_bytes(b"weights")
    assert Detectron.from_argument(f"{config},{moved}").identity == both.identity
    moved.write_bytes(b"others")
    assert Detectron.from_argument(f"{config},{moved}").identity != both.identity
    config.write_text(yaml.safe_dump({"MODEL": {"MASK_ON": True}, "INPUT": {"FORMAT": "BGR"}}))
    assert Detectron.from_argument(f"{config},{weights}").identity != both.identity


def test_where_detectron2_runs_is_not_part_of_its_identity(detectron2: Path) -> None:
    segmenter = Detectron()
    before = segmenter.identity
    assert URL in before
    assert to_device(Detectron(), "cuda:0", 1).identity == before
    segmenter(VIDEO, red_square())
    assert Detectron(weights=URL).identity == before


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nowhere.yaml", r"no detectron2 config nowhere\.yaml, neither"),
        ("boxes.yaml", r"boxes\.yaml makes no masks; choose COCO-InstanceSeg"),
        ("untrained.yaml", r"no weights for untrained\.yaml; write detectron2:untrained\.yaml,WEI"),
        ("untrained.yaml,/nowhere.pkl", r"no weight file /nowhere\.pkl"),
    ],
)
def test_what_detectron2_cannot_run_is_refused_at_once(
    detectron2: Path, argument: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_segmenter(f"detectron2:{argument}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL: {MASK_ONE: true}", "is not a config of detectron2 .*MASK_ONE"),
        ("MODEL: [", "is not a config of detectron2"),
        ("MODEL: !!python/object/apply:os.getcwd []", "is not a config of detectron2"),
        ("MODEL: {MASK_ON: true}", "has no weights of a trained detector; write detectron2:.*,WEI"),
        (
            "MODEL: {MASK_ON: true, WEIGHTS: 'detectron2://ImageNetPretrained/MSRA/R-50.pkl'}",
            "has no weights of a trained detector",
        ),
    ],
)
def test_a_config_that_does_not_do_is_named(
    detectron2: Path, tmp_path: Path, text: str, message: str
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(text)
    with pytest.raises(InputError, match=message):
        Detectron(str(config))


def test_detectron2s_weights_are_fetched_before_any_work(
    detectron2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = make_segmenter("detectron2")
    segmenter.check([VIDEO])
    monkeypatch.setattr(PathManager, "online", False)
    with pytest.raises(InputError, match=r"cannot fetch https.*no route.*detectron2:CONFIG,WEIGHT"):
        segmenter.check([VIDEO])
    assert Predictor.made == []


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("detectron2", r"not installed.*--no-build-isolation 'git\+https.*then pip.*setuptools<82"),
        ("pkg_resources", r"needs pkg_resources.*pip install 'setuptools<82'"),
        (
            "fvcore",
            r"installed but cannot be imported .*import of fvcore.*rebuild it",
        ),
    ],
)
def test_what_is_missing_for_detectron2_is_told_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str, message: str
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in ("detectron2", missing)]:
        monkeypatch.delitem(sys.modules, name)
    if missing != "detectron2":
        (tmp_path / "detectron2").mkdir()
        (tmp_path / "detectron2" / "__init__.py").write_text("")
        (tmp_path / "detectron2" / "model_zoo.py").write_text(f"import {missing}\n")
        monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, missing, None)
    try:
        with pytest.raises(InputError, match=message):
            make_segmenter("detectron2")
    finally:
        for name in [n for n in sys.modules if n.split(".")[0] == "detectron2"]:
            del sys.modules[name]
