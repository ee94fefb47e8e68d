import numpy as np
import pytest
import torch
from torch import nn

from selfsup3d.builders.systems import build_system
from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.config.run import Config
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.errors import InputError
from selfsup3d.export.bvh import write_bvh
from selfsup3d.geometry.camera import orbit_rotation
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.inference.motion import Motion
from selfsup3d.inference.synthesizer import Orbit, Person, Synthesizer, sweep
from selfsup3d.io import pretrained
from selfsup3d.models.part_guided.backbone import PatchResNet
from selfsup3d.models.part_guided.decoder import Decoder
from selfsup3d.models.part_guided.encoder import Encoder
from selfsup3d.models.part_guided.network import Appearance
from selfsup3d.models.part_guided.pose import BodyPose
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.structures.batch import Camera
from selfsup3d.structures.random import RandomStreams
from selfsup3d.viz.animation import write_animation
from selfsup3d.viz.sheets import write_png

SIZE = 32


@pytest.fixture(scope="module")
def poses():
    return ProceduralPrior(motions=8).sample(RandomStreams(0, 0, np.arange(12)))


def build(poses, trained=True, **variant):
    torch.manual_seed(0)
    kinematics = variant.get("kinematics", True)
    encoder = Encoder(
        PatchResNet((16, 32), (1, 1)), width=16, hidden=32, channels=8, appearance_width=8, kinematics=kinematics
    )
    system = PartGuided(encoder, Decoder(10, 8, (16, 16, 8)), settings=PartGuidedConfig(**variant)).eval()
    system.bone_lengths.copy_(bone_lengths(poses).mean(0))
    if trained:
        nn.init.normal_(system.decoder.to_image.weight, std=0.003)
    return system


def _from_hips(joints):
    return (joints - 0.5 * (joints[1] + joints[4]))[1:]


@pytest.fixture(scope="module", params=["kinematics", "joints"])
def synthesizer(request, poses):
    return Synthesizer(build(poses, kinematics=request.param == "kinematics"), SIZE, batch_size=5)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (50, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def others():
    return np.random.default_rng(1).integers(0, 255, (7, 50, 40, 3), np.uint8)


def test_the_view_of_the_image_itself_is_the_reconstruction(synthesizer, image):
    person = synthesizer.encode(image)
    view = synthesizer.novel_view(person, [Orbit()])
    system, body = synthesizer.system, person.body
    with torch.inference_mode():
        expected = system.synthesize(Appearance(person.appearance), body.joints, body.camera.K, (SIZE, SIZE)).image
    torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)
    assert view.min() >= 0 <= 1 <= 1 + view.max()


