"""A decoder that corrects drawn textures, and the network around it."""

import dataclasses

import pytest
import torch
from torch import nn

from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.evaluation.images import masked_ssim
from selfsup3d.evaluation.synthesis import TASKS, synthesis_values
from selfsup3d.models.part_guided.losses import layers, structure
from selfsup3d.models.part_guided.network import intrinsics_of
from selfsup3d.models.part_guided.observed_parts import PartSegmenter, known_parts, observed_parts
from selfsup3d.puppet.textures import view_of
from selfsup3d.structures.batch import Camera

SIZE = 32


@pytest.fixture(params=[0, 5], ids=["colours", "colours and features"])
def textured(make_system, batch, request):
    system = make_system(textures=True, texture_features=request.param)
    system.fit([batch])
    return system


def decode(system, batch):
    K = intrinsics_of(batch)
    encoding = system.encode(batch.source, K)
    joints, size = batch.joints_3d, (SIZE, SIZE)
    maps, geometry = system.maps(joints, K, size)
    appearance = system.appearance(batch.source, encoding)
    drawn = system.draw(appearance, joints, geometry, maps)
    return appearance, drawn, system.decoder(appearance.vectors, maps, drawn)


def test_an_untrained_decoder_gives_what_is_drawn(textured, batch):
    _, drawn, decoded = decode(textured, batch)
    torch.testing.assert_close(decoded.person, drawn.colour[:, :3], atol=0.02, rtol=0)  # a fiftieth is repainted
    torch.testing.assert_close(decoded.cover, drawn.coverage, atol=0.03, rtol=0)
    labels = torch.cat([drawn.parts, 1 - drawn.coverage], 1)
    sure = labels.amax(1) > 0.9
    assert (decoded.segmentation.argmax(1) == labels.argmax(1))[sure].all()
    behind = torch.rand(4, 3, SIZE, SIZE)
    nobody = (drawn.coverage == 0).expand_as(behind)
    torch.testing.assert_close(decoded.over(behind)[nobody], behind[nobody], atol=1e-5, rtol=0)


def test_the_colours_of_a_textured_person_reach_the_decoded_image(textured, batch):
    red = dataclasses.replace(
        batch, source=torch.zeros_like(batch.source) + torch.tensor([0.8, 0.1, 0.1])[:, None, None]
    )
    _, drawn, decoded = decode(textured, red)
    inside = (drawn.coverage > 0.9).expand_as(decoded.image)
    expected = red.source[:, :, :1, :1].expand_as(decoded.image)
    torch.testing.assert_close(decoded.image[inside], expected[inside], atol=0.05, rtol=0)


def test_nobody_is_painted_in_colours_they_do_not_wear(textured, batch):
    nn.init.normal_(textured.decoder.to_image.weight, std=10.0)  # whatever was learned
    red_and_blue = batch.source * torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    _, _, decoded = decode(textured, dataclasses.replace(batch, source=red_and_blue))
    assert decoded.repainted.amin() < 0.1 < 0.9 < decoded.repainted.amax()
    red, green, blue = decoded.person.unbind(1)
    assert (green <= torch.minimum(red, blue) + 1e-4).all()  # green comes with the white alone
    assert 0.0 <= decoded.person.amin() <= decoded.person.amax() <= 1.0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_decoder_learns_people_in_other_colours_that_the_encoder_does_not_see(
    make_system, batch, share, monkeypatch
):
    system = make_system(textures=True, weights={"pairs": 1.0}, recoloured=share)
    system.fit([batch])
    seen, painted = [], []
    encode, appearance = system.encoder.forward, system.appearance
    monkeypatch.setattr(system.encoder, "forward", lambda x, *a, **k: seen.append(x) or encode(x, *a, **k))
    monkeypatch.setattr(system, "appearance", lambda x, *a, **k: painted.append(x) or appearance(x, *a, **k))
    system(with_pairs(batch), "decoder", 0.3)
    assert sum(torch.equal(x, batch.source) for x in seen) == 2  # as a video's frame and as a rendering
    assert any(torch.equal(x, batch.target) for x in seen)
    assert len(painted) == 3
    own = [any(torch.equal(x, y) for y in (batch.source, batch.target)) for x in painted]
    assert all(own) if share == 0.0 else not any(own)


