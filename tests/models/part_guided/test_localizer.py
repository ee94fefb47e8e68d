import torch

from selfsup3d.models.part_guided.localizer import Localizer, crop_around, crop_images, into_crop, into_image, jittered


def test_the_whole_image_is_a_window_of_half_a_side():
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(crop_images(images, torch.full((2, 3), 0.5)), images)


def test_a_quarter_magnified_is_the_quarter_resized():
    image = torch.arange(64.0).view(1, 1, 8, 8)
    corner = crop_images(image, torch.tensor([[0.25, 0.75, 0.25]]))  # the lower left quarter
    expected = torch.nn.functional.interpolate(image, scale_factor=2, mode="bilinear")[:, :, 8:, :8]
    torch.testing.assert_close(corner, expected)


def test_points_go_into_the_window_where_the_image_shows_them():
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, 40, 20] = 1.0
    crop = torch.tensor([[0.35, 0.6, 0.2]])
    shown = crop_images(image, crop)[0, 0]
    row, column = divmod(int(shown.argmax()), 64)
    point = into_crop(torch.tensor([[[20.5 / 64, 40.5 / 64]]]), crop)[0, 0] * 64
    assert (point - torch.tensor([column + 0.5, row + 0.5])).abs().max() <= 1.5
    points = torch.rand(1, 5, 2)
    torch.testing.assert_close(into_image(into_crop(points, crop), crop), points)


def test_labels_keep_their_numbers():
    labels = torch.randint(0, 11, (2, 1, 16, 16)).float()
    assert set(crop_images(labels, torch.tensor([[0.4, 0.5, 0.3]] * 2), mode="nearest").unique().tolist()) <= set(
        range(11)
    )


def test_a_window_holds_the_joints_that_the_image_shows():
    points = torch.tensor([[[0.4, 0.2], [0.5, 0.8], [0.6, 0.5]], [[-0.5, 0.5], [0.2, 0.5], [0.1, 0.6]]])
    crops = crop_around(points)
    inside = into_crop(points.clamp(0, 1), crops)
    assert ((inside > 0) & (inside < 1)).all()
    torch.testing.assert_close(crops[0], torch.tensor([0.5, 0.5, 0.39]))
    assert (crop_around(torch.full((1, 3, 2), 0.5))[:, 2] > 0).all()  # one point is no empty crop


def test_points_that_are_not_seen_do_not_widen_a_window():
    points = torch.rand(3, 6, 2)
    seen = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    hidden = points.masked_fill(~seen[..., None], torch.nan)
    crops = crop_around(hidden, seen)
    torch.testing.assert_close(crops[0], crop_around(points[:1])[0])
    torch.testing.assert_close(crops[1], crop_around(points[1:2, :4])[0])
    torch.testing.assert_close(crops[2], torch.tensor([0.5, 0.5, 0.6]))  # nobody: the whole image and its margin


def test_jitter_keeps_most_of_the_window():
    crops = torch.tensor([[0.5, 0.5, 0.2]]).expand(100, 3)
    moved = jittered(crops, torch.rand(100, 3))
    assert (moved[:, :2] - 0.5).abs().max() <= 0.15 * 0.2
    assert ((moved[:, 2] / 0.2).log().abs() <= 0.15 + 1e-6).all()


def test_the_localizer_learns_where_a_blob_is():
    torch.manual_seed(0)
    localizer = Localizer(side=32, channels=(8, 16))
    optimizer = torch.optim.Adam(localizer.parameters(), 3e-3)
    centres = 0.25 + 0.5 * torch.rand(64, 2)
    at = (torch.arange(32) + 0.5) / 32
    blobs = (
        (at[None, None] - centres[:, :1, None]) ** 2 + (at[None, :, None] - centres[:, 1:, None]) ** 2 < 0.01
    ).float()
    images = blobs[:, None].expand(-1, 3, -1, -1)
    for _ in range(60):
        error = (localizer(images)[:, :2] - centres).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error < 0.03


def test_the_localizer_accepts_images_of_any_size():
    torch.manual_seed(0)
    localizer = Localizer(side=32, channels=(8, 16))
    image = torch.rand(1, 3, 32, 32)
    doubled = image.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(localizer(doubled), localizer(image))
