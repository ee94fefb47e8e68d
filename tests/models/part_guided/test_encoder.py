import pytest
import timm
import torch
from safetensors.torch import save_file

from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import project
from selfsup3d.models.part_guided.backbone import PatchResNet, TimmBackbone
from selfsup3d.models.part_guided.encoder import AppearanceBranch, Encoder, sharpened, soft_argmax
from selfsup3d.models.part_guided.left_right import assign_limbs
from selfsup3d.models.part_guided.localizer import into_image
from selfsup3d.models.part_guided.presets import PRESETS, build_networks
from selfsup3d.structures.skeleton import H36M_17


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


def test_no_images_give_no_poses():
    encoding = small_encoder()(torch.rand(0, 3, 32, 32), intrinsics(0, 32))
    assert encoding.local_vectors.shape == (0, 13, 3)
    assert encoding.appearance.shape == (0, 11, 8)


@pytest.mark.parametrize("size", [(32, 48), (48, 32)])
def test_images_that_are_not_square_are_refused(size):
    with pytest.raises(ValueError, match="must be square"):
        small_encoder()(torch.rand(1, 3, *size), intrinsics(1, 32))


def test_log_heat_is_a_distribution_and_its_mean_the_keypoint():
    encoding = small_encoder()(torch.rand(2, 3, 32, 32), intrinsics(2, 32))
    heat = encoding.log_heat.exp()
    torch.testing.assert_close(heat.sum((2, 3)), torch.ones(2, 17))
    at = (torch.arange(heat.shape[-1]) + 0.5) / heat.shape[-1]
    mean = torch.stack([(heat.sum(2) * at).sum(-1), (heat.sum(3) * at).sum(-1)], -1)  # in the crop
    seen = assign_limbs(encoding.keypoints, encoding.assignment)
    torch.testing.assert_close(into_image(mean, encoding.crop) * 32, seen)


def test_a_given_assignment_exchanges_the_keypoints_of_the_limbs():
    encoder, images, K = small_encoder(), torch.rand(2, 3, 32, 32), intrinsics(2, 32)
    straight, crossed = (encoder(images, K, assignment=torch.full((2, 2), swap)) for swap in (False, True))
    torch.testing.assert_close(crossed.keypoints, straight.keypoints[:, list(H36M_17.flip_order)])
    assert (crossed.local_vectors - straight.local_vectors).abs().max() > 0  # and reads another pose from them
    decided = encoder(images, K)
    assert torch.equal(decided.assignment, decided.assignment_logits > 0)


def test_the_encoding_is_the_same_wherever_the_person_is_in_the_image():
    # The same pixels in the same crop: what is left is the ray, and the decoder of the crop's place.
    encoder, image = small_encoder(), torch.rand(1, 3, 16, 16)
    images = torch.zeros(2, 3, 32, 32)
    images[0, :, :16, :16], images[1, :, 16:, 16:] = image, image
    K = intrinsics(2, 32).clone()
    K[:, :2, 2] = torch.tensor([[8.0, 8.0], [24.0, 24.0]])  # each seen along the camera's axis
    encoding = encoder(images, K, crop=torch.tensor([[0.25, 0.25, 0.2], [0.75, 0.75, 0.2]]))
    first, second = encoding.keypoints
    torch.testing.assert_close(second, first + 16)
    torch.testing.assert_close(*encoding.local_vectors)
    torch.testing.assert_close(*encoding.camera.translation, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (7, 7)])
def test_soft_argmax_of_a_single_peak_is_its_cell_centre(row, column):
    heat = torch.zeros(1, 1, 8, 8)
    heat[..., row, column] = 1.0
    depth = torch.arange(64.0).view(1, 1, 8, 8)
    position, value = soft_argmax(heat, depth)
    torch.testing.assert_close(position[0, 0], torch.tensor([(column + 0.5) / 8, (row + 0.5) / 8]))
    assert value.item() == row * 8 + column


def test_the_pelvis_of_the_camera_projects_to_where_the_image_shows_it():
    encoder = small_encoder()
    for parameter in encoder.head.leave[-1].parameters():
        torch.nn.init.zeros_(parameter)  # a head that adds nothing to the pelvis of the heat map
    K = torch.tensor([[70.0, 0, 10], [0, 50.0, 20], [0, 0, 1]]).expand(3, 3, 3)
    encoding = encoder(torch.rand(3, 3, 32, 32), K)
    root = encoding.camera.translation
    torch.testing.assert_close(project(root[:, None], K)[:, 0], encoding.keypoints[:, 0])
    # A metre to the right of the pelvis is a fixed share of the crop away.
    beside = project(root[:, None] + torch.tensor([1.0, 0, 0]), K)[:, 0, 0] - encoding.keypoints[:, 0, 0]
    torch.testing.assert_close(beside / (2 * encoding.crop[:, 2] * 32), torch.full((3,), -1.0).exp())


def test_twice_the_focal_length_is_twice_as_far():
    encoder, images = small_encoder(), torch.rand(2, 3, 32, 32)
    near, far = intrinsics(2, 32), intrinsics(2, 32).clone()
    far[:, [0, 1], [0, 1]] *= 2
    first, second = encoder(images, near).camera, encoder(images, far).camera
    # The head is told along which ray it looks, which is the one thing that differs.
    torch.testing.assert_close(second.translation[:, 2], 2 * first.translation[:, 2], rtol=1e-2, atol=0)
    torch.testing.assert_close(second.translation[:, :2], first.translation[:, :2], rtol=0, atol=1e-2)


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