def test_textures_of_larger_images_are_those_of_the_small_ones_with_more_texels(textured, batch):
    K = intrinsics_of(batch)
    large = nn.functional.interpolate(batch.source, scale_factor=2, mode="nearest")
    with torch.no_grad():
        encoding = textured.encode(batch.source, K)
        small, fine = (textured.appearance(batch.source, encoding, None, images).textures for images in (None, large))
    assert fine.colour.shape[3] == small.colour.shape[3]
    assert fine.colour.shape[-1] > small.colour.shape[-1]
    torch.testing.assert_close(fine.colour.mean((4, 5)), small.colour.mean((4, 5)), atol=0.1, rtol=0.1)


def test_enlarged_people_are_the_small_ones_with_more_detail(textured, batch):
    nn.init.normal_(textured.decoder.to_image.weight, std=0.05)
    K = intrinsics_of(batch)
    with torch.no_grad():
        appearance, _, decoded = decode(textured, batch)
        colour, cover = textured.decode_large(appearance, batch.joints_3d, K, SIZE, 1)
        person = decoded.cover.clamp(0, 1) * decoded.person
        torch.testing.assert_close(colour, person, atol=1e-4, rtol=0)
        large, _ = textured.decode_large(appearance, batch.joints_3d, K, SIZE, 4)
    assert large.shape == (4, 3, 4 * SIZE, 4 * SIZE)
    assert (nn.functional.avg_pool2d(large, 4) - colour).abs().mean() < 0.05
    assert 0 <= cover.min() <= cover.max() <= 1


def with_pairs(batch):
    labels = torch.randint(0, 11, (4, SIZE, SIZE))
    more = {"rendered": batch.target, "rendered_parts": labels, "rendered_source": batch.source}
    return dataclasses.replace(batch, **more, rendered_source_K=batch.K, rendered_source_parts=labels)


@pytest.mark.parametrize("features", [0, 5])
def test_pairs_of_renderings_train_every_parameter_of_the_decoder(make_system, batch, features):
    system = make_system(textures=True, texture_features=features, weights={"pairs": 1.0})
    system.fit([batch])
    batch = with_pairs(batch)
    batch.require(system.requires, by="a test")
    nn.init.normal_(system.decoder.to_image.weight, std=0.01)
    nn.init.normal_(system.decoder.to_parts.weight, std=0.01)
    nn.init.normal_(system.decoder.segmenter.leave.weight, std=0.01)
    terms = system(batch, "decoder", 0.3)
    assert {name.split("/")[0] for name in terms} == {"L_I_u", "L_I_c", "L_seg", "pairs", "observed"}
    torch.stack(list(terms.values())).sum().backward()
    for name, parameter in system.decoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_pose_found_again_in_pairs_teaches_the_decoder_alone(make_system, batch):
    weights = {"pairs": 1.0, "image": 0.0, "consistency": 0.0, "segmentation": 0.0, "observed": 0.0}
    system = make_system(textures=True, weights=weights)
    system.fit([batch])
    nn.init.normal_(system.decoder.to_image.weight, std=0.01)
    terms = system(with_pairs(batch), "decoder", 0.3)
    found = {name: value for name, value in terms.items() if name.startswith("pairs/pose_")}
    assert {"pairs/pose_posed", "pairs/pose_keypoints", "pairs/pose_heat"} <= set(found)
    torch.stack(list(found.values())).sum().backward()
    assert system.decoder.levels[0][0][0].weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in system.encoder.pose_parameters())
    without = make_system(textures=True, weights=weights | {"pose": 0.0})
    without.fit([batch])
    assert not any(name.startswith("pairs/pose_") for name in without(with_pairs(batch), "decoder", 0.3))


