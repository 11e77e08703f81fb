"""The teacher of distillation: how networks see frames, and the table of what they say."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from banks import make_bank
from safetensors.torch import save_file
from torch import Tensor, nn

from l2a import image_classifiers, weights
from l2a.clips import ClipBank
from l2a.errors import InputError
from l2a.image_classifiers import ImageClassifier, Kind, Preset, make_image_classifier
from train.semi_supervised.teacher import Teacher, TeacherTable, rows_of_training

ROWS = np.array([0, 1, 2, 5])


class Tiny(nn.Module):
    """Mean of red, green and blue ─► K logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.fc = nn.Linear(3, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(images.mean(dim=(2, 3)))
        return logits


PLAIN = Preset(8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def tiny_teacher(classes: int = 5, seed: int = 0) -> Teacher:
    torch.manual_seed(seed)
    return Teacher(ImageClassifier("tiny", Tiny(classes), classes, PLAIN), torch.device("cpu"))


@pytest.fixture
def bank(tmp_path: Path) -> ClipBank:
    return make_bank(tmp_path / "bank", rows=6)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each call asked a teacher about."""
    calls: list[int] = []
    asked = Teacher.log_probabilities

    def count(self: Teacher, frames: Tensor) -> Tensor:
        calls.append(len(frames))
        return asked(self, frames)

    monkeypatch.setattr(Teacher, "log_probabilities", count)
    return calls


# How frames are prepared


def test_a_frame_is_cut_in_its_centre_and_normalised() -> None:
    frame = torch.zeros(1, 4, 8, 3, dtype=torch.uint8)
    frame[..., 2:6, 0] = 255  # red in the centre square
    seen = Preset(4, 4, (0.5, 0.0, 0.0), (0.5, 1.0, 1.0))(frame)
    assert seen.shape == (1, 3, 4, 4)
    assert seen[0, 0].unique().tolist() == [1.0]
    assert seen[0, 1:].unique().tolist() == [0.0]


@pytest.mark.parametrize("size", [(6, 9), (9, 6), (3, 3), (24, 50)])
def test_any_frame_becomes_a_square(size: tuple[int, int]) -> None:
    frames = torch.full((2, *size, 3), 51, dtype=torch.uint8)
    for interpolation in ("bilinear", "bicubic"):
        seen = Preset(8, 7, PLAIN.mean, PLAIN.std, interpolation)(frames)  # type: ignore[arg-type]
        assert seen.shape == (2, 3, 7, 7)
        torch.testing.assert_close(seen, torch.full_like(seen, 0.2))


def test_probabilities_by_hand() -> None:
    classifier = ImageClassifier("tiny", Tiny(2), 2, PLAIN)
    with torch.no_grad():
        classifier.network.fc.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 0]]))  # type: ignore[union-attr]
        classifier.network.fc.bias.zero_()  # type: ignore[union-attr]
    frames = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    frames[1, ..., 0] = 255
    found = Teacher(classifier, torch.device("cpu")).probabilities(frames)
    # Logits (0, 0) and (1, 0).
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [0.731059, 0.268941]]))


# Which network, and its weights


@pytest.fixture
def tiny_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """resnet18 is `Tiny`, whose ImageNet weights are not here."""

    def absent() -> dict[str, Tensor]:
        raise InputError("They cannot be fetched; put the file from URL at PLACE.")

    monkeypatch.setattr(
        image_classifiers, "_torchvision", lambda name: Kind(Tiny, absent, PLAIN)
    )  # fmt: skip


@pytest.mark.parametrize("classes", [1000, 7])
def test_a_file_says_how_many_classes(tiny_kind: None, tmp_path: Path, classes: int) -> None:
    state = Tiny(classes).state_dict()
    save_file(state, tmp_path / "tiny.safetensors")
    found = make_image_classifier(f"resnet18:{tmp_path / 'tiny.safetensors'}")
    assert found.classes == classes
    assert not found.network.training
    assert torch.equal(found.network.state_dict()["fc.weight"], state["fc.weight"])


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"fc.weight": torch.zeros(5, 3)}, "lacks fc.bias"),
        (dict(Tiny(5).state_dict()) | {"conv.weight": torch.zeros(1)}, "also holds conv.weight"),
        ({"fc.weight": torch.zeros(5, 4), "fc.bias": torch.zeros(5)}, "fc.weight is [5, 4], not"),
        ({"fc.weight": torch.zeros(5, 3), "fc.bias": torch.zeros(6)}, "fc.bias is [6], not [5]"),
        ({"fc.weight": torch.zeros(()), "fc.bias": torch.zeros(6)}, "fc.weight is [], not"),
    ],
)
def test_another_network_s_file_is_refused(
    tiny_kind: None, tmp_path: Path, state: dict[str, Tensor], said: str
) -> None:
    file = tmp_path / "other.safetensors"
    save_file(state, file)
    with pytest.raises(InputError, match="does not fit resnet18") as error:
        make_image_classifier(f"resnet18:{file}")
    assert said in str(error.value)
    assert str(file) in str(error.value)


def test_a_damaged_file_is_refused(tiny_kind: None, tmp_path: Path) -> None:
    file = tmp_path / "tiny.pth"
    file.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"tiny\.pth is damaged"):
        make_image_classifier(f"resnet18:{file}")


def test_absent_weights_say_what_to_do(tiny_kind: None) -> None:
    with pytest.raises(InputError, match=r"PLACE, or give --teacher resnet18:FILE\.$"):
        make_image_classifier("resnet18")
    with pytest.raises(InputError, match="names no file after the colon; give resnet18:FILE"):
        make_image_classifier("resnet18:")


@pytest.mark.parametrize(
    ("name", "said"), [("resnet81", "resnet"), ("efficientnetlite0", "efficientnet_lite0"),
                       ("%%", "one is efficientnet_lite0")],
)  # fmt: skip
def test_an_unknown_name_is_answered_with_near_ones(name: str, said: str) -> None:
    with pytest.raises(InputError, match=f"no image network '{name}' for --teacher; .*{said}"):
        make_image_classifier(name)


def test_torchvision_s_presets_and_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = image_classifiers._torchvision("resnet18").preset
    assert preset == Preset(256, 224)
    assert image_classifiers._torchvision("inception_v3").preset.crop == 299
    assert image_classifiers._torchvision("swin_t").preset.interpolation == "bicubic"
    monkeypatch.setattr(weights, "hub_folder", lambda: tmp_path)
    (tmp_path / "resnet18-f37072fd.pth").write_bytes(b"another file")
    with pytest.raises(InputError, match=r"has the SHA-256 .* or give --teacher resnet18:FILE\."):
        make_image_classifier("resnet18")


def test_old_names_of_densely_connected_networks() -> None:
    old = "features.denseblock1.denselayer12.norm.1.weight"
    assert list(image_classifiers._renamed({old: torch.zeros(1)})) == [
        "features.denseblock1.denselayer12.norm1.weight"
    ]


def test_the_packaged_network_knows_a_picture_from_noise() -> None:
    """EfficientNet-Lite0 with its real weights and its head."""
    classifier = make_image_classifier("efficientnet_lite0")
    assert classifier.classes == 1000
    frame = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    frame[:, 8:56, 8:56] = torch.tensor([230, 120, 20], dtype=torch.uint8)
    found = Teacher(classifier, torch.device("cpu")).probabilities(frame)
    assert found.shape == (1, 1000)
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    assert float(found.max()) > 0.05  # 0.001 were it a head without weights


# The table


def test_it_holds_what_the_teacher_says(bank: ClipBank) -> None:
    teacher = tiny_teacher()
    table = TeacherTable.beside(bank, ROWS, teacher)
    found = table.of(np.array([5, 0, 5]), np.array([3, 0, 1]))
    frames = torch.from_numpy(np.stack([bank.frames[5, 3], bank.frames[0, 0], bank.frames[5, 1]]))
    torch.testing.assert_close(found, teacher.probabilities(frames), rtol=2e-3, atol=1e-5)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3))
    assert table.folder == bank.folder / "teacher" / teacher.identity


def test_nothing_is_computed_twice_or_unasked(bank: ClipBank, counted: list[int]) -> None:
    table = TeacherTable.beside(bank, ROWS, tiny_teacher())
    table.of(np.array([1, 1]), np.array([0, 2]))
    table.fill(np.array([1, 2]))
    TeacherTable.beside(bank, ROWS, tiny_teacher()).fill(np.array([2, 1]))
    assert counted == [4, 4]
    state = np.load(table.folder / "state.npy")
    assert state.tolist() == [0, 1, 1, 0, 0, 0]
    assert not np.load(table.folder / "values.npy")[[0, 3, 4, 5]].any()


def test_a_killed_filling_goes_on_to_the_same_bytes(
    bank: ClipBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_bank(tmp_path / "other", rows=6)
    TeacherTable.beside(whole, ROWS, tiny_teacher()).fill(ROWS)
    table, asked = TeacherTable.beside(bank, ROWS, tiny_teacher()), Teacher.log_probabilities

    def killed(self: Teacher, frames: Tensor) -> Tensor:
        if table.computed == 8:
            raise KeyboardInterrupt
        return asked(self, frames)

    monkeypatch.setattr(Teacher, "log_probabilities", killed)
    with pytest.raises(KeyboardInterrupt):
        table.fill(ROWS)
    monkeypatch.setattr(Teacher, "log_probabilities", asked)
    again = TeacherTable.beside(bank, ROWS, tiny_teacher())
    again.fill(ROWS)
    assert again.computed == 8
    for name in ("values.npy", "state.npy"):
        place = again.folder.relative_to(bank.folder) / name
        assert (bank.folder / place).read_bytes() == (whole.folder / place).read_bytes()


def test_a_teacher_sees_no_validation_or_test_video(bank: ClipBank, counted: list[int]) -> None:
    table = TeacherTable.beside(bank, ROWS, tiny_teacher())
    with pytest.raises(ValueError, match="v3 is no video to train on"):
        table.of(np.array([0, 3]), np.array([0, 0]))
    with pytest.raises(ValueError, match="v4 is no video to train on"):
        table.fill(np.array([4]))
    assert counted == []


def test_the_rows_of_training() -> None:
    rows = {"train": np.array([4, 1]), "val": np.array([0]), "test": np.array([2])}
    assert rows_of_training(rows).tolist() == [1, 4]
    assert rows_of_training(rows | {"unlabelled": np.array([3, 1])}).tolist() == [1, 3, 4]
    with pytest.raises(ValueError, match="row 2 is of training and of test"):
        rows_of_training(rows | {"unlabelled": np.array([2])})


def test_a_video_without_a_clip_is_refused(bank: ClipBank) -> None:
    bank.mark_unreadable(1, "damaged")
    with pytest.raises(ValueError, match="v1 has no clip"):
        TeacherTable.beside(bank, ROWS, tiny_teacher()).fill(ROWS)


def test_another_teacher_has_another_table(bank: ClipBank) -> None:
    first, second = (
        TeacherTable.beside(bank, ROWS, tiny_teacher(seed=seed)) for seed in (0, 1)
    )  # fmt: skip
    assert first.folder != second.folder
    assert tiny_teacher().identity == tiny_teacher().identity


def test_in_another_process_it_is_read_alone(bank: ClipBank) -> None:
    table = TeacherTable.beside(bank, ROWS, tiny_teacher())
    table.fill(np.array([0]))
    sent: TeacherTable = pickle.loads(pickle.dumps(table))  # noqa: S301 (our own)
    where = np.array([0]), np.array([2])
    assert torch.equal(sent.of(*where), table.of(*where))
    with pytest.raises(ValueError, match=r"v1 is not in .*; fill the table before"):
        sent.of(np.array([1]), np.array([0]))


def test_a_damaged_table_is_one_sentence(bank: ClipBank) -> None:
    table = TeacherTable.beside(bank, ROWS, tiny_teacher())
    (table.folder / "values.npy").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"values\.npy cannot be used .* to fill it again"):
        TeacherTable.beside(bank, ROWS, tiny_teacher())


def test_a_table_of_another_bank_is_filled_again(bank: ClipBank, counted: list[int]) -> None:
    TeacherTable.beside(bank, ROWS, tiny_teacher()).fill(ROWS[:1])
    bank.fingerprint = "another"
    TeacherTable.beside(bank, ROWS, tiny_teacher()).fill(ROWS[:1])
    assert counted == [4, 4]


def _fill_beside(folder: Path) -> None:
    torch.set_num_threads(1)
    TeacherTable.beside(ClipBank.open(folder), ROWS, tiny_teacher()).fill(ROWS)


def test_two_processes_share_the_work(bank: ClipBank, counted: list[int]) -> None:
    """What the other has computed is not computed again, whoever comes first."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    other = multiprocessing.get_context("fork").Process(target=_fill_beside, args=(bank.folder,))
    other.start()
    table = TeacherTable.beside(bank, ROWS, tiny_teacher())
    table.fill(ROWS)
    other.join()
    assert other.exitcode == 0
    assert np.load(table.folder / "state.npy")[ROWS].all()
    alone = make_bank(bank.folder.parent / "alone", rows=6)
    values = TeacherTable.beside(alone, ROWS, tiny_teacher())
    values.fill(ROWS)
    for name in ("values.npy", "state.npy"):
        assert (table.folder / name).read_bytes() == (values.folder / name).read_bytes()
