import torch

from selfsup3d.evaluation.factorisation import active_units, correlation, factorisation, linear_fit


def test_units_that_vary_are_active():
    means = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    means[:, 1] = 3.0
    means[:, 2] *= 0.01
    assert active_units(means).tolist() == [True, False, False, True]


def test_shared_and_private_units_are_separated():
    generator = torch.Generator().manual_seed(0)
    pose, colour, noise = (torch.randn(600, 3, generator=generator) for _ in range(3))
    truth = torch.zeros(600, 17, 3)
    truth[:, 1:] = pose[:, None]
    images = colour[:, :, None, None].expand(-1, -1, 4, 4)
    two_d = torch.cat((pose, torch.zeros(600, 3)), 1)  # knows the pose
    image = torch.cat((pose + 0.1 * noise, colour), 1)  # knows the colour too
    told = factorisation({"joints_2d": two_d, "image": image}, truth, images)
    assert told["units"] == {"joints_2d": 3, "image": 6}
    assert told["shared"] == 3
    assert told["private"] == {"joints_2d": 0, "image": 3}
    explained = told["explained"]
    assert explained["pose from shared units of joints_2d"] > 0.99
    assert explained["pose from shared units of image"] > 0.9
    assert explained["colour from private units of image"] > 0.99
    assert explained["colour from shared units of image"] < 0.1
    assert "colour from private units of joints_2d" not in explained


def test_one_modality_has_nothing_to_share():
    told = factorisation({"image": torch.randn(20, 3)}, None, None)
    assert "reason" in told
    assert "shared" not in told


def test_correlation_of_constants_is_zero():
    a = torch.randn(50, 2)
    a[:, 1] = 2.0
    b = -a.clone()
    torch.testing.assert_close(correlation(a, b), torch.tensor([-1.0, 0.0], dtype=torch.float64))


def test_a_probe_is_measured_on_frames_that_it_was_not_fitted_to():
    generator = torch.Generator().manual_seed(0)
    features, values = torch.randn(60, 29, generator=generator), torch.randn(60, 2, generator=generator)
    assert linear_fit(features, values) < 0.1, "thirty frames and thirty numbers would be fitted by heart"
    assert linear_fit(features[:2], values[:2]) is None
