"""Semi-supervised objectives: what must hold whatever the numbers."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from semi import METHODS, TEACHER_CLASSES, micro, semi_batch
from torch import Tensor

from l2a.errors import InputError
from l2a.networks import VideoNetwork
from train.arms import ArmPlan
from train.objectives import Objective
from train.objectives.confidence import masked_cross_entropy, pseudo_labels
from train.objectives.parts import ObjectiveSettings, Training
from train.objectives.supervised import Supervised, soft_cross_entropy
from train.objectives.table import OBJECTIVES, find_method
from train.objectives.tcl import TCL
from train.parts import Part
from train.semi_supervised.batches import SemiBatch
from train.settings.full import ClassifierSettings
from train.trainer import Trainer, TrainingJob, weighed

STEPS = 40
LATE = STEPS - 1
"""A step at which every ramp is at its height, and TCL labels."""
SETTINGS = ObjectiveSettings(threshold=0.5)
THRESHOLDS = ["pseudo-label", "fixmatch", "actorcut", "actorcut-id", "tcl"]

every = pytest.mark.parametrize("name", METHODS)


def made(
    name: str, network: VideoNetwork, settings: ObjectiveSettings = SETTINGS, seed: int = 0
) -> Objective[SemiBatch]:
    """An objective for a training of `STEPS`."""
    return METHODS[name].make(settings, Training(network, STEPS, TEACHER_CLASSES, seed))


def needed(name: str, batch: SemiBatch) -> SemiBatch:
    """The batch with the views alone that a method says it needs."""
    views = {*METHODS[name].views, "labelled", "weak"}
    if "cut" in views:
        views |= {"partners", "cut_weight"}
    left_out: dict[str, Any] = {f.name: None for f in fields(batch) if f.name not in views}
    return replace(batch, **left_out)


def gradients(network: VideoNetwork, total: Tensor) -> list[Tensor]:
    """Of a loss to all weights of the network; zeros where it does not reach."""
    found = torch.autograd.grad(total, list(network.parameters()), allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(network.parameters(), found, strict=True)
    ]


def assert_alike(first: list[Tensor], second: list[Tensor]) -> None:
    for one, two in zip(first, second, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)


@every
def test_a_method_lives_on_the_views_that_it_names(name: str) -> None:
    network = micro()
    for step in (0, STEPS // 2, LATE):
        loss = made(name, network).loss(network, needed(name, semi_batch()), step)
        assert torch.isfinite(loss.total)
        assert not any(figure.requires_grad for figure in loss.figures.values())
        if name != "distilled":
            assert 0 <= loss.figures["utilisation"] <= 1
        assert sum(abs(g).sum() for g in gradients(network, loss.total)) > 0


@every
def test_without_weight_it_is_supervised_learning(name: str) -> None:
    network, batch = micro(), semi_batch()
    none = ObjectiveSettings(0.5, unlabelled_weight=0.0, distillation_weight=0.0)
    expected = Supervised().loss(network, batch.labelled).total
    for step in (0, STEPS // 2, LATE):
        loss = made(name, network, none).loss(network, batch, step)
        if name == "s4l":  # classes are asked for in all four rotations
            continue
        assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
        assert_alike(gradients(network, loss.total), gradients(network, expected))
        expected = Supervised().loss(network, batch.labelled).total


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_threshold_above_1_leaves_a_loss_of_0_on_the_graph(name: str) -> None:
    network, batch = micro(), semi_batch()
    high = ObjectiveSettings(1.01, distillation_weight=0.0)
    loss = made(name, network, high).loss(network, batch, LATE)
    assert loss.figures["utilisation"] == 0
    expected = Supervised().loss(network, batch.labelled).total
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.total.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@every
def test_the_order_of_the_clips_is_of_no_concern(name: str) -> None:
    network, batch = micro(), semi_batch()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    moved = {f.name: getattr(batch, f.name)[order] for f in fields(batch) if f.name != "labelled"}
    moved["partners"] = place[moved["partners"]]
    for step in (STEPS // 2, LATE):
        first, second = (
            made(name, network).loss(network, one, step).total
            for one in (batch, replace(batch, **moved))
        )
        assert first.item() == pytest.approx(second.item(), rel=1e-5)


@every
def test_parts_of_a_batch_learn_what_the_whole_does(name: str) -> None:
    """Gradients of processes that share a batch, or of its pieces, are averaged."""
    network, batch = micro(), semi_batch(count=8)
    assert batch.partners is not None
    partners = batch.partners.clone()
    partners[5] = 5  # on whose scene clip 2 still stands
    batch = needed(name, replace(batch, partners=partners))
    step = LATE  # the contrast of TCL, before, is of the clips that are there
    whole = made(name, network).loss(network, batch, step)
    parts = [made(name, network).loss(network, batch.part(i, 2), step) for i in range(2)]
    mean = sum(part.total.item() for part in parts) / 2
    assert whole.total.item() == pytest.approx(mean, rel=1e-5)
    for key, value in whole.figures.items():
        both = sum(float(part.figures[key]) for part in parts) / 2
        assert float(value) == pytest.approx(both, rel=1e-5, abs=1e-7), key


@every
@pytest.mark.parametrize("most", [3, 6])
def test_uneven_parts_of_a_batch_learn_what_the_whole_does(name: str, most: int) -> None:
    """Three labelled and eight unlabelled clips in two or three parts: each clip weighs the same,
    whichever part it is in. Two that ActorCut cut stay together."""
    network, batch = micro(), semi_batch(count=8)
    batch = replace(batch, labelled=batch.labelled._each(lambda rows: rows[:3]))
    batch, objective = needed(name, batch), made(name, network)
    whole = objective.loss(network, batch, LATE)
    pieces = list(Part(batch, len(batch), batch.terms).pieces(most))
    assert len(pieces) == {3: 3, 6: 2}[most]
    assert max(len(piece) for piece, _ in pieces) > min(len(piece) for piece, _ in pieces)
    parts = [weighed(objective.loss(network, piece, LATE), weights) for piece, weights in pieces]
    assert whole.total.item() == pytest.approx(sum(part.item() for part in parts), rel=1e-5)


def test_weights_of_labelled_and_unlabelled_clips_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven labelled and eight unlabelled clips over two processes: 4 and 4, and 3 and 4."""
    batch = semi_batch(count=8)
    seven = batch.labelled._each(lambda rows: torch.cat([rows, rows])[:7])
    batch = replace(batch, labelled=seven, partners=None, cut=None)
    monkeypatch.setattr("train.parts.world", lambda: 2)
    weights = [
        [tuple(found) for _, found in Part(batch.part(i, 2), 15, batch.terms).pieces(None)]
        for i in range(2)
    ]
    assert weights == [[(8 / 7, 1.0)], [(6 / 7, 1.0)]]  # of which the mean is taken