def test_batches_change_nothing(synthesizer, others):
    whole = Synthesizer(synthesizer.system, SIZE, batch_size=64)
    a, b = synthesizer.encode(others), whole.encode(others)
    torch.testing.assert_close(a.appearance, b.appearance, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(a.body.joints, b.body.joints, atol=1e-4, rtol=1e-4)
    views = sweep(-90, 90, 12)
    torch.testing.assert_close(synthesizer.novel_view(a[:1], views), whole.novel_view(a[:1], views), atol=1e-4, rtol=0)
    poses = synthesizer.pose(others)
    assert poses.pose.shape == (7, 1, 17, 3)
    torch.testing.assert_close(poses.pose[:, 0], a.body.posed, atol=1e-4, rtol=0)
    assert poses.camera.K.shape == (7, 3, 3)
    assert poses.image is poses.segmentation is poses.latent is None
    decoded = synthesizer.pose(others, decode=True)
    torch.testing.assert_close(decoded.pose, poses.pose, atol=0, rtol=0)
    assert decoded.image.shape == (7, 3, SIZE, SIZE)
    torch.testing.assert_close(decoded.segmentation.sum(1), torch.ones(7, SIZE, SIZE))


def test_nothing_keeps_a_graph(synthesizer, image):
    person = synthesizer.encode(image)
    for tensor in (person.appearance, person.body.canonical, synthesizer.novel_view(person, [Orbit(30)])):
        assert not tensor.requires_grad


def test_a_camera_goes_round_the_person_and_keeps_its_place(synthesizer, image):
    person = synthesizer.encode(image)
    full = synthesizer.seen_by(person.body, [Orbit(), Orbit(360.0), Orbit(45.0), Orbit(0, 30), Orbit(distance=2.0)])
    torch.testing.assert_close(full.joints[1], full.joints[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(full.pixels[:, 0], full.pixels[:1, 0].expand(5, 2), atol=1e-3, rtol=0)
    # the viewer walks to the right: what was on the right comes nearer
    right = full.posed[0, :, 0].argmax()
    assert full.posed[2, right, 2] < full.posed[0, right, 2]
    # from above, what is nearer lies lower in the image
    torch.testing.assert_close(full.posed[3, :, 0], full.posed[0, :, 0], atol=1e-5, rtol=0)
    assert full.joints[4, 0, 2] == pytest.approx(2 * float(full.joints[0, 0, 2]), rel=1e-5)


@pytest.mark.parametrize("elevation", [-10.0, 0.0, 35.0])
def test_nobody_leans_on_the_way_round_a_person_seen_from_above(synthesizer, elevation):
    """A symmetric person who stands upright: neck over ankles from every side, as far down as in the image."""
    standing = torch.zeros(17, 3)
    standing[:, 1] = torch.tensor(
        [0, -0.13, -0.13, -0.13, 0.13, 0.13, 0.13, 0, 0, 0, 0, 0.17, 0.2, 0.2, -0.17, -0.2, -0.2]
    )
    standing[:, 2] = torch.tensor([0, 0, -0.45, -0.9, 0, -0.45, -0.9, 0.25, 0.5, 0.6, 0.75, 0.5, 0.2, 0, 0.5, 0.2, 0])
    rotation = orbit_rotation(torch.tensor(0.7), torch.tensor(np.radians(elevation)))[None].float()
    camera = Camera(rotation, torch.tensor([[0.0, 0.0, 4.0]]), synthesizer.intrinsics(1))
    seen = synthesizer.seen_by(BodyPose(standing[None], camera), [Orbit(a) for a in (0, 45, 90, 180, 270)])
    upright = seen.posed[:, 9] - seen.posed[:, 3:7:3].mean(1)
    torch.testing.assert_close(upright, upright[:1].expand(5, 3), atol=1e-5, rtol=0)
    assert upright[:, 0].abs().max() < 1e-5
    higher = synthesizer.seen_by(BodyPose(standing[None], camera), [Orbit(90, 10)]).camera.rotation[0]
    assert float(torch.rad2deg(torch.asin(-higher[2, 2]))) == pytest.approx(elevation + 10, abs=1e-3)


def test_a_camera_in_front_of_the_body_sees_its_front(synthesizer, poses):
    camera = Camera(torch.eye(3)[None], torch.tensor([[0.0, 0.0, 4.0]]), synthesizer.intrinsics(1))
    seen = synthesizer.seen_by(BodyPose(poses[:1], camera), [Orbit(origin="body")])
    left_hip, right_hip = seen.posed[0, 4], seen.posed[0, 1]
    assert left_hip[0] > right_hip[0]  # facing us, their left is on our right
    assert seen.posed[0, 8, 1] < 0  # the neck is above the pelvis


def test_transfer_takes_the_pose_of_the_driving_images(synthesizer, image, others):
    own, person = synthesizer.encode(image), synthesizer.encode(others)
    frames = torch.stack(list(synthesizer.transfer(image, others)))
    assert frames.shape == (7, 3, SIZE, SIZE)
    assert (frames - frames[:1]).abs().amax((1, 2, 3))[1:].min() > 0
    body = synthesizer.driven(own.body, person)
    if synthesizer.system.settings.kinematics:  # then all have the system's bones anyway
        torch.testing.assert_close(body.joints, person.body.joints, atol=1e-3, rtol=1e-3)
    lengths = synthesizer.system.bone_lengths
    torch.testing.assert_close(bone_lengths(body.canonical), lengths.expand(7, 17), atol=1e-4, rtol=1e-3)
    still = synthesizer.driven(own.body, person, camera="appearance")
    torch.testing.assert_close(still.camera.rotation, own.body.camera.rotation.expand(7, 3, 3))


def test_a_recorded_motion_drives_from_the_persons_own_place(synthesizer, image, poses):
    own = synthesizer.encode(image)
    drift = torch.zeros(12, 3)
    drift[3, 1] = 0.3
    motion = Motion(poses, torch.eye(3).expand(12, 3, 3), drift=drift)
    body = synthesizer.driven(own.body, motion)
    place = own.body.camera.translation[0]
    torch.testing.assert_close(body.joints[0, 0], place, atol=1e-5, rtol=0)
    torch.testing.assert_close(body.joints[3, 0] - place, drift[3], atol=1e-5, rtol=0)
    assert len(list(synthesizer.transfer(own, motion))) == 12


def test_files_drive_by_their_kind(synthesizer, image, others, poses, tmp_path):
    own = synthesizer.encode(image)
    write_png(tmp_path / "p.png", others[0])
    for k, other in enumerate(others):
        write_png(tmp_path / "folder" / f"{k}.png", other)
    write_animation(tmp_path / "video.avi", others, 10.0)
    write_bvh(tmp_path / "m.bvh", poses.numpy()[:, :, [1, 2, 0]] * [1, -1, -1], 20.0)
    body = synthesizer.driven(own.body, tmp_path / "folder")
    expected = synthesizer.driven(own.body, synthesizer.encode(others))
    torch.testing.assert_close(body.joints, expected.joints, atol=1e-3, rtol=1e-3)
    for name, count in (("p.png", 1), ("video.avi", 7), ("m.bvh", 12)):
        assert len(list(synthesizer.transfer(own, tmp_path / name))) == count
    with pytest.raises(InputError, match=r"m\.txt: not a file of poses"):
        synthesizer.transfer(own, str(tmp_path / "m.txt"))


def test_mixing_one_person_with_themselves_is_their_image(synthesizer, image, others):
    a, b = synthesizer.encode(image), synthesizer.encode(others[:1])
    torch.testing.assert_close(synthesizer.mix(a, a, a), synthesizer.novel_view(a, [Orbit()]), atol=1e-5, rtol=0)
    assert (synthesizer.mix(b, a, a) - synthesizer.mix(a, a, a)).abs().max() > 1e-4
    assert synthesizer.mix(a, synthesizer.encode(others), a).shape == (7, 3, SIZE, SIZE)


def test_the_way_from_one_person_to_another_starts_and_ends_at_them(synthesizer, image, others):
    a, b = synthesizer.encode(image), synthesizer.encode(others[:1])
    way = synthesizer.interpolate(a, b, 5)
    for step, end in ((0, a), (4, b)):
        torch.testing.assert_close(way.appearance[step], end.appearance[0], atol=1e-5, rtol=1e-4)
        # Poses of the ablation may have their pelvis off the hips' line: it is put there, all else stays.
        for found, expected in zip(_from_hips(way.body.joints[step]), _from_hips(end.body.joints[0]), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    identity = way.body.camera.rotation @ way.body.camera.rotation.transpose(-1, -2)
    torch.testing.assert_close(identity, torch.eye(3).expand(5, 3, 3), atol=1e-4, rtol=0)
    lengths = bone_lengths(way.body.canonical)
    torch.testing.assert_close(lengths[2], 0.5 * (lengths[0] + lengths[4]), atol=1e-3, rtol=1e-3)


def test_a_person_lies_over_the_background_that_is_given(synthesizer, image):
    behind = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    person = synthesizer.encode(image)
    over = synthesizer.novel_view(person, [Orbit()], behind)[0]
    covered = torch.from_numpy(synthesizer.silhouette(person)[0])
    assert covered.shape == (SIZE, SIZE)
    assert (covered == 1).any()
    assert (covered < 1).any()
    constant = synthesizer.novel_view(person, [Orbit()])[0]
    torch.testing.assert_close(over[:, covered == 1], constant[:, covered == 1])  # nothing shines through
    # The rest is the background's, but for where the image departs from the constant grey outside the puppet.
    assert synthesizer.system.decoder.background.tolist() == [0.5, 0.5, 0.5]
    share = torch.maximum(covered, 2 * (constant - 0.5).abs().amax(0))
    for laid in (behind, torch.tensor([1.0, 0.0, 0.0])):
        colours = laid if laid.ndim == 3 else laid[:, None, None]
        expected = (constant + (1 - share) * (colours - 0.5)).clamp(0, 1)
        torch.testing.assert_close(synthesizer.novel_view(person, [Orbit()], laid)[0], expected, atol=1e-5, rtol=0)
    # From far away the upper rows are the background: the untrained decoder departs from grey by little.
    far, alone = (synthesizer.novel_view(person, [Orbit(distance=50.0)], b)[0, :, :4] for b in (behind, None))
    departed = 2 * (alone - 0.5).abs().max().item()
    assert departed < 0.1
    torch.testing.assert_close(far, behind[:, :4], atol=departed, rtol=0)
    with pytest.raises(InputError, match="a background has shape"):
        synthesizer.novel_view(person, [Orbit()], torch.rand(3, 5, 5))


def test_a_saved_model_paints_again(tmp_path, poses):
    config = Config()
    system = build_system(config)
    system.bone_lengths.copy_(bone_lengths(poses).mean(0))
    nn.init.normal_(system.decoder.to_image.weight, std=0.003)  # as if it were trained
    pretrained.save_pretrained(tmp_path, system, config.to_dict(), "a test")
    loaded = Synthesizer.from_pretrained(tmp_path)
    assert loaded.size == 64
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    direct = Synthesizer(system.eval(), 64)
    torch.testing.assert_close(
        loaded.novel_view(image, [Orbit(40)]), direct.novel_view(image, [Orbit(40)]), atol=1e-5, rtol=0
    )


def test_what_cannot_be_painted_is_told(tmp_path, synthesizer, image, others, poses):
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 3)), torch.zeros(3, 5, 5), torch.zeros(3, SIZE, SIZE, dtype=int)):
        with pytest.raises(InputError, match="expected"):
            synthesizer.encode(wrong)
    with pytest.raises(InputError, match="expected one image of the person, got 7"):
        synthesizer.novel_view(others, [Orbit()])
    with pytest.raises(InputError, match="2 steps at least"):
        synthesizer.interpolate(synthesizer.encode(image), synthesizer.encode(image), 1)
    with pytest.raises(InputError, match="no camera"):
        synthesizer.novel_view(image, [])
    with pytest.raises(InputError, match="distance more than 0"):
        Orbit(distance=0.0)
    with pytest.raises(InputError, match="cannot be mixed"):
        synthesizer.mix(synthesizer.encode(others), synthesizer.encode(others[:2]), synthesizer.encode(image))
    three: Person = synthesizer.encode(others[:3])
    with pytest.raises(InputError, match="3 people cannot take 7 poses"):
        list(synthesizer.paint(three, synthesizer.encode(others).body))
    with pytest.raises(InputError, match="never trained"):
        Synthesizer(build(poses, trained=False), SIZE)
    with pytest.raises(InputError, match="nowhere"):
        Synthesizer.from_pretrained(tmp_path / "nowhere")
