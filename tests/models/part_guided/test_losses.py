import math

import pytest
import torch
from torch.autograd import gradcheck

from selfsup3d.models.part_guided import losses as objectives

GREY = torch.full((3,), 0.5)


def test_masked_l1_averages_over_the_mask_alone():
    image, target = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    target[:, :, :2, :2] = 0.5
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, :2, :4] = 1.0  # half of the mask differs by 0.5
    torch.testing.assert_close(objectives.masked_l1(image, target, mask), torch.tensor([0.25, 0.25]))


def test_an_empty_mask_costs_nothing_and_has_finite_gradients():
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    value = objectives.masked_l1(image, torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))
    value.sum().backward()
    assert value.item() == 0
    assert torch.isfinite(image.grad).all()


def test_reconstruction_is_zero_for_the_person_over_the_background_colour():
    person = torch.zeros(1, 1, 8, 8)
    person[..., 2:6, 2:6] = 1.0
    target = torch.rand(1, 3, 8, 8)
    perfect = person * target + (1 - person) * 0.5
    terms = objectives.reconstruction(perfect, target, person, person, GREY, beta=1.0)
    assert set(terms) == {"foreground", "background", "salient"}
    assert all(value.item() < 1e-6 for value in terms.values())


def test_beta_weighs_the_saliency_alone():
    image, target, mask = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    one = objectives.reconstruction(image, target, mask, mask, GREY, beta=1.0)
    half = objectives.reconstruction(image, target, mask, mask, GREY, beta=0.5)
    torch.testing.assert_close(half["salient"], one["salient"] / 2)
    assert torch.equal(half["foreground"], one["foreground"])
    assert "salient" not in objectives.reconstruction(image, target, None, mask, GREY, beta=1.0)


def test_silhouette_is_one_minus_iou():
    a, b = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    a[..., :4] = 1.0
    b[..., 2:6] = 1.0
    torch.testing.assert_close(objectives.silhouette(a, b), torch.tensor([1 - 16 / 48]))
    torch.testing.assert_close(objectives.silhouette(a, a), torch.zeros(1))


def test_segmentation_matches_cross_entropy_and_entropy():
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 4, 4)
    labels = torch.full((1, 4, 4), 3)
    labels[:, :2] = 1
    certain = torch.zeros(1, 1, 4, 4)
    cross_entropy = torch.nn.functional.cross_entropy(logits, labels, reduction="none")[0]
    expected = cross_entropy[:2].mean() + cross_entropy[2:].mean()
    torch.testing.assert_close(objectives.segmentation(logits, labels, certain)[0], expected)
    entropy = torch.distributions.Categorical(logits=logits.permute(0, 2, 3, 1)).entropy().mean()
    torch.testing.assert_close(objectives.segmentation(logits, labels, torch.ones(1, 1, 4, 4))[0], entropy)


def test_missing_joints_reach_neither_value_nor_gradient():
    target = torch.rand(2, 5, 3)
    target[0, 2] = float("nan")
    confidence = torch.ones(2, 5)
    confidence[0, 2] = 0.0
    predicted = torch.rand(2, 5, 3, requires_grad=True)
    value = objectives.joint_distance(predicted, target, confidence)
    kept = [0, 1, 3, 4]
    torch.testing.assert_close(value[0], (predicted[0, kept] - target[0, kept]).norm(dim=-1).mean())
    value.sum().backward()
    assert (predicted.grad[0, 2] == 0).all()
    assert torch.isfinite(predicted.grad).all()


def test_the_appearance_energy_does_not_move_its_target():
    appearance, estimate = torch.rand(2, 3, 4, requires_grad=True), torch.rand(2, 3, 4, requires_grad=True)
    objectives.appearance_energy(estimate, appearance).sum().backward()
    assert appearance.grad is None
    assert estimate.grad is not None