@every
@pytest.mark.parametrize("most", [1, 2])
def test_a_micro_batch_is_never_smaller_than_a_batch_can_be_divided(name: str, most: int) -> None:
    """Four labelled and six unlabelled clips, cut in pairs: three parts, and four without."""
    batch = needed(name, semi_batch(count=6))
    pieces = list(Part(batch, len(batch), batch.terms).pieces(most))
    assert len(pieces) == (4 if batch.partners is None else 3)


def test_the_statistics_of_a_teachers_own_passes_are_averaged_over_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Batches:
        steps_per_epoch = 1

        def __init__(self, batch: SemiBatch) -> None:
            self._batch = batch

        def __len__(self) -> int:
            return 1

        def __getitem__(self, step: int) -> SemiBatch:
            return self._batch

    averaged: list[int] = []
    monkeypatch.setattr(
        "train.trainer.average", lambda tensors: averaged.extend(id(one) for one in tensors)
    )
    for name, own in (("mean-teacher", True), ("fixmatch", False)):
        network = micro(normalised=True)
        objective = made(name, network)
        batches = Batches(needed(name, semi_batch()))
        job = TrainingJob(network, objective, batches, ClassifierSettings(epochs=1), 0)
        Trainer(job).train()
        teacher = [id(one) for one in objective.final(network).buffers() if one.is_floating_point()]
        assert len(teacher) == 2
        assert set(teacher) <= set(averaged) if own else not set(teacher) & set(averaged)
        assert {id(one) for one in network.buffers() if one.is_floating_point()} <= set(averaged)


def test_a_cut_clip_stays_with_the_one_whose_scene_it_has() -> None:
    batch = semi_batch(count=8)
    parts = [batch.part(i, 2) for i in range(2)]
    assert [len(part.weak) for part in parts] == [4, 4]
    assert [part.partners.tolist() for part in parts] == [[3, 2, 1, 0]] * 2  # type: ignore[union-attr]
    assert torch.equal(parts[1].weak, batch.weak[[1, 3, 4, 6]])
    assert torch.equal(parts[1].labelled.clips, batch.labelled.clips[1::2])
    assert batch.part(0, 1) is batch