def test_a_slot_attends_to_its_part():
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
    assert torch.equal(encoding.camera.rotation, torch.eye(3).expand(2, 3, 3))


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
def test_any_timm_backbone_gives_an_encoding(name):
    encoder = Encoder(TimmBackbone(name), width=16, hidden=32)
    encoding = encoder(torch.rand(2, 3, 64, 64), intrinsics(2, 64))
    assert torch.isfinite(encoding.local_vectors).all()
    encoding.local_vectors.sum().backward()


def test_resnets_of_timm_have_no_batch_norm():
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in TimmBackbone("resnet18").modules())


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_weights_come_from_a_file(tmp_path, name):
    torch.manual_seed(1)
    given = timm.create_model(name).state_dict()
    save_file(given, tmp_path / "w.safetensors")
    loaded = dict(TimmBackbone(name, weights=str(tmp_path / "w.safetensors")).network.named_parameters())
    by_name = {key.replace(".", "_"): value for key, value in given.items()}  # timm flattens stages.0 to stages_0
    assert loaded
    assert all(torch.equal(value, by_name[key.replace(".", "_")]) for key, value in loaded.items())


def test_backbones_that_cannot_be_had_are_named(tmp_path):
    save_file(timm.create_model("convnext_atto").state_dict(), tmp_path / "other.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"abc")
    (tmp_path / "pickle.pth").write_bytes(b"abc")
    for name, weights, told in (
        ("resnet19", None, "'resnet19': no network of timm; did you mean 'resnet18'"),
        ("hf-hub:timm/resnet18", None, "no network of timm"),
        ("vit_tiny_patch16_224", None, "no pyramid"),
        ("resnet10t", "absent.safetensors", "absent.safetensors: no such file"),
        ("resnet10t", "other.safetensors", "not the weights of the backbone 'resnet10t'"),
        ("resnet10t", "damaged.safetensors", "does not take the weights"),
        ("resnet10t", "pickle.pth", "safetensors"),
    ):
        with pytest.raises(InputError, match=told):
            TimmBackbone(name, weights=None if weights is None else str(tmp_path / weights))


@pytest.mark.parametrize("preset", ["tiny", "small", pytest.param("paper", marks=pytest.mark.slow)])
def test_presets_fit_their_image_size(preset):
    encoder, decoder = build_networks(preset, 10)
    size = PRESETS[preset].image_size
    encoding = encoder(torch.rand(1, 3, size, size), intrinsics(1, size))
    decoded = decoder(encoding.appearance, torch.rand(1, 10, size, size))
    assert decoded.image.shape == (1, 3, size, size)
    assert decoded.segmentation.shape == (1, 11, size, size)


def test_weights_for_the_small_backbone_are_refused():
    with pytest.raises(InputError, match="timm"):
        build_networks("tiny", 10, weights="some.safetensors")


def test_a_pose_head_on_keypoints_sends_no_gradient_to_the_images_features():
    encoder = small_encoder(pose_head="keypoints")
    encoding = encoder(torch.rand(2, 3, 32, 32), intrinsics(2, 32))
    (encoding.local_vectors.sum() + encoding.camera.rotation.sum()).backward()
    assert all(p.grad is None or not p.grad.any() for p in encoder.backbone.parameters())
    assert all(p.grad is not None for p in encoder.head.parameters())


def test_frozen_blocks_and_statistics_of_given_weights_stay(tmp_path):
    name = "tf_efficientnet_lite0"
    path = tmp_path / "weights.safetensors"
    save_file({k: v.contiguous() for k, v in timm.create_model(name).state_dict().items()}, path)
    backbone = TimmBackbone(name, weights=str(path), frozen_blocks=2).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items() if "running" in k}
    sum(feature.sum() for feature in backbone(torch.rand(2, 3, 64, 64))).backward()
    assert all(torch.equal(v, backbone.state_dict()[k]) for k, v in before.items())
    learning = {n for n, p in backbone.network.named_parameters() if p.grad is not None}
    assert learning
    assert not any(n.startswith(("conv_stem", "blocks.0", "blocks.1")) for n in learning)


def test_a_backbone_without_blocks_cannot_freeze_them():
    with pytest.raises(InputError, match="frozen_blocks"):
        TimmBackbone("resnet10t", frozen_blocks=1)


def test_sharpened_heat_is_its_power_and_still_a_distribution():
    log_heat = torch.randn(2, 3, 16).log_softmax(-1).view(2, 3, 4, 4)
    squared = log_heat.exp() ** 2
    torch.testing.assert_close(sharpened(log_heat, 2.0), squared / squared.sum((2, 3), keepdim=True))
    torch.testing.assert_close(sharpened(log_heat, 1.0), log_heat.exp())


def test_cues_of_left_and_right_are_hidden_in_training_alone():
    images, K = torch.rand(64, 3, 32, 32), intrinsics(64, 32)
    encoder, plain = small_encoder(cue_dropout=0.5), small_encoder()
    shown = plain(images, K)
    hidden = encoder(images, K)
    places = [assign_limbs(found.keypoints, found.assignment) for found in (hidden, shown)]
    torch.testing.assert_close(*places)  # only left and right are told with less
    same = (hidden.assignment_logits == shown.assignment_logits).all(1)
    assert 0 < same.float().mean() < 0.2  # 0.5^4 see all four, and those alone are the same
    torch.testing.assert_close(encoder.eval()(images, K).assignment_logits, plain(images, K).assignment_logits)
