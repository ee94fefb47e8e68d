import numpy as np
import pytest
import torch

from selfsup3d.data.priors.camera_prior import UprightPoses
from selfsup3d.data.sampling.mixture import Mixture
from selfsup3d.data.synthetic.backdrops import Backdrops
from selfsup3d.data.synthetic.people import RENDER_SIDE, render_people
from selfsup3d.data.synthetic.people_images import PeopleSource, PosePool, WithPeople
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.data.synthetic.shading import cast_shadow, creased, dressed
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import project
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import joint_index


@pytest.fixture(scope="module")
def prior():
    return ProceduralPrior(40)


@pytest.fixture(scope="module")
def people(prior):
    return PeopleSource(prior, 64, pool=64, reuse=4.0)


def streams(indices):
    return RandomStreams(7, 0, np.asarray(indices))


def test_a_person_does_not_depend_on_who_is_rendered_beside_it(prior):
    pair, alone = streams([3, 8]), streams([8])
    both, one = render_people(pair, prior.sample_upright(pair)), render_people(alone, prior.sample_upright(alone))
    np.testing.assert_array_equal(both.image[1], one.image[0])
    np.testing.assert_allclose(both.translation[1], one.translation[0], rtol=1e-6)


def test_joints_lie_inside_the_cut_out_and_mostly_on_the_body(prior):
    draws = streams(range(24))
    drawn = render_people(draws, prior.sample_upright(draws))
    seen = drawn.canonical @ drawn.rotation.swapaxes(1, 2) + drawn.translation[:, None]
    pixels = seen[..., :2] / seen[..., 2:] * drawn.focal[:, None, None] + RENDER_SIDE / 2
    assert pixels.min() > 0
    assert pixels.max() < RENDER_SIDE
    rows, columns = pixels.astype(int)[..., 1], pixels.astype(int)[..., 0]
    cover = drawn.image[np.arange(24)[:, None], rows, columns, 3]
    assert (cover > 127).mean() > 0.95
    assert (drawn.image[..., :3] <= drawn.image[..., 3:]).all()  # premultiplied


def test_a_training_image_depends_on_its_own_draw_alone(people, prior):
    first = people.batch(streams([5, 6, 7]))
    again = PeopleSource(prior, 64, pool=64, reuse=4.0).batch(streams([6, 5]))
    torch.testing.assert_close(first.unpaired[1], again.unpaired[0])
    same = (first.rendered[1] - again.rendered[0]).abs().amax()
    # The passer-by is another sample of the batch; whoever has none looks the same.
    assert same == 0 or (first.rendered[1] != again.rendered[0]).float().mean() < 0.5


def test_limbs_are_where_pose_and_camera_put_them_on_their_own_side(people):
    """Knees, elbows and ankles of turned, mirrored and shifted images lie on parts of their own side."""
    batch = people.batch(streams(range(96)))
    joints = batch.unpaired @ batch.unpaired_camera.rotation.mT + batch.unpaired_camera.translation[:, None]
    pixels = project(joints, batch.unpaired_camera.K)
    own = other = 0
    for side, opposite in (("left", "right"), ("right", "left")):
        for joint, part in (("knee", "shin"), ("ankle", "shin"), ("elbow", "forearm")):
            at = pixels[:, joint_index(f"{side}_{joint}")].long()
            inside = ((at >= 0) & (at < 64)).all(1)
            found = batch.rendered_parts[torch.arange(96)[inside], at[inside, 1], at[inside, 0]]
            parts = {"shin": ("shin", "thigh"), "forearm": ("forearm", "upper_arm")}[part]
            own += sum(int((found == default_puppet()[f"{side}_{p}"].id).sum()) for p in parts)
            other += sum(int((found == default_puppet()[f"{opposite}_{p}"].id).sum()) for p in parts)
    assert own > 5 * other
    assert own > 200


def test_the_camera_is_turned_about_its_axis_by_no_more_than_its_roll(people, prior):
    batch = people.batch(streams(range(64)))
    up = batch.unpaired_camera.rotation @ torch.tensor([0.0, 0.0, 1.0])
    tilt = torch.rad2deg(torch.atan2(up[:, 0], -up[:, 1]))
    assert tilt.std() > 5.0


