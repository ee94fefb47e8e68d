import torch

from selfsup3d.models.part_guided.augmentation import camera_degradation, recoloured, strongly_augmented


def test_it_depends_on_a_samples_seed_alone(batch):
    images, seeds = torch.rand(4, 3, 32, 32), torch.tensor([5, 6, 7, 8])
    whole = strongly_augmented(images, seeds)
    assert whole.shape == images.shape
    assert 0 <= whole.min() <= whole.max() <= 1
    torch.testing.assert_close(strongly_augmented(images[2:3], seeds[2:3]), whole[2:3])
    assert not torch.equal(strongly_augmented(images[:1], seeds[1:2]), whole[:1])


def test_holes_are_plain_and_leave_most_of_the_image():
    torch.manual_seed(0)
    images, seeds = torch.rand(64, 3, 64, 64), torch.arange(64)
    spoilt = strongly_augmented(images, seeds)
    # plain: pixels equal to their right neighbours, which a random image has none of (a clamped channel aside)
    plain = (spoilt[..., 1:] == spoilt[..., :-1]).all(1).float().mean((1, 2))
    assert (plain == 0).any()  # some have no hole
    assert 0.02 < plain.mean() < 0.1
    assert plain.max() < 0.3
    assert ((camera_degradation(images, seeds) - spoilt).abs().mean((1, 2, 3)) > 0.02).all()  # colours change too


def test_the_pose_is_read_from_the_augmented_and_the_appearance_from_the_image(make_system, batch):
    system = make_system().eval()
    system.fit([batch])
    other = strongly_augmented(batch.target, batch.seeds)
    plain = system.encoder(batch.target, batch.K)
    crop, assignment = plain.crop, plain.assignment
    given = {"crop": crop, "assignment": assignment}
    mixed = system.encoder(batch.target, batch.K, **given, pose_images=other)
    spoilt = system.encoder(other, batch.K, **given)
    torch.testing.assert_close(mixed.keypoints, spoilt.keypoints)
    torch.testing.assert_close(system.pose(mixed).joints, system.pose(spoilt).joints)
    assert (mixed.appearance - spoilt.appearance).abs().max() > 1e-4


def test_only_self_training_reads_augmented_images(make_system, batch, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "selfsup3d.models.part_guided.forward_pass.strongly_augmented",
        lambda images, seeds: calls.append(len(images)) or images,
    )
    for variant, expected in (
        ({"supervision": "teacher"}, 1), ({"supervision": "3d"}, 0), ({"supervision": "2d"}, 0), ({}, 0),
        ({"supervision": "teacher", "strong_augmentation": False}, 0),
    ):  # fmt: skip
        calls.clear()
        system = make_system(**variant)
        system.fit([batch])
        system(batch, "joint/encoder", 1.0)
        assert len(calls) == expected, variant


def test_all_images_of_a_sample_get_the_same_other_colours():
    seeds, images = torch.arange(40), torch.rand(40, 3, 4, 4)
    other = recoloured(images, seeds, 0.5)
    kept = (other == images).flatten(1).all(1)
    assert 10 < kept.sum() < 30
    torch.testing.assert_close(other.flip(-1), recoloured(images.flip(-1), seeds, 0.5))
    assert torch.equal(recoloured(images, seeds, 0.0), images)
    assert 0 <= other.amin() <= other.amax() <= 1


def test_other_colours_are_a_turned_hue_with_another_saturation_and_gain():
    seeds = torch.arange(64)
    grey, red = torch.full((64, 3, 1, 1), 0.5), torch.tensor([0.6, 0.45, 0.45]).view(1, 3, 1, 1).expand(64, 3, 1, 1)
    torch.testing.assert_close(recoloured(grey, seeds, 1.0), grey)  # gains are about the middle
    turned = (recoloured(red, seeds, 1.0) - 0.5)[..., 0, 0]
    assert (turned.argmax(1).bincount(minlength=3) > 10).all()  # as often green or blue as red
