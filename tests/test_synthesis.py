import numpy as np
import pytest
import torch

from selfsup3d import hub
from selfsup3d.config import Config
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.draws import Draws
from selfsup3d.errors import InputError
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.models.backbone import PatchResNet
from selfsup3d.models.decoder import Decoder
from selfsup3d.models.encoder import Encoder
from selfsup3d.models.part_guided import PartGuided, Variant
from selfsup3d.prediction.motion import Motion
from selfsup3d.synthesis import Orbit, Person, Synthesizer, named_background, plate_of, sweep
from selfsup3d.training.build import build_system
from selfsup3d.viz.sheets import write_png

SIZE = 32


@pytest.fixture(scope="module")
def poses():
    return ProceduralPrior(motions=8).sample(Draws(0, 0, np.arange(12)))


def build(poses, **variant):
    torch.manual_seed(0)
    kinematics = variant.get("kinematics", True)
    encoder = Encoder(
        PatchResNet((16, 32), (1, 1)), width=16, hidden=32, channels=8, appearance_width=8, kinematics=kinematics
    )
    system = PartGuided(encoder, Decoder(10, 8, (16, 16, 8)), variant=Variant(**variant)).eval()
    system.bone_lengths.copy_(bone_lengths(poses).mean(0))
    return system


def _from_hips(joints):
    return (joints - 0.5 * (joints[1] + joints[4]))[1:]


