"""The segmenter `mask-rcnn`, tested with torchvision's own network, made small."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torchvision.models.detection import mask_rcnn as torchvision_mask_rcnn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

from compositing.making import LayerMaker
from compositing.masks import VideoMasks, decode, from_json, to_json
from compositing.networks import is_network, to_device
from compositing.segmenters import Detector, make_segmenter, mask_rcnn
from compositing.segmenters.detections import Detections
from compositing.segmenters.mask_rcnn import MaskRCNN
from compositing.settings import PrepareSettings
from l2a.errors import InputError, L2AError
from l2a.media import Frames, read_frames
from l2a.videos import Video

VIDEO = Video("videos/run/a.avi", Path("/data/videos/run/a.avi"), "run", "g", "train")


def tiny() -> nn.Module:
    """torchvision's own Mask R-CNN with a backbone of two convolutions; the same one every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone: Any = nn.Sequential(
            nn.Conv2d(3, 8, 5, 4, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()
        )
        backbone.out_channels = 8
        network: nn.Module = torchvision_mask_rcnn.MaskRCNN(
            backbone,
            min_size=64,
            max_size=96,
            rpn_anchor_generator=AnchorGenerator(((16, 32, 48),), ((0.5, 1.0, 2.0),)),
            rpn_post_nms_top_n_test=20,
            box_head=TwoMLPHead(8 * 7 * 7, 16),
            box_predictor=FastRCNNPredictor(16, 91),
            box_score_thresh=0.011,
            box_detections_per_img=6,
            mask_head=torchvision_mask_rcnn.MaskRCNNHeads(8, (8,), 1),
            mask_predictor=torchvision_mask_rcnn.MaskRCNNPredictor(8, 8, 91),
        )
    return network


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network's weights; the file's name ends in the first digits of its SHA-256."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(tiny().state_dict(), path)
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(path.with_name(f"tiny-{digits}.pth"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Torch hub's folder, empty, on a machine without a network."""

    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def forbid_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("a file was loaded before its checksum was right")

    monkeypatch.setattr(torch, "load", fail)


def clip(count: int = 10, height: int = 40, width: int = 56) -> Frames:
    """Blocks of random colours that drift to the right."""
    rng = np.random.default_rng(3)
    scene = rng.integers(0, 256, (height // 8, width, 3), np.uint8).repeat(8, axis=0)
    scene = scene.repeat(8, axis=1)
    pixels = np.stack([scene[:, 3 * t : 3 * t + width] for t in range(count)])
    pixels.setflags(write=False)
    return Frames(pixels, np.arange(count) / 25, 25.0)


def recorded(calls: list[list[torch.Tensor]]) -> Callable[[], nn.Module]:
    """The tiny network, writing down what it is given."""

    def build() -> nn.Module:
        network = tiny()
        network.register_forward_pre_hook(lambda _, inputs: calls.append(list(inputs[0])))
        return network

    return build


@pytest.mark.filterwarnings("error")  # torch warns of memory that is not to be written to
def test_mask_rcnn_finds_things_that_coco_has_a_name_for(state: Path) -> None:
    source = clip()
    masks = MaskRCNN(state, tiny)(VIDEO, source)
    assert (masks.height, masks.width, masks.num_frames) == (40, 56, 10)
    assert masks.instances
    assert masks.note == ""
    per_frame = [sum(i.rles[t] is not None for i in masks.instances) for t in range(10)]
    assert 0 < max(per_frame) <= 6
    assert {i.category for i in masks.instances} <= set(mask_rcnn.CATEGORIES[1:])
    assert mask_rcnn.CATEGORIES[1] == "person"


def test_masks_are_what_the_network_gives_where_it_is_sure(state: Path) -> None:
    source = clip(2)
    network = tiny().eval()
    with torch.inference_mode():
        pixels = torch.tensor(source.frames[1]).permute(2, 0, 1).float() / 255
        (output,) = network([pixels])
    expected = sorted(
        (mask_rcnn.CATEGORIES[label], round(score, 6), mask.tobytes())
        for label, score, mask in zip(
            output["labels"].tolist(),
            output["scores"].tolist(),
            (output["masks"][:, 0] >= 0.5).numpy(),
            strict=True,
        )
        if mask.any()
    )
    masks = MaskRCNN(state, tiny)(VIDEO, source)
    found = sorted(
        (i.category, i.scores[1], mask.tobytes())
        for i in masks.instances
        if i.scores is not None
        for t, mask in decode(i.rles, 40, 56)
        if t == 1
    )
    assert found == expected
    assert len(expected) >= 2


def test_masks_survive_being_stored(state: Path) -> None:
    masks = MaskRCNN(state, tiny)(VIDEO, clip())
    stored = json.loads(json.dumps(to_json(masks, VIDEO.id, {})))
    assert from_json(stored)[VIDEO.id] == masks


def test_frames_reach_the_network_as_rgb_between_0_and_1(state: Path) -> None:
    calls: list[list[torch.Tensor]] = []
    pixels = np.zeros((1, 40, 56, 3), np.uint8)
    pixels[...] = (255, 51, 0)
    MaskRCNN(state, recorded(calls))(VIDEO, Frames(pixels, np.zeros(1), 25.0))
    ((image,),) = calls
    assert image.shape == (3, 40, 56)
    np.testing.assert_allclose(image.amax(dim=(1, 2)), [1, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose(image.amin(dim=(1, 2)), [1, 0.2, 0], atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_the_masks_do_not_depend_on_how_many_frames_go_through_together(
    state: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = MaskRCNN(state, tiny)(VIDEO, clip())
    monkeypatch.setattr(mask_rcnn, "frames_per_pass", lambda device, frames_at_once: frames_at_once)
    calls: list[list[torch.Tensor]] = []
    segmenter = to_device(MaskRCNN(state, recorded(calls)), "cpu", at_once)
    found = segmenter(VIDEO, clip())
    assert max(map(len, calls)) == at_once
    assert sum(map(len, calls)) == 10
    assert [(i.category, i.rles) for i in found.instances] == [
        (i.category, i.rles) for i in expected.instances
    ]


def test_a_cpu_takes_one_frame_at_a_time_on_one_thread(state: Path) -> None:
    assert mask_rcnn.frames_per_pass(torch.device("cpu"), 8) == 1
    assert mask_rcnn.frames_per_pass(torch.device("cuda:1"), 8) == 8
    threads: list[int] = []
    free: list[bool] = []

    def build() -> nn.Module:
        network = tiny()
        network.register_forward_pre_hook(lambda *_: threads.append(torch.get_num_threads()))
        network.register_forward_pre_hook(lambda *_: free.append(torch.is_inference_mode_enabled()))
        return network

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        MaskRCNN(state, build)(VIDEO, clip(3))
        assert threads == [1, 1, 1]
        assert free == [True, True, True]  # of gradients, which would cost memory
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_process_with_the_network_hands_out_what_is_small_and_the_worker_does_the_rest(
    state: Path, tmp_path: Path
) -> None:
    host = LayerMaker(tmp_path, PrepareSettings(), segmenter=MaskRCNN(state, tiny))
    asked: list[Any] = []

    def infer(part: str, frames: NDArray[np.uint8]) -> Any:
        assert part == "segmenter"
        asked.append(pickle.loads(pickle.dumps(host.infer(part, frames))))  # noqa: S301
        return asked[-1]

    source = clip()
    assert host.hosted(infer).segmenter(VIDEO, source) == host.segmenter(VIDEO, source)
    (found,) = asked
    assert len(found) == len(source.frames)
    for one in found:
        assert isinstance(one, Detections)
        assert one.masks.shape[1:] == (28, 28)
        assert one.masks.dtype == one.scores.dtype == np.float32
    assert isinstance(host.segmenter, Detector)
    assert host.hosted(infer).identities == host.identities


def test_a_gpu_too_small_is_told_what_to_lower(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> nn.Module:
        network = tiny()

        def fail(*_: object) -> NoReturn:
            raise torch.OutOfMemoryError("CUDA out of memory")

        network.register_forward_pre_hook(fail)
        return network

    monkeypatch.setattr(mask_rcnn, "frames_per_pass", lambda device, frames_at_once: frames_at_once)
    with pytest.raises(L2AError, match=r"memory: cpu .* 4 frames at once; give a smaller"):
        to_device(MaskRCNN(state, build), "cpu", 4)(VIDEO, clip())


def test_where_nothing_is_found_the_note_says_so(state: Path) -> None:
    def build() -> nn.Module:
        network: Any = tiny()
        network.roi_heads.score_thresh = 1.0
        return network  # type: ignore[no-any-return]

    masks = MaskRCNN(state, build)(VIDEO, clip(2))
    assert (masks.instances, masks.note) == ((), "mask-rcnn finds nothing in it")
    assert (masks.height, masks.width, masks.num_frames) == (40, 56, 2)


def test_the_network_is_loaded_once_when_first_asked_and_does_not_travel(state: Path) -> None:
    built: list[str] = []

    def build() -> nn.Module:
        built.append(str(torch.empty(0).device))
        return tiny()

    segmenter = MaskRCNN(state, build)
    assert is_network(segmenter)
    assert "mask-rcnn 1" in segmenter.identity
    assert built == []
    segmenter.check([VIDEO])
    assert built == ["meta"]  # shapes only, no memory
    first = segmenter(VIDEO, clip(2))
    assert segmenter(VIDEO, clip(2)) == first
    assert built == ["meta", "cpu"]
    to_device(segmenter, "cpu", 2)(VIDEO, clip(1))
    assert built == ["meta", "cpu"]
    to_device(to_device(segmenter, "cuda:0", 2), "cpu", 2)(VIDEO, clip(1))
    assert built == ["meta", "cpu", "cpu"]  # loaded again where it is placed
    segmenter = MaskRCNN(state, tiny)
    light = len(pickle.dumps(segmenter))
    segmenter(VIDEO, clip(1))
    assert len(pickle.dumps(segmenter)) <= light + 50
    assert pickle.loads(pickle.dumps(segmenter))(VIDEO, clip(2)) == first  # noqa: S301


def test_identity_follows_the_weights_and_not_where_they_lie_or_run(
    state: Path, tmp_path: Path, no_network: Path
) -> None:
    moved = tmp_path / "moved.pth"
    moved.write_bytes(state.read_bytes())
    segmenter = MaskRCNN(state, tiny)
    assert segmenter.identity == MaskRCNN(moved, tiny).identity
    assert segmenter.identity == to_device(MaskRCNN(state, tiny), "cuda:0", 2).identity
    moved.write_bytes(state.read_bytes() + b"\0")
    assert segmenter.identity != MaskRCNN(moved, tiny).identity
    # Masks made elsewhere can be used without the weights.
    assert "weights 73cbd019 " in MaskRCNN().identity


def test_the_published_weights_are_the_same_by_name_and_as_a_file(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask_rcnn, "file_sha256", lambda path: "73cbd019" + "0" * 56)
    assert MaskRCNN(state).identity == MaskRCNN().identity


def test_a_file_that_is_not_what_its_name_says_is_refused_before_it_is_loaded(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "tiny-0123abcd.pth"
    wrong.write_bytes(state.read_bytes())
    forbid_loading(monkeypatch)
    segmenter = MaskRCNN(wrong, tiny)
    with pytest.raises(InputError, match=r"tiny-0123abcd\.pth has the SHA-256 .* not 0123abcd"):
        segmenter.check([VIDEO])
    with pytest.raises(InputError, match="not 0123abcd"):
        segmenter(VIDEO, clip(1))


def test_a_wrong_file_in_torch_hubs_folder_is_refused_before_it_is_loaded(
    state: Path, no_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network.mkdir(parents=True)
    place_ = no_network / "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth"
    place_.write_bytes(state.read_bytes())
    forbid_loading(monkeypatch)
    with pytest.raises(InputError, match=r"coco-73cbd019\.pth has the SHA-256"):
        make_segmenter("mask-rcnn").check([VIDEO])


def test_without_weights_and_network_the_message_says_where_to_put_the_file(
    no_network: Path,
) -> None:
    segmenter = make_segmenter("mask-rcnn")
    with pytest.raises(InputError) as refused:
        segmenter.check([VIDEO])
    message = str(refused.value)
    assert str(no_network / "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth") in message
    assert "https://download.pytorch.org/models/maskrcnn_resnet50_fpn_v2_coco-73" in message
    assert "no route to host" in message


def test_torchvisions_own_weights_are_loaded_by_name(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def give(weights: Any, what: str) -> Any:
        asked.append((weights.url, what))
        return torch.load(state, weights_only=True)

    monkeypatch.setattr(mask_rcnn, "torchvision_state", give)
    by_name = MaskRCNN(build=tiny)
    by_name.check([VIDEO])
    assert by_name(VIDEO, clip(2)) == MaskRCNN(state, tiny)(VIDEO, clip(2))
    assert {what for _, what in asked} == {"The weights of mask-rcnn"}
    assert all(url.endswith("fpn_v2_coco-73cbd019.pth") for url, _ in asked)


def test_the_weights_of_another_network_are_refused_before_any_work(
    state: Path, tmp_path: Path
) -> None:
    segmenter = make_segmenter(f"mask-rcnn:{state}")  # of the full-size network
    with pytest.raises(InputError, match=r"tiny-.*\.pth does not hold the weights of maskrcnn_"):
        segmenter.check([VIDEO])
    fewer = tiny().state_dict()
    del fewer["roi_heads.mask_predictor.mask_fcn_logits.bias"]
    path = tmp_path / "fewer.safetensors"
    save_file(fewer, path)
    with pytest.raises(InputError, match=r"fewer.*\(Missing key.*mask_fcn_logits\.bias"):
        MaskRCNN(path, tiny).check([VIDEO])
    with pytest.raises(InputError, match="give a state dict of that network"):
        MaskRCNN(path, tiny)(VIDEO, clip(1))


def test_weights_may_come_as_safetensors(state: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_file(tiny().state_dict(), path)
    segmenter = MaskRCNN(path, tiny)
    segmenter.check([VIDEO])
    assert segmenter(VIDEO, clip(2)) == MaskRCNN(state, tiny)(VIDEO, clip(2))


def test_a_weight_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"no weight file /nowhere/w\.pth.*after 'mask-rcnn:'"):
        make_segmenter("mask-rcnn:/nowhere/w.pth")


def test_the_standard_network_takes_torchvisions_names_of_its_weights() -> None:
    with torch.device("meta"):
        network: Any = mask_rcnn.standard_network()
    assert sum(p.numel() for p in network.parameters()) == 46359409  # as torchvision publishes
    assert len(mask_rcnn.CATEGORIES) == network.roi_heads.box_predictor.cls_score.out_features
    assert network.roi_heads.score_thresh == mask_rcnn.FLOOR
    assert network.transform.min_size == (800,)


def test_in_half_precision_only_the_convolutions_are_half() -> None:
    """On a CPU with bfloat16, which stands for a GPU's float16."""
    network: Any = mask_rcnn.use_half_precision(tiny().eval(), "cpu", torch.bfloat16)
    computed, decoded = set(), set()
    for module in (
        network.backbone.inner[0],
        network.rpn.head.inner.cls_logits,
        network.roi_heads.box_head.inner.fc6,
        network.roi_heads.mask_head.inner,
    ):
        module.register_forward_hook(lambda _, __, output: computed.add(output.dtype))
    decode_boxes = network.rpn.box_coder.decode_single

    def watched(codes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        boxes: torch.Tensor = decode_boxes(codes, anchors)
        decoded.add(boxes.dtype)
        return boxes

    network.rpn.box_coder.decode_single = watched
    network.roi_heads.box_coder.decode_single = watched
    pixels = torch.tensor(clip(1).frames[0]).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        (half,) = network([pixels])
        (full,) = tiny().eval()([pixels])
    assert computed == {torch.bfloat16}
    assert decoded == {torch.float32}
    assert {half[name].dtype for name in ("boxes", "scores", "masks")} == {torch.float32}
    assert abs(len(half["boxes"]) - len(full["boxes"])) <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_finds_what_a_cpu_finds(state: Path) -> None:
    on_cpu = MaskRCNN(state, tiny)(VIDEO, clip())
    on_gpu = to_device(MaskRCNN(state, tiny), "cuda:0", 4)(VIDEO, clip())

    def covered(masks: VideoMasks) -> NDArray[np.bool_]:
        everything = np.zeros((10, 40, 56), np.bool_)
        for instance in masks.instances:
            for frame, mask in decode(instance.rles, 40, 56):
                everything[frame] |= mask
        return everything

    one, other = covered(on_cpu), covered(on_gpu)
    assert (one & other).sum() > 0.9 * (one | other).sum()


@pytest.mark.clips
def test_a_real_clip_is_segmented_and_stored(state: Path, clips_root: Path) -> None:
    path = min((clips_root / "jhmdb12" / "videos" / "golf").glob("*.avi"))
    source = read_frames(path, max_frames=6)
    masks = MaskRCNN(state, tiny)(VIDEO, source)
    assert (masks.num_frames, masks.height, masks.width) == source.frames.shape[:3]
    assert from_json(to_json(masks, VIDEO.id, {}))[VIDEO.id].instances


def test_nothing_is_imported_until_it_is_named() -> None:
    code = (
        "import sys, compositing.segmenters as s; s.make_segmenter('motion');"
        " assert not {'torch', 'detectron2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
