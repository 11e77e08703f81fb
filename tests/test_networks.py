"""Networks by name: trunk and head, input scaling, weight files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from l2a.checkpoints import load_tensors, save_tensors
from l2a.errors import InputError
from l2a.networks import MEAN, NETWORKS, STD, build_network, build_trunk, to_input


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_logits_are_the_head_of_the_trunk(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 5).eval()
    clips = torch.randn(2, 3, 8, 32, 40)
    with torch.inference_mode():
        features = network.trunk(clips)
        assert features.shape == (2, network.feature_dim)
        assert torch.equal(network(clips), network.head(features))


def test_r3d_18_is_torchvisions() -> None:
    from torchvision.models.video import r3d_18

    torch.manual_seed(0)
    theirs = r3d_18(num_classes=7).eval()
    ours = build_network("r3d_18", 7).eval()
    state = theirs.state_dict()
    ours.head.load_state_dict({k: state.pop(f"fc.{k}") for k in ("weight", "bias")})
    ours.trunk.load_state_dict(state)
    clips = torch.randn(1, 3, 4, 16, 16)
    with torch.inference_mode():
        assert torch.equal(ours(clips), theirs(clips))


def test_input_is_normalised_by_kinetics_statistics() -> None:
    clips = torch.zeros(1, 2, 3, 4, 3, dtype=torch.uint8)
    clips[0, 1, 2, 3] = torch.tensor([255, 51, 0])
    got = to_input(clips)
    assert got.shape == (1, 3, 2, 3, 4)
    expected = (np.array([1.0, 0.2, 0.0]) - MEAN) / STD
    np.testing.assert_allclose(got[0, :, 1, 2, 3], expected, rtol=1e-5)
    np.testing.assert_allclose(got[0, :, 0, 0, 0], -np.array(MEAN) / STD, rtol=1e-5)


def test_a_weight_file_with_another_number_of_classes_gives_its_trunk(tmp_path: Path) -> None:
    torch.manual_seed(1)
    kinetics = build_network("tiny3d", 400)
    path = tmp_path / "weights.safetensors"
    save_tensors(path, kinetics.state_dict())
    got = build_network("tiny3d", 3, str(path))
    for key, value in kinetics.trunk.state_dict().items():
        assert torch.equal(got.trunk.state_dict()[key], value)
    assert got.head.out_features == 3


def test_a_pth_file_with_the_wrong_checksum_in_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pth"
    torch.save(build_network("tiny3d", 2).trunk.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    good = path.rename(tmp_path / f"tiny-{digest[:8]}.pth")
    build_network("tiny3d", 2, str(good))
    bad = good.rename(tmp_path / "tiny-00000000.pth")
    with pytest.raises(InputError, match="SHA-256"):
        build_network("tiny3d", 2, str(bad))


class Bomb:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("the pickle ran",)


def test_a_pickle_is_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bomb.pth"
    torch.save({"x": Bomb()}, path)
    with pytest.raises(InputError, match="more than tensors"):
        build_network("tiny3d", 2, str(path))
    assert "the pickle ran" not in capsys.readouterr().out


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, build_network("tiny3d", 2).state_dict())
    with pytest.raises(InputError, match="does not hold a trunk of mc3_18"):
        build_network("mc3_18", 2, str(path))


def test_an_unknown_network_is_answered_with_the_names() -> None:
    with pytest.raises(InputError, match=r"no network 'resnet'.*r3d_18"):
        build_trunk("resnet")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"x": torch.arange(5)}, {"epoch": 3})
    tensors, values = load_tensors(path)
    assert torch.equal(tensors["x"], torch.arange(5))
    assert values == {"epoch": 3}
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="damaged"):
        load_tensors(path)