@pytest.fixture(scope="module", params=["kinematics", "joints"])
def synthesizer(request, poses):
    return Synthesizer(build(poses, kinematics=request.param == "kinematics"), SIZE, batch_size=5)


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 255, (50, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def others():
    return np.random.default_rng(1).integers(0, 255, (7, 50, 40, 3), np.uint8)


def test_the_view_of_the_picture_itself_is_the_reconstruction(synthesizer, picture):
    person = synthesizer.encode(picture)
    view = synthesizer.novel_view(person, [Orbit()])
    system, body = synthesizer.system, person.body
    with torch.inference_mode():
        decoded = system.synthesize(person.appearance, body.joints, body.camera.K, (SIZE, SIZE))
        constant = system.decoder.background.view(1, 3, 1, 1).expand_as(decoded.image)
        expected = decoded.over(constant)
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


def test_nothing_keeps_a_graph(synthesizer, picture):
    person = synthesizer.encode(picture)
    for tensor in (person.appearance, person.body.canonical, synthesizer.novel_view(person, [Orbit(30)])):
        assert not tensor.requires_grad


def test_a_camera_goes_round_the_person_and_keeps_its_place(synthesizer, picture):
    person = synthesizer.encode(picture)
    full = synthesizer.seen_by(person.body, [Orbit(), Orbit(360.0), Orbit(90.0), Orbit(0, 30), Orbit(distance=2.0)])
    torch.testing.assert_close(full.joints[1], full.joints[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(full.pixels[:, 0], full.pixels[:1, 0].expand(5, 2), atol=1e-3, rtol=0)
    # the viewer walks to the right: what was on the right comes nearer
    right = full.posed[0, :, 0].argmax()
    assert full.posed[2, right, 2] < 0 < full.posed[0, right, 0]
    # from above, what is nearer lies lower in the picture
    torch.testing.assert_close(full.posed[3, :, 0], full.posed[0, :, 0], atol=1e-5, rtol=0)
    assert full.joints[4, 0, 2] == pytest.approx(2 * float(full.joints[0, 0, 2]), rel=1e-5)


def test_a_camera_in_front_of_the_body_sees_its_front(synthesizer, poses):
    from selfsup3d.batch import Camera
    from selfsup3d.models.pose import BodyPose

    camera = Camera(torch.eye(3)[None], torch.tensor([[0.0, 0.0, 4.0]]), synthesizer.intrinsics(1))
    seen = synthesizer.seen_by(BodyPose(poses[:1], camera), [Orbit(origin="body")])
    left_hip, right_hip = seen.posed[0, 4], seen.posed[0, 1]
    assert left_hip[0] > right_hip[0]  # facing us, their left is on our right
    assert seen.posed[0, 8, 1] < 0  # the neck is above the pelvis


def test_transfer_takes_the_pose_of_the_driving_pictures(synthesizer, picture, others):
    own, person = synthesizer.encode(picture), synthesizer.encode(others)
    frames = torch.stack(list(synthesizer.transfer(picture, others)))
    assert frames.shape == (7, 3, SIZE, SIZE)
    assert (frames - frames[:1]).abs().amax((1, 2, 3))[1:].min() > 0
    body = synthesizer.driven(own.body, person)
    if synthesizer.system.variant.kinematics:  # then all have the system's bones anyway
        torch.testing.assert_close(body.joints, person.body.joints, atol=1e-3, rtol=1e-3)
    lengths = synthesizer.system.bone_lengths
    torch.testing.assert_close(bone_lengths(body.canonical), lengths.expand(7, 17), atol=1e-4, rtol=1e-3)
    still = synthesizer.driven(own.body, person, camera="appearance")
    torch.testing.assert_close(still.camera.rotation, own.body.camera.rotation.expand(7, 3, 3))


def test_a_recorded_motion_drives_from_the_persons_own_place(synthesizer, picture, poses):
    own = synthesizer.encode(picture)
    drift = torch.zeros(12, 3)
    drift[3, 1] = 0.3
    motion = Motion(poses, torch.eye(3).expand(12, 3, 3), drift=drift)
    body = synthesizer.driven(own.body, motion)
    place = own.body.camera.translation[0]
    torch.testing.assert_close(body.joints[0, 0], place, atol=1e-5, rtol=0)
    torch.testing.assert_close(body.joints[3, 0] - place, drift[3], atol=1e-5, rtol=0)
    assert len(list(synthesizer.transfer(own, motion))) == 12


def test_mixing_one_person_with_themselves_is_their_picture(synthesizer, picture, others):
    a, b = synthesizer.encode(picture), synthesizer.encode(others[:1])
    torch.testing.assert_close(synthesizer.mix(a, a, a), synthesizer.novel_view(a, [Orbit()]), atol=1e-5, rtol=0)
    assert (synthesizer.mix(b, a, a) - synthesizer.mix(a, a, a)).abs().max() > 1e-4
    assert synthesizer.mix(a, synthesizer.encode(others), a).shape == (7, 3, SIZE, SIZE)


def test_the_way_from_one_person_to_another_starts_and_ends_at_them(synthesizer, picture, others):
    a, b = synthesizer.encode(picture), synthesizer.encode(others[:1])
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


def test_a_person_lies_over_the_background_that_is_given(synthesizer, picture):
    far = Orbit(distance=50.0)
    behind = torch.rand(3, SIZE, SIZE)
    person = synthesizer.encode(picture)
    over = synthesizer.novel_view(person, [far], behind)[0]
    constant = synthesizer.novel_view(person, [far])[0]
    colour = synthesizer.novel_view(person, [far], torch.tensor([1.0, 0.0, 0.0]))[0]
    alpha = 1 - (over - constant) / (behind - synthesizer.system.decoder.background.view(3, 1, 1)).clamp_min(1e-6)
    assert torch.isfinite(alpha).all()
    assert (over != constant).any()
    assert (colour[0] - constant[0]).max() > 0
    with pytest.raises(InputError, match="a background has shape"):
        synthesizer.novel_view(person, [far], torch.rand(3, 5, 5))


def test_the_plate_of_a_still_camera_is_what_it_sees_without_the_person():
    rng = np.random.default_rng(0)
    wall = np.repeat(np.repeat(rng.integers(60, 160, (8, 8, 3), np.uint8), 8, 0), 8, 1)
    frames = np.stack([wall] * 12)
    for k in range(12):
        frames[k, 16:60, 4 * k + 4 : 4 * k + 16] = 250
    plate = plate_of(frames, 64).permute(1, 2, 0).numpy() * 255
    assert np.abs(plate - wall).mean() < 8.0
    alone = plate_of(frames[6], SIZE)
    assert alone.shape == (3, SIZE, SIZE)


def test_named_backgrounds(tmp_path, picture):
    assert named_background("constant", picture, SIZE) is None
    assert named_background("plate", picture, SIZE).shape == (3, SIZE, SIZE)
    write_png(tmp_path / "b.png", np.full((20, 50, 3), 51, np.uint8))
    assert float(named_background(str(tmp_path / "b.png"), picture, SIZE).mean()) == pytest.approx(0.2)
    with pytest.raises(InputError, match="neither constant, plate nor a picture"):
        named_background("beach", picture, SIZE)


def test_a_saved_model_paints_again(tmp_path, poses):
    config = Config()
    system = build_system(config)
    system.bone_lengths.copy_(bone_lengths(poses).mean(0))
    hub.save_pretrained(tmp_path, system, config.to_dict(), "a test")
    loaded = Synthesizer.from_pretrained(tmp_path)
    assert loaded.size == 64
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    direct = Synthesizer(system.eval(), 64)
    torch.testing.assert_close(
        loaded.novel_view(picture, [Orbit(40)]), direct.novel_view(picture, [Orbit(40)]), atol=1e-5, rtol=0
    )


def test_what_cannot_be_painted_is_told(tmp_path, synthesizer, picture, others, poses):
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 3)), torch.zeros(3, 5, 5), torch.zeros(3, SIZE, SIZE, dtype=int)):
        with pytest.raises(InputError, match="expected"):
            synthesizer.encode(wrong)
    with pytest.raises(InputError, match="expected one picture of the person, got 7"):
        synthesizer.novel_view(others, [Orbit()])
    with pytest.raises(InputError, match="no camera"):
        synthesizer.novel_view(picture, [])
    with pytest.raises(InputError, match="distance more than 0"):
        Orbit(distance=0.0)
    with pytest.raises(InputError, match="cannot be mixed"):
        synthesizer.mix(synthesizer.encode(others), synthesizer.encode(others[:2]), synthesizer.encode(picture))
    three: Person = synthesizer.encode(others[:3])
    with pytest.raises(InputError, match="3 people cannot take 7 poses"):
        list(synthesizer.paint(three, synthesizer.encode(others).body))
    with pytest.raises(InputError, match="puppets only"):
        Synthesizer(build(poses, supervision="puppet"), SIZE)
    with pytest.raises(InputError, match="nowhere"):
        Synthesizer.from_pretrained(tmp_path / "nowhere")