def test_the_pool_is_renewed(people):
    life = 64 * 4
    early, late = people.batch(streams(range(8))), people.batch(streams(range(life, life + 8)))
    assert not torch.equal(early.unpaired, late.unpaired)


class _Two:
    """A thousand poses alike and ten of another kind."""

    def sample_upright(self, draws):
        joints = torch.zeros(len(draws), 17, 3)
        joints[:, :, 2] = torch.arange(17) / 17
        joints[draws.indices % 100 == 0, 3, 0] = 1.0
        return UprightPoses(joints, torch.eye(3).expand(len(draws), 3, 3), torch.ones(len(draws)))


def test_rare_poses_are_drawn_more_often_than_they_come():
    pool = PosePool([(_Two(), 1.0)], size=1000, kinds=2)
    drawn = pool.sample_upright(streams(range(2000))).joints
    assert 0.05 < float((drawn[:, 3, 0] == 1.0).float().mean()) < 0.15  # sqrt(10) / (sqrt(10) + sqrt(990)) = 0.09


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"data\.backgrounds"):
        Backdrops(tmp_path, rooms=1)


class Walls:
    """A dataset of plain images."""

    image_size = 64

    def __init__(self, name, count):
        self.name, self.count = name, count

    def __len__(self):
        return self.count

    def batch(self, streams):
        image = torch.full((len(streams), 3, 64, 64), 0.25)
        return Batch(index=torch.from_numpy(streams.indices), source=image, target=image)

    def frames(self, indices):
        return Batch(index=torch.from_numpy(indices))


def test_people_stand_in_for_the_unpaired_poses_of_every_part_of_a_mixture(people):
    mixture = Mixture([WithPeople(Walls(name, count), people) for name, count in (("a", 3), ("b", 5))])
    assert len(mixture) == 8
    batch = mixture.batch(RandomStreams(0, 0, np.arange(4)))
    assert float(batch.source.max()) == 0.25
    assert float(batch.rendered.std()) > 0.05
    assert batch.unpaired.shape == (4, 17, 3)
    assert batch.unpaired_camera is not None


# ---- light that the renderer leaves out ----


def generator():
    return np.random.default_rng(3)


def test_folds_change_brightness_alone_and_keep_the_mean():
    colour = np.full((64, 64, 3), 100.0, np.float32) * np.array([1.0, 0.5, 0.25], np.float32)
    folded = np.stack([creased(colour, draw) for draw in [generator()] for _ in range(40)])
    ratio = folded / colour
    np.testing.assert_allclose(ratio[..., 0], ratio[..., 2], rtol=1e-5)
    assert ratio.std() > 0.02
    assert ratio.mean() == pytest.approx(1.0, abs=0.03)


def test_shadows_only_darken():
    image, cover = np.full((64, 64, 3), 180.0, np.float32), np.zeros((64, 64), np.float32)
    cover[20:50, 28:36] = 1.0
    draw = generator()
    shaded = np.stack([cast_shadow(image, cover, np.array([32.0, 50.0]), draw) for _ in range(40)])
    assert (shaded <= image + 1e-3).all()
    assert ((shaded < image - 5).any((1, 2, 3))).mean() > 0.9


def test_a_picture_dresses_the_parts_of_one_cloth_and_leaves_the_head():
    cover = np.ones((64, 64, 1), np.float32)
    labels = np.repeat(np.arange(10), 7)[:64, None].repeat(64, 1)
    colour = np.full((64, 64, 3), 90.0, np.float32)
    cloth = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    draw = generator()
    for _ in range(12):
        dressed_up = dressed(colour, cover, labels, cloth, draw)
        changed = (dressed_up != colour).any(-1)
        assert not changed[labels == 0].any()
        assert changed.any()
        for part in range(1, 10):  # whole parts
            assert changed[labels == part].mean() in (pytest.approx(0.0), pytest.approx(1.0, abs=0.05))
    assert (dressed(colour, cover, np.full_like(labels, 10), cloth, draw) == colour).all()