@pytest.mark.parametrize(("position", "cells"), [((0.375, 0.625), 1), ((0.5, 0.5), 4)])
def test_heatmap_likelihood_reads_the_cells_around_the_joint(position, cells):
    # A uniform map over k of 16 cells, all of them around the joint: the likelihood is log k over log 16.
    log_heat = torch.full((1, 1, 4, 4), -50.0)
    if cells == 1:
        log_heat[0, 0, 2, 1] = 0.0
    else:
        log_heat[0, 0, 1:3, 1:3] = -math.log(4)
    value = objectives.heatmap_likelihood(log_heat, torch.tensor([[position]]))
    torch.testing.assert_close(value, torch.tensor([math.log(cells) / math.log(16)]), atol=1e-6, rtol=0)


def test_joints_outside_the_image_have_no_place():
    log_heat = torch.full((1, 2, 4, 4), -math.log(16))
    value = objectives.heatmap_likelihood(log_heat, torch.tensor([[[0.5, 0.5], [1.5, 0.5]]]))
    torch.testing.assert_close(value, torch.ones(1))


def test_coarse_parts_is_lowest_at_the_true_shares():
    labels = torch.full((1, 8, 8), 3)
    labels[:, :4, :4] = 1
    shares = torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2).float()
    true = torch.nn.functional.adaptive_avg_pool2d(shares, 4).clamp_min(1e-4).log()
    assert objectives.coarse_parts(true, labels) < 0.01
    assert objectives.coarse_parts(torch.randn(1, 4, 4, 4), labels) > objectives.coarse_parts(true, labels)


def test_gradients_are_right():
    torch.manual_seed(0)
    double = {"dtype": torch.float64}
    image, other = torch.rand(1, 3, 4, 4, **double, requires_grad=True), torch.rand(1, 3, 4, 4, **double)
    mask = torch.rand(1, 1, 4, 4, **double, requires_grad=True)
    assert gradcheck(objectives.masked_l1, (image, other, mask))
    assert gradcheck(objectives.silhouette, (mask, torch.rand(1, 1, 4, 4, **double)))
    joints = torch.rand(1, 5, 3, **double, requires_grad=True)
    assert gradcheck(lambda j: objectives.joint_distance(j, torch.zeros(1, 5, 3, **double)), (joints,))


def test_part_colours_are_means_over_visible_pixels():
    image = torch.zeros(1, 3, 4, 4)
    image[:, 0, :2], image[:, 1, 2:3] = 1.0, 0.5
    labels = torch.full((1, 4, 4), 2)
    labels[:, :2], labels[:, 2:3] = 0, 1
    right = torch.tensor([[[1.0, 0, 0], [0, 0.5, 0], [2 / 3, 1 / 6, 0]]])  # parts, then the whole person
    torch.testing.assert_close(objectives.part_colours(right, image, labels), torch.zeros(1))
    assert objectives.part_colours(right + 0.1, image, labels) == pytest.approx(0.1)


def test_hidden_parts_have_no_colour_to_learn():
    colours = torch.rand(1, 3, 3, requires_grad=True)
    objectives.part_colours(colours, torch.rand(1, 3, 4, 4), torch.full((1, 4, 4), 2)).sum().backward()
    assert (colours.grad == 0).all()


def test_windows_differ_by_shift_and_by_ratio_of_sizes():
    true = torch.tensor([[0.5, 0.5, 0.2]])
    assert objectives.crop_distance(true, true).item() == 0
    shifted = objectives.crop_distance(torch.tensor([[0.6, 0.5, 0.2]]), true)
    torch.testing.assert_close(shifted, torch.tensor([0.5]))
    for size in (0.1, 0.4):
        scaled = objectives.crop_distance(torch.tensor([[0.5, 0.5, size]]), true)
        torch.testing.assert_close(scaled, torch.tensor([math.log(2)]))


def test_limbs_over_one_another_say_nothing_of_sides():
    logits = torch.tensor([[3.0, -3.0]], requires_grad=True)
    assignment = torch.tensor([[True, True]])
    right = objectives.assignment_likelihood(logits, assignment, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(right, torch.tensor([math.log1p(math.exp(-3.0)) / 2]))
    wrong = objectives.assignment_likelihood(logits, assignment, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(wrong, torch.tensor([math.log1p(math.exp(3.0)) / 2]))
