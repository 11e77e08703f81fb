"""Batch norms folded into convolutions: the same function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from l2a.folding import fold_batch_norms
from l2a.networks import build_network, build_trunk


def _upset(network: nn.Module) -> None:
    """Statistics and slopes that are not those of a new network."""
    torch.manual_seed(3)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -1, 1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.bias, -1, 1)


def _norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_one_norm_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0))
    nn.init.constant_(network[0].weight, 3.0)
    network[1].running_mean.fill_(2.0)
    network[1].running_var.fill_(4.0)
    nn.init.constant_(network[1].weight, 5.0)
    nn.init.constant_(network[1].bias, 1.0)
    folded = fold_batch_norms(network, torch.ones(1, 1, 2, 2))
    # 5 · (3x − 2) / 2 + 1 = 7.5 x − 4
    assert folded[0].weight.item() == pytest.approx(7.5)
    assert folded[0].bias.item() == pytest.approx(-4.0)
    assert _norms(folded) == 0
    assert network[0].weight.item() == 3.0  # what was given is as it was


@pytest.mark.parametrize("name", ["tsn_resnet18", "tsn_resnet18:spread", "tsn_efficientnet_lite0"])
def test_a_trunk_gives_the_same_features(name: str) -> None:
    weights = "imagenet" if "lite" in name else None
    trunk = build_network(name, 2, weights).trunk.eval()
    if weights is None:
        _upset(trunk)
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    clips = trunk.to_input(torch.randint(0, 256, (2, 3, 64, 64, 3), dtype=torch.uint8))
    folded = trunk.folded()
    assert _norms(folded) == 0 < _norms(trunk)
    with torch.inference_mode():
        plain, fast = trunk(clips), folded(clips)
    assert (plain - fast).abs().max() < 1e-3 * plain.abs().max()
    assert all(torch.equal(value, before[key]) for key, value in trunk.state_dict().items())


def test_a_norm_whose_input_is_read_twice_stays() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = self.conv(x)
            return made + self.norm(made)

    network = Branches()
    _upset(network)
    network.eval()
    example = torch.rand(1, 3, 8, 8)
    folded = fold_batch_norms(network, example)
    assert torch.equal(folded(example), network(example))


def _in_place(network: nn.Module) -> list[bool]:
    return [bool(m.inplace) for m in network.modules() if hasattr(m, "inplace")]


def test_activations_work_in_place() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.Conv2d(4, 2, 1), nn.SiLU())
    folded = fold_batch_norms(network, torch.rand(1, 3, 8, 8))
    assert _in_place(folded) == [True, True]
    assert _in_place(network) == [False, False]
    clip = torch.randn(2, 3, 9, 9)
    kept = clip.clone()
    with torch.inference_mode():
        assert torch.equal(folded(clip), network(clip))
    assert torch.equal(clip, kept)


@pytest.mark.parametrize("first", [True, False])
def test_what_is_read_again_is_not_overwritten(first: bool) -> None:
    """A shortcut around an activation, and an activation of the input itself."""

    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 3, 1), nn.ReLU()

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            maps = frames if first else self.conv(frames)
            return self.conv(self.act(maps)) if first else maps + self.act(maps)

    torch.manual_seed(0)
    network = Shortcut()
    folded = fold_batch_norms(network, torch.linspace(-1, 1, 192).view(1, 3, 8, 8))
    assert _in_place(folded) == [False]


def test_padding_in_the_convolution_is_the_same() -> None:
    """EfficientNet-Lite0 as its package has it, and as it is here."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    ours = build_network("tsn_efficientnet_lite0", 2, None).trunk.eval().get_submodule("frames")
    ours.load_state_dict(theirs.state_dict(), strict=False)
    padded = [m for m in ours.modules() if isinstance(getattr(m, "static_padding", None),
                                                      nn.ZeroPad2d)]  # fmt: skip
    assert len(padded) == 5  # of stride 2: one side gets more
    frames = torch.randn(2, 3, 112, 112)
    with torch.inference_mode():
        assert torch.equal(ours.extract_features(frames), theirs.extract_features(frames))


def test_a_3d_network_is_left_as_it_is() -> None:
    trunk = build_trunk("tiny3d")
    assert trunk.folded() is trunk