def test_a_batch_that_is_too_small_for_its_parts_is_refused() -> None:
    batch = semi_batch(count=6)
    with pytest.raises(InputError, match=r"4 labelled and 6 unlabelled clips.* in 4 parts"):
        batch.part(0, 4)
    assert len(replace(batch, partners=None, cut=None).part(3, 4).weak) == 1


def test_fixmatch_learns_from_the_strong_clips_alone() -> None:
    """The pseudo-labels of the weak ones are constants."""
    network, batch = micro(), semi_batch()
    assert batch.strong is not None
    with torch.no_grad():
        weak = network(network.to_input(batch.weak))
    threshold = weak.softmax(1).amax(1).median().item()
    loss = made("fixmatch", network, ObjectiveSettings(threshold)).loss(network, batch, 0)
    assert 0 < loss.figures["utilisation"] < 1
    classes, kept = pseudo_labels(weak, threshold)
    strong = network(network.to_input(batch.strong))
    supervised = Supervised().loss(network, batch.labelled).total
    expected = supervised + masked_cross_entropy(strong, classes, kept)
    assert_alike(gradients(network, loss.total), gradients(network, expected))


def test_mean_teacher_has_weight_50_at_its_height_and_a_teacher_without_gradient() -> None:
    network, batch = micro(), semi_batch()
    objective = made("mean-teacher", network)
    parts = [objective.loss(network, batch, step) for step in (0, 8, 16, LATE)]
    labelled, unlabelled = (parts[0].figures[name].item() for name in ("labelled", "unlabelled"))
    assert unlabelled > 0
    totals = [part.total.item() for part in parts]
    expected = [labelled + weight * unlabelled for weight in (0, 25, 50, 50)]
    assert totals == pytest.approx(expected, rel=1e-5)
    assert not any(p.requires_grad for p in objective.final(network).parameters())


def test_mean_teacher_has_batch_statistics_of_its_own() -> None:
    network, batch = micro(normalised=True), semi_batch()
    objective = made("mean-teacher", network)
    objective.loss(network, batch, 0)
    teacher = objective.final(network)
    mine, own = (
        [b for name, b in one.named_buffers() if name.endswith("running_mean")]
        for one in (network, teacher)
    )
    assert own[0].abs().sum() > 0
    assert not torch.equal(mine[0], own[0])