def test_structure_is_nothing_for_the_truth_and_ignores_what_lies_outside_the_mask():
    target, mask = torch.rand(2, 3, 24, 24), torch.zeros(2, 1, 24, 24)
    mask[:, :, 6:18, 6:18] = 1.0
    other = torch.where(mask > 0, target, torch.rand_like(target))
    torch.testing.assert_close(structure(other, target, mask), torch.zeros(2), atol=1e-5, rtol=0)
    noisy = (target + 0.3 * torch.randn_like(target)).clamp(0, 1)
    torch.testing.assert_close(structure(noisy, target, mask), 1.0 - masked_ssim(noisy, target, mask))


def test_losses_that_weigh_nothing_are_not_decoded(make_system, batch):
    system = make_system(textures=True, weights={"consistency": 0.0, "segmentation": 0.0})
    system.fit([batch])
    assert {name.split("/")[0] for name in system(batch, "decoder", 0.3)} == {"L_I_u", "observed"}


def test_pairs_need_textures():
    with pytest.raises(ValueError, match="decoder of textures"):
        PartGuidedConfig.model_validate({"weights": {"pairs": 1.0}})
    with pytest.raises(ValueError, match="set textures to true"):
        PartGuidedConfig.model_validate({"texture_features": 4})
    with pytest.raises(ValueError, match="recoloured is for a decoder of textures"):
        PartGuidedConfig.model_validate({"recoloured": 0.5})
    with pytest.raises(ValueError, match="set both to true"):
        PartGuidedConfig.model_validate({"textures": True, "saliency": False, "weights": {"perceptual": 1.0}})
    with pytest.raises(ValueError, match="choose one"):
        PartGuidedConfig.model_validate({"textures": True, "weights": {"pairs": 1.0}, "pretrain": {"source": "people"}})


def test_layers_are_nothing_for_the_truth_and_ignore_what_lies_outside_the_mask():
    target, mask = torch.rand(2, 3, 16, 16), torch.zeros(2, 1, 16, 16)
    mask[:, :, 4:12, 4:12] = 1.0
    other = torch.where(mask > 0, target, torch.rand_like(target))
    terms = layers(other, mask, target, mask)
    assert all((value < 2e-3).all() for value in terms.values())
    for name, worse in {"colour": (target + 0.1, mask), "cover": (target, 1 - mask)}.items():
        assert (layers(*worse, target, mask)[name] > 0.05).all()


def test_the_puppet_and_the_encoder_correct_each_other():
    visible = torch.zeros(1, 2, 32, 32)
    visible[:, 0, :, :16] = 1.0
    logits = torch.zeros(1, 3, 8, 8)
    whole = torch.tensor([[0.5, 0.5, 0.5]])
    labels = observed_parts(visible, logits, whole).argmax(1)[0]
    assert (labels[:, :12] == 0).all()
    assert (labels[:, 20:] == 2).all()
    logits[:, 1, :, 4:] = 20.0  # the encoder is sure of the other part
    assert (observed_parts(visible, logits, whole).argmax(1)[0, :, 20:] == 1).all()
    small = torch.tensor([[0.25, 0.5, 0.2]])  # its crop ends before that
    assert (observed_parts(visible, logits, small).argmax(1)[0, :, 20:] == 2).all()


def test_the_saliency_decides_between_person_and_background():
    log_parts = torch.tensor([0.3, 0.2, 0.5]).log().view(1, 3, 1, 1).expand(1, 3, 2, 2)
    saliency = torch.tensor([[[[1.0, 0.0], [0.5, 1.0]]]])
    assert known_parts(log_parts, saliency).argmax(1)[0].tolist() == [[0, 2], [2, 0]]


