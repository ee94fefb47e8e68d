from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from selfsup3d.data.sampling.augmentation import (
    Augmentation,
    augment,
    augment_background,
    colour_matrix,
    crop,
    mirror,
    recolour,
)
from selfsup3d.geometry.camera import project
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import H36M_17

SIZE = 48


def dotted(joints: torch.Tensor, size: int = SIZE, sharp: float = 2.0) -> torch.Tensor:
    """(B, 3, S, S): a soft dot at each joint, its colour telling which; pixel centres at +0.5."""
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    distance = (joints[..., 0, None, None] - x) ** 2 + (joints[..., 1, None, None] - y) ** 2  # (B, J, S, S)
    return torch.exp(-distance / (2 * sharp**2)).sum(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    count = 6
    joints = torch.rand(count, 17, 3, generator=generator) - 0.5
    joints[..., 2] += 4.0
    K = torch.tensor([[120.0, 0.0, 25.0], [0.0, 118.0, 23.0], [0.0, 0.0, 1.0]]).repeat(count, 1, 1)
    pixels = project(joints, K)
    image = dotted(pixels[:, :1])  # the pelvis alone
    labels = torch.full((count, SIZE, SIZE), len(default_puppet()))
    labels[:, 10:30, 5:20] = default_puppet()["left_thigh"].id
    return Batch(
        source=image,
        target=image.clone(),
        source_saliency=image[:, :1].clone(),
        target_saliency=image[:, :1].clone(),
        source_background=torch.full_like(image, 0.3),
        target_background=torch.full_like(image, 0.3),
        joints_2d=pixels,
        confidence=torch.rand(count, 17, generator=generator),
        joints_3d=joints,
        K=K,
        part_labels=labels,
        bbox=torch.tensor([[100.0, 50.0, 96.0, 96.0]]).repeat(count, 1),
    )


def centre_of(image: torch.Tensor) -> torch.Tensor:
    """(B, 2) px, mean position of what is bright."""
    weight = image[:, 0]
    size = weight.shape[-1]
    axis = torch.arange(size) + 0.5
    total = weight.sum((1, 2))
    return torch.stack(((weight.sum(1) * axis).sum(1) / total, (weight.sum(2) * axis).sum(1) / total), dim=-1)


def test_mirrored_joints_project_to_mirrored_pixels(batch):
    chosen = torch.tensor([True, False, True, True, False, True])
    out = mirror(batch, chosen)
    assert torch.allclose(project(out.joints_3d, out.K), out.joints_2d, atol=1e-3)
    assert torch.equal(out.target[~chosen], batch.target[~chosen])
    assert torch.equal(out.target[chosen], batch.target[chosen].flip(-1))
    left, right = H36M_17.joint_names.index("left_knee"), H36M_17.joint_names.index("right_knee")
    assert torch.allclose(out.joints_2d[0, left, 0], SIZE - batch.joints_2d[0, right, 0])
    assert torch.equal(out.confidence[0, left], batch.confidence[0, right])
    assert (out.part_labels[0, 10:30, SIZE - 20 : SIZE - 5] == default_puppet()["right_thigh"].id).all()
    assert (out.part_labels[1] == batch.part_labels[1]).all()


def test_sided_bone_lengths_swap(batch):
    lengths = torch.arange(17.0).repeat(6, 1)
    out = mirror(replace(batch, bone_lengths=lengths), torch.tensor([True, False, True, False, True, False]))
    left, right = H36M_17.joint_names.index("left_knee"), H36M_17.joint_names.index("right_knee")
    assert out.bone_lengths[0, left] == right
    assert torch.equal(out.bone_lengths[1], lengths[1])


def test_every_field_is_either_changed_or_known_to_stay():
    """A new field of the batch must be thought about here: does mirroring or cropping change it?"""
    stay = {"index", "seeds", "unpaired", "skeleton", "meta", "pseudo_weight"}
    changed = {
        *(
            "source",
            "target",
            "source_background",
            "target_background",
            "source_saliency",
            "target_saliency",
            "part_labels",
        ),
        *("joints_2d", "confidence", "joints_3d", "source_joints_2d", "source_joints_3d", "bone_lengths", "K", "bbox"),
        "pseudo_joints_3d",
    }
    refused = {"second_view", "transfer", "unpaired_camera", "unpaired_background"}
    come_with_refused = {
        *("second_view_camera", "second_view_joints_3d", "second_view_labels", "transfer_joints_3d", "transfer_labels"),
        # with `unpaired_camera`
        *("rendered", "rendered_parts", "rendered_source", "rendered_source_K", "rendered_source_parts"),
    }
    assert {entry.name for entry in fields(Batch)} == stay | changed | refused | come_with_refused


def test_cropping_and_mirroring_at_once_is_one_after_the_other(batch):
    offset, scale = torch.tensor([[2.0, -1.5]]).repeat(6, 1), torch.tensor([1.1, 1.0, 0.9, 1.05, 0.95, 1.0])
    flip = torch.tensor([True, False, True, True, False, True])
    at_once, in_turn = crop(batch, offset, scale, flip), mirror(crop(batch, offset, scale), flip)
    for entry in fields(Batch):
        first, second = getattr(at_once, entry.name), getattr(in_turn, entry.name)
        if isinstance(first, torch.Tensor):
            assert torch.allclose(first.float(), second.float(), atol=1e-4), entry.name


def test_mirroring_twice_changes_nothing(batch):
    every = torch.ones(6, dtype=torch.bool)
    twice = mirror(mirror(batch, every), every)
    for name in ("target", "joints_2d", "joints_3d", "K", "part_labels", "confidence", "source_background"):
        assert torch.allclose(getattr(twice, name), getattr(batch, name), atol=1e-5)


def test_a_crop_moves_images_joints_and_intrinsics_alike(batch):
    offset = torch.tensor([[2.0, -1.5], [0.0, 0.0], [-3.2, 4.1], [1.0, 1.0], [0.5, 0.5], [-2.0, 2.0]])
    scale = torch.tensor([1.1, 1.0, 0.9, 1.05, 0.95, 1.0])
    out = crop(batch, offset, scale)
    assert torch.allclose(project(out.joints_3d, out.K), out.joints_2d, atol=1e-3)
    assert torch.allclose(centre_of(out.target_saliency), out.joints_2d[:, 0], atol=0.12)
    assert torch.allclose(out.target[1], batch.target[1], atol=1e-5)  # the identity, to the pixel
    assert torch.allclose(out.bbox[0], torch.tensor([104.0, 47.0, 96 / 1.1, 96 / 1.1]))
    assert torch.equal(out.joints_3d, batch.joints_3d)
    assert set(out.part_labels.unique().tolist()) <= {default_puppet()["left_thigh"].id, len(default_puppet())}


def test_outside_of_a_crop_is_background_without_person(batch):
    full = replace(batch, target_saliency=torch.ones(6, 1, SIZE, SIZE), part_labels=torch.zeros_like(batch.part_labels))
    out = crop(full, torch.full((6, 2), -10.0), torch.ones(6))
    assert (out.target_saliency[:, :, :8, :8] == 0).all()
    assert torch.allclose(out.target_background, full.target_background)
    assert (out.part_labels[:, :8, :8] == len(default_puppet())).all()
    assert (out.part_labels[:, 12:, 12:] == 0).all()


@pytest.mark.parametrize("settings", [Augmentation(), Augmentation(mirror=False), Augmentation(scale=0, shift=0)])
def test_augmented_batches_stay_consistent(batch, settings):
    out = augment(batch, RandomStreams(0, 0, np.arange(6)), settings)
    assert torch.allclose(project(out.joints_3d, out.K), out.joints_2d, atol=1e-3)
    assert torch.allclose(centre_of(out.target_saliency), out.joints_2d[:, 0], atol=0.15) or settings.mirror
    for name in ("source", "target", "source_background"):
        assert getattr(out, name).min() >= 0
        assert getattr(out, name).max() <= 1
    # Both images of a pair are changed alike, so that equal frames stay equal.
    assert torch.equal(out.source, out.target)


def test_no_settings_no_change(batch):
    off = Augmentation(mirror=False, scale=0, shift=0, brightness=0, contrast=0, saturation=0, hue=0)
    out = augment(batch, RandomStreams(0, 0, np.arange(6)), off)
    for entry in fields(Batch):
        assert getattr(out, entry.name) is getattr(batch, entry.name)


def test_draws_alone_decide(batch):
    whole = augment(batch, RandomStreams(3, 1, np.arange(6)), Augmentation())
    part = augment(batch[2:4], RandomStreams(3, 1, np.arange(2, 4)), Augmentation())
    assert torch.allclose(whole.target[2:4], part.target, atol=1e-6)
    assert torch.allclose(whole.K[2:4], part.K, atol=1e-4)
    assert not torch.allclose(whole.K, augment(batch, RandomStreams(4, 1, np.arange(6)), Augmentation()).K)


def test_half_of_the_samples_are_mirrored():
    count = 4000
    K = torch.tensor([[50.0, 0, 1], [0, 50, 2], [0, 0, 1]]).repeat(count, 1, 1)
    batch = Batch(target=torch.zeros(count, 3, 4, 4), K=K)
    out = augment(batch, RandomStreams(0, 0, np.arange(count)), Augmentation(scale=0, shift=0))
    assert abs((out.K[:, 0, 2] == 3.0).float().mean().item() - 0.5) < 0.03


def test_evaluation_fields_are_refused(batch):
    with pytest.raises(ValueError, match="second_view"):
        augment(replace(batch, second_view=batch.target), RandomStreams(0, 0, np.arange(6)), Augmentation())


def test_colours_by_known_cases():
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    one, zero = torch.ones(1), torch.zeros(1)
    assert torch.allclose(recolour(image, *colour_matrix(one, one, one, zero)), image, atol=1e-5)
    assert torch.allclose(recolour(image, *colour_matrix(0.5 * one, one, one, zero)), 0.5 * image, atol=1e-5)
    grey = recolour(image, *colour_matrix(one, one, zero, zero))
    assert torch.allclose(grey[:, 0], grey[:, 2], atol=1e-5)
    flat = recolour(image, *colour_matrix(one, zero, one, zero))
    assert torch.allclose(flat, torch.full_like(flat, 0.5), atol=1e-5)
    white = torch.ones(1, 3, 2, 2)
    assert torch.allclose(recolour(white, *colour_matrix(one, one, one, 0.2 * one)), white, atol=1e-3)


def test_saturation_and_brightness_agree_with_torchvision():
    from torchvision.transforms.v2 import functional as reference

    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    one, zero = torch.ones(1), torch.zeros(1)
    ours = recolour(image, *colour_matrix(1.2 * one, one, one, zero))
    assert torch.allclose(ours, reference.adjust_brightness(image, 1.2), atol=1e-4)
    ours = recolour(image, *colour_matrix(one, one, 0.7 * one, zero))
    assert torch.allclose(ours, reference.adjust_saturation(image, 0.7), atol=2e-3)


def test_lone_backgrounds():
    background = torch.rand(64, 3, 8, 8)
    off = Augmentation(brightness=0, contrast=0, saturation=0, hue=0)
    out = augment_background(background, RandomStreams(0, 0, np.arange(64)), off)
    flipped = (out == background.flip(-1)).flatten(1).all(1)
    assert (flipped | (out == background).flatten(1).all(1)).all()
    assert 15 < int(flipped.sum()) < 49
