"""Networks by name: trunk and head, input scaling, weight files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from l2a import devices
from l2a.checkpoints import load_tensors, save_tensors
from l2a.errors import InputError
from l2a.networks import NETWORKS, build_network, build_trunk
from l2a.trunk import MEAN, STD, Trunk


@pytest.mark.parametrize("name", [*sorted(set(NETWORKS) - {"tsn_timm"}), "tsn_timm:test_resnet"])
def test_logits_are_the_head_of_the_pooled_features(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 5).eval()
    clips = torch.randn(2, 3, 8, 32, 40)
    with torch.inference_mode():
        features = network.forward_features(clips)
        assert features.shape[:2] == (2, network.feature_dim)
        assert features.ndim == 5
        pooled = network.pool(features)
        torch.testing.assert_close(pooled, features.mean(dim=(2, 3, 4)), atol=1e-5, rtol=1e-4)
        assert torch.equal(network.trunk(clips), pooled)
        assert torch.equal(network(clips), network.head(pooled))


@pytest.mark.parametrize(("name", "head"), [("r3d_18", "fc"), ("swin3d_t", "head")])
def test_networks_are_torchvisions_and_their_files_keep_torchvisions_names(
    name: str, head: str
) -> None:
    """What the version before wrote: "trunk." and torchvision's own names, and "head."."""
    from torchvision.models import video

    torch.manual_seed(0)
    theirs = getattr(video, name)(num_classes=7).eval()
    ours = build_network(name, 7).eval()
    state = theirs.state_dict()
    last = {f"head.{k}": state.pop(f"{head}.{k}") for k in ("weight", "bias")}
    ours.load_state_dict({f"trunk.{key}": value for key, value in state.items()} | last)
    clips = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        assert torch.equal(ours(clips), theirs(clips))


def test_the_names_of_tiny3d_are_those_of_a_sequence() -> None:
    names = [key for key in build_trunk("tiny3d").state_dict() if key.endswith("weight")]
    assert names == [f"{i}.weight" for i in (0, 1, 3, 4, 6, 7, 9, 10)]


def test_a_fresh_head_finds_all_classes_as_likely() -> None:
    network = build_network("tiny3d", 4)
    assert network(torch.randn(1, 3, 4, 32, 32)).any()
    network.fresh_head()
    assert not network(torch.randn(1, 3, 4, 32, 32)).any()


class Recorder(Trunk):
    """Notes what every forward pass computes in."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Sequential(torch.nn.Conv3d(3, 2, 1)), 2)
        self.seen: list[torch.dtype] = []

    def _features(self, clips: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.get_submodule("0")(clips)
        self.seen.append(features.dtype)
        return features


def test_bfloat16_is_for_a_gpu_and_the_cpu_says_that_it_computes_in_float32(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, clips = torch.device("cpu"), torch.randn(1, 3, 2, 4, 4)
    caplog.set_level("INFO", logger="l2a")
    devices._say_once.cache_clear()
    trunk = Recorder().move_to(cpu, "bfloat16").move_to(cpu, "bfloat16")
    assert caplog.text.count("on cpu networks compute in float32") == 1
    trunk(clips)
    monkeypatch.setattr("l2a.devices.MIXED_PRECISION_ON", ("cpu",))
    trunk.move_to(cpu, "bfloat16")
    features = trunk.forward_features(clips)
    assert trunk.seen == [torch.float32, torch.bfloat16]
    assert features.dtype == trunk(clips).dtype == torch.float32


def test_a_trunk_has_a_normalisation_of_its_own() -> None:
    class Plain(Recorder):
        mean, std = (0.0, 0.5, 1.0), (1.0, 0.5, 0.25)

    got = Plain().to_input(torch.full((1, 1, 1, 1, 3), 255, dtype=torch.uint8))
    assert got.flatten().tolist() == pytest.approx([1.0, 1.0, 0.0], abs=1e-6)


def test_input_is_normalised_by_kinetics_statistics() -> None:
    clips = torch.zeros(1, 2, 3, 4, 3, dtype=torch.uint8)
    clips[0, 1, 2, 3] = torch.tensor([255, 51, 0])
    got = build_network("tiny3d", 2).to_input(clips)
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