def test_actorcut_by_hand() -> None:
    """With sure weak guesses it is cross-entropy of the cut clips against mixed guesses."""
    network, batch = micro(), semi_batch()
    assert batch.cut is not None
    assert batch.cut_weight is not None
    objective = made("actorcut", network, ObjectiveSettings(threshold=0.0))
    loss = objective.loss(network, batch, 0)
    guesses = network(network.to_input(batch.weak)).argmax(1)
    own = torch.eye(3)[guesses]
    labels = batch.cut_weight[:, None] * own + (1 - batch.cut_weight[:, None]) * own.flip(0)
    expected = soft_cross_entropy(network(network.to_input(batch.cut)), labels)
    assert loss.figures["unlabelled"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.figures["cut"] == 1


def test_videossl_learns_from_the_targets_that_are_there() -> None:
    network, batch = micro(), semi_batch()
    assert batch.targets is not None
    none = ObjectiveSettings(distillation_weight=0.0)
    loss = made("videossl", network, none).loss(network, batch, 0)
    assert loss.figures["utilisation"].item() == pytest.approx(4 / 6)
    there = batch.targets.sum(1) > 0
    logits = network(network.to_input(batch.weak[there]))
    expected = soft_cross_entropy(logits, batch.targets[there]) * 4 / 6
    assert loss.figures["unlabelled"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_s4l_asks_for_classes_in_all_four_rotations() -> None:
    network, batch = micro(), semi_batch()
    loss = made("s4l", network).loss(network, batch, 0)
    alone = [
        soft_cross_entropy(
            network(network.to_input(torch.rot90(batch.labelled.clips, k, (2, 3)))),
            batch.labelled.labels,
        ).item()
        for k in range(4)
    ]
    assert loss.figures["labelled"].item() == pytest.approx(sum(alone) / 4, rel=1e-5)
    total = loss.figures["labelled"] + loss.figures["unlabelled"]
    assert loss.total.item() == pytest.approx(total.item(), rel=1e-5)


def test_tcl_learns_in_three_parts() -> None:
    network, batch = micro(), semi_batch()
    objective = TCL(SETTINGS, Training(network, STEPS))

    def parts(step: int) -> set[str]:
        figures = objective.loss(network, batch, step).figures
        return {name for name in ("instance", "group", "pseudo") if figures[name] > 0}

    assert [parts(step) for step in (0, 4)] == [set(), set()]
    assert all("instance" in parts(step) and "pseudo" not in parts(step) for step in (5, 34))
    assert [parts(step) for step in (35, 39)] == [{"pseudo"}, {"pseudo"}]
    middle = objective.loss(network, batch, 20)
    expected = sum(
        weight * middle.figures[name].item()
        for name, weight in {"labelled": 1, "instance": 9, "group": 1}.items()
    )
    assert middle.total.item() == pytest.approx(expected, rel=1e-5)


# Going on.


def trained(
    name: str, steps: range, network: VideoNetwork, objective: Objective[SemiBatch]
) -> dict[str, Tensor]:
    """Some steps without momentum; gives all that there is after them."""
    optimiser = torch.optim.SGD([*network.parameters(), *objective.parameters()], lr=0.05)
    for step in steps:
        optimiser.zero_grad()
        objective.loss(network, needed(name, semi_batch(step)), step + STEPS // 2).total.backward()
        optimiser.step()
        objective.after_step(network, step)
    return {
        **{f"network.{key}": value for key, value in network.state_dict().items()},
        **{f"objective.{key}": value for key, value in objective.state_dict().items()},
        **{f"final.{key}": value for key, value in objective.final(network).state_dict().items()},
    }


@every
def test_what_goes_on_ends_as_what_never_stopped(name: str) -> None:
    network = micro(normalised=True)
    begun = {key: value.clone() for key, value in network.state_dict().items()}
    whole = trained(name, range(3), network, made(name, network))
    network = micro(normalised=True)
    objective = made(name, network)
    trained(name, range(1), network, objective)
    kept = {key: value.clone() for key, value in objective.state_dict().items()}
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    # Another process, whose network and heads began as others.
    network = micro(7, normalised=True)
    objective = made(name, network, seed=7)
    network.load_state_dict(weights)
    objective.load_state_dict(kept)
    again = trained(name, range(1, 3), network, objective)
    assert again.keys() == whole.keys()
    for key, value in whole.items():
        assert torch.equal(value, again[key]), key
    assert any(not torch.equal(whole[f"network.{key}"], value) for key, value in begun.items())
    heads = [key for key in whole if key.startswith("objective.")]
    assert bool(heads) == (name not in ("actorcut", "tcl"))


@pytest.mark.parametrize("name", ["pseudo-label", "mean-teacher", "fixmatch"])
def test_the_moving_average_is_what_is_tested(name: str) -> None:
    """At first it is the mean of the weights after every step."""
    network = micro()
    objective = made(name, network)
    after = []
    for step in range(3):
        trained(name, range(step, step + 1), network, objective)
        after.append(network.head.weight.detach().clone())
    final = objective.final(network)
    assert final.name == network.name
    assert not torch.equal(after[0], after[2])
    torch.testing.assert_close(final.head.weight, torch.stack(after).mean(0))


def test_heads_follow_from_the_seed_alone() -> None:
    network = micro()
    torch.manual_seed(1)
    first = made("s4l", network).state_dict()
    torch.manual_seed(2)
    second = made("s4l", network).state_dict()
    other = made("s4l", network, seed=3).state_dict()
    assert torch.equal(first["weight"], second["weight"])
    assert not torch.equal(first["weight"], other["weight"])


# The table.


def test_the_table_names_all_peers() -> None:
    names = "pseudo-label mean-teacher fixmatch s4l actorcut actorcut-id videossl tcl"
    assert list(OBJECTIVES) == names.split()
    assert {name for name, method in METHODS.items() if method.trunk_only} == {"s4l", "distilled"}
    with pytest.raises(InputError, match="no method 'mixmatch'; choose some of: pseudo-label"):
        find_method("mixmatch")
    with pytest.raises(InputError, match="no method 'distilled'"):
        find_method("distilled")  # what our own arms learn by is not to be chosen


def test_an_arm_without_composites_has_layers_where_it_cuts_actors() -> None:
    """Without them nothing would be cut, and nobody would see it."""
    needing = {name for name in OBJECTIVES if ArmPlan(name, "none", method=name).needs_layers}
    assert needing == {"actorcut", "actorcut-id"}
    assert not ArmPlan("none", "none").needs_layers


def test_distillation_without_a_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a teacher"):
        OBJECTIVES["videossl"].make(SETTINGS, Training(micro(), STEPS))
    batch = replace(semi_batch(), teacher=None)
    network = micro()
    with pytest.raises(ValueError, match="view 'teacher'"):
        made("distilled", network).loss(network, batch, 0)
