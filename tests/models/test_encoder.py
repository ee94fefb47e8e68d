import pytest
import torch

from selfsup3d.models.backbone import PatchResNet, TimmBackbone
from selfsup3d.models.encoder import AppearanceBranch, Encoder, soft_argmax
from selfsup3d.models.presets import PRESETS, build_networks


def small_encoder(**options) -> Encoder:
    torch.manual_seed(0)
    return Encoder(PatchResNet((16, 32), (1, 1)), width=16, hidden=32, channels=8, appearance_width=8, **options)


def intrinsics(count: int, size: int) -> torch.Tensor:
    return torch.tensor([[2.0 * size, 0, size / 2], [0, 2.0 * size, size / 2], [0, 0, 1]]).expand(count, 3, 3)


def test_an_encoding_is_a_pose():
    encoding = small_encoder()(torch.rand(3, 3, 32, 32), intrinsics(3, 32))
    assert encoding.keypoints.shape == (3, 17, 2)
    assert encoding.appearance.shape == (3, 11, 8)
    torch.testing.assert_close(encoding.local_vectors.norm(dim=-1), torch.ones(3, 13))
    torch.testing.assert_close(encoding.hip_angle.norm(dim=-1), torch.ones(3))
    rotation = encoding.camera.rotation
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(3, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(3))
    assert (encoding.camera.translation[:, 2] > 0).all()


def test_log_heat_is_a_distribution_and_its_mean_the_keypoint():
    encoding = small_encoder()(torch.rand(2, 3, 32, 32), intrinsics(2, 32))
    heat = encoding.log_heat.exp()
    torch.testing.assert_close(heat.sum((2, 3)), torch.ones(2, 17))
    side = heat.shape[-1]
    centres = (torch.arange(side) + 0.5) * 32 / side
    torch.testing.assert_close((heat.sum(2) * centres).sum(-1), encoding.keypoints[..., 0])
    torch.testing.assert_close((heat.sum(3) * centres).sum(-1), encoding.keypoints[..., 1])


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (7, 7)])
def test_soft_argmax_of_a_single_peak_is_its_cell_centre(row, column):
    heat = torch.zeros(1, 1, 8, 8)
    heat[..., row, column] = 1.0
    depth = torch.arange(64.0).view(1, 1, 8, 8)
    position, value = soft_argmax(heat, depth)
    torch.testing.assert_close(position[0, 0], torch.tensor([(column + 0.5) / 8, (row + 0.5) / 8]))
    assert value.item() == row * 8 + column


def test_the_pelvis_of_the_camera_projects_to_where_the_image_shows_it():
    # Twice the focal length in the same image: the same place in the picture, twice as far away.
    encoder, images = small_encoder(), torch.rand(2, 3, 32, 32)
    near, far = intrinsics(2, 32), intrinsics(2, 32).clone()
    far[:, [0, 1], [0, 1]] *= 2
    first, second = encoder(images, near).camera, encoder(images, far).camera
    torch.testing.assert_close(second.translation[:, 2], 2 * first.translation[:, 2])
    torch.testing.assert_close(second.translation[:, :2], first.translation[:, :2])


def test_freezing_the_pose_path_leaves_the_appearance_its_gradient():
    encoder = small_encoder()
    torch.nn.init.normal_(encoder.appearance.layout.weight)
    encoding = encoder(torch.rand(2, 3, 32, 32), intrinsics(2, 32), freeze_pose=True)
    assert not encoding.local_vectors.requires_grad
    encoding.appearance.sum().backward()
    assert all(p.grad is None for p in encoder.pose_parameters())
    assert all(p.grad is not None for p in encoder.appearance.parameters())


def test_the_appearance_never_trains_the_pose_path():
    encoder = small_encoder()
    encoder(torch.rand(2, 3, 32, 32), intrinsics(2, 32)).appearance.sum().backward()
    assert all(p.grad is None for p in encoder.pose_parameters())


def test_appearance_starts_as_the_colour_of_the_image():
    torch.manual_seed(0)
    branch = AppearanceBranch(slots=4, channels=8, width=8, grid=4)
    colour = torch.tensor([0.9, 0.3, 0.1])
    slots = branch(colour.view(1, 3, 1, 1).expand(1, 3, 32, 32), torch.randn(1, 4, 8, 8))
    torch.testing.assert_close(slots[0, :, :3], colour.expand(4, 3))


def test_a_slot_looks_where_its_part_is():
    torch.manual_seed(0)
    branch = AppearanceBranch(slots=3, channels=8, width=8, grid=4)
    image = torch.zeros(1, 3, 32, 32)
    image[:, 0, :, :16], image[:, 1, :, 16:] = 1.0, 1.0  # red on the left, green on the right
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 0, :, :3], logits[:, 1, :, 5:], logits[:, 2, :, 3:5] = 30.0, 30.0, 30.0
    slots = branch(image, logits)[0]
    torch.testing.assert_close(slots[0, :3], torch.tensor([1.0, 0.0, 0.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(slots[1, :3], torch.tensor([0.0, 1.0, 0.0]), atol=1e-3, rtol=0)
    assert slots[2, 2].abs() < 1e-3  # the whole person: both, and no blue


def test_the_ablation_of_the_kinematics_gives_camera_frame_joints():
    encoding = small_encoder(kinematics=False)(torch.rand(2, 3, 32, 32), intrinsics(2, 32))
    assert encoding.joints is not None
    assert encoding.joints.shape == (2, 17, 3)
    assert (encoding.joints[:, 0] == 0).all()


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
def test_any_timm_backbone_gives_an_encoding(name):
    encoder = Encoder(TimmBackbone(name, levels=(1, 2, 3)), width=16, hidden=32)
    encoding = encoder(torch.rand(2, 3, 64, 64), intrinsics(2, 64))
    assert torch.isfinite(encoding.local_vectors).all()
    encoding.local_vectors.sum().backward()


def test_resnets_of_timm_have_no_batch_norm():
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in TimmBackbone("resnet18").modules())


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_presets_fit_their_image_size(preset):
    encoder, decoder = build_networks(preset, 10)
    size = PRESETS[preset].image_size
    encoding = encoder(torch.rand(1, 3, size, size), intrinsics(1, size))
    decoded = decoder(encoding.appearance, torch.rand(1, 10, size, size))
    assert decoded.image.shape == (1, 3, size, size)
    assert decoded.segmentation.shape == (1, 11, size, size)


def test_weights_for_the_small_backbone_are_refused():
    with pytest.raises(ValueError, match="timm"):
        build_networks("tiny", 10, weights="some.safetensors")