def test_a_segmenter_starts_as_what_it_is_given_and_learns_from_the_image():
    torch.manual_seed(0)
    segmenter = PartSegmenter(2, (8, 8, 8))
    images, given = torch.rand(4, 3, 32, 32), torch.randn(4, 3, 32, 32).log_softmax(1)
    torch.testing.assert_close(segmenter(images, given), given)
    truth = (images[:, 0] > 0.5).long()
    optimizer = torch.optim.Adam(segmenter.parameters(), 0.02)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(segmenter(images, given), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_the_side_of_a_person_that_is_seen_is_the_cameras_axis_in_the_body_frame(batch):
    torch.testing.assert_close(view_of(batch.joints_3d), batch.unpaired_camera.rotation[:, 2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("textures", [False, True])
def test_evaluation_has_the_warp_and_flat_parts_beside_every_task(make_system, batch, textures):
    system = make_system(textures=textures)
    system.fit([batch])
    labels = torch.randint(0, 11, (4, SIZE, SIZE))
    camera = Camera(batch.unpaired_camera.rotation, batch.unpaired_camera.translation, batch.K)
    more = {"second_view": batch.target, "second_view_joints_3d": batch.joints_3d, "second_view_camera": camera}
    more |= {"transfer": batch.target, "transfer_joints_3d": batch.joints_3d.flip(0), "part_labels": labels}
    more |= {"second_view_labels": labels, "transfer_labels": labels}
    values, reasons, _ = synthesis_values(system.eval(), dataclasses.replace(batch, **more), 10, None)
    rows = ["", "mean_colour/", "warp/", "flat_parts/", *(["continued/"] if textures else [])]
    for task in TASKS:
        for row in [*rows, *(["copy_source/"] if task.method != "redraw" else [])]:
            assert torch.isfinite(values[f"{row}psnr{task.suffix}"]).all(), (row, task)
    assert set(reasons.values()) == {"weights absent"}


def test_a_network_without_textures_can_be_given_a_decoder_that_draws_them(make_system, batch):
    system = make_system().with_textures()
    system.fit([batch])
    assert system.with_textures() is system
    convolutions = [layer for layer in system.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in convolutions)
    _, drawn, decoded = decode(system, batch)
    torch.testing.assert_close(decoded.person, drawn.colour[:, :3], atol=0.02, rtol=0)


@pytest.mark.parametrize("side", [SIZE, 2 * SIZE])
def test_poses_of_another_network_are_drawn_under_the_cameras_of_this_one(make_system, batch, textured, side):
    reader = make_system()
    reader.fit([batch])
    with torch.no_grad():
        for weight in reader.encoder.head.parameters():
            weight.mul_(-1.0)
    K = intrinsics_of(batch)
    own, _ = textured.seen(batch.target, K)
    before = textured.posed(batch.target, K)
    textured.pose_reader = (reader, side)
    encoding, found = textured.seen(batch.target, K)
    large = nn.functional.interpolate(batch.target, (side, side), mode="bilinear", antialias=True)
    wanted = K.clone()
    wanted[:, :2] *= side / SIZE
    read = reader.encode(large, wanted)
    expected = reader.posed(large, wanted, read)
    assert torch.equal(encoding.appearance, own.appearance)  # what is drawn of the person stays this network's
    torch.testing.assert_close(encoding.part_logits, read.part_logits)
    torch.testing.assert_close(encoding.crop, read.crop)
    assert (found.joints - before.joints).abs().max() > 1e-3
    torch.testing.assert_close(found.joints, expected.joints)
    torch.testing.assert_close(found.pixels, expected.pixels * SIZE / side)
    assert not [name for name in textured.state_dict() if "pose_reader" in name]
    fine = torch.rand(4, 3, 2 * SIZE, 2 * SIZE)  # the reader looks at the larger images, where there are any
    there = nn.functional.interpolate(fine, (side, side), mode="bilinear", antialias=True)
    torch.testing.assert_close(textured.seen(batch.target, K, fine)[1].joints, reader.posed(there, wanted).joints)
