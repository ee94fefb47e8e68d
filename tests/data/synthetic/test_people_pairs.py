import numpy as np
import pytest
import torch

from selfsup3d.data.synthetic.people import render_people
from selfsup3d.data.synthetic.people_pairs import PeoplePairs
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.camera import project
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.structures.random import RandomStreams


@pytest.fixture(scope="module")
def prior():
    return ProceduralPrior(motions=8)


@pytest.fixture(scope="module")
def batch(prior):
    return PeoplePairs(prior, 64, pool=4).batch(RandomStreams(0, 0, np.arange(6)))


def test_samples_depend_on_their_own_stream_alone(prior, batch):
    again = PeoplePairs(prior, 64, pool=4).batch(RandomStreams(0, 0, np.arange(3, 6)))
    for name in ("rendered", "rendered_source", "rendered_parts", "unpaired"):
        torch.testing.assert_close(getattr(again, name), getattr(batch, name)[3:])


def test_the_pose_and_the_camera_are_those_of_the_image(batch):
    camera = batch.unpaired_camera
    joints = batch.unpaired @ camera.rotation.mT + camera.translation[:, None]
    neck = project(joints, camera.K)[:, 8].floor().long()
    puppet = default_puppet()
    upper = {puppet[name].id for name in ("head", "torso", "left_upper_arm", "right_upper_arm")}
    inside = ((neck >= 0) & (neck < 64)).all(-1)
    found = [int(batch.rendered_parts[k, y, x]) in upper for k, (x, y) in enumerate(neck.tolist()) if inside[k]]
    assert np.mean(found) > 0.6


def test_both_images_show_one_person_in_one_light(prior):
    streams = lambda step: RandomStreams(3, step, np.arange(24))  # noqa: E731
    poses = prior.sample_upright(streams(1))
    one, again = (render_people(streams(0), poses, views=streams(2)) for _ in range(2))
    np.testing.assert_array_equal(one.image, again.image)
    other = render_people(streams(0), poses, views=streams(5))
    assert (other.rotation != one.rotation).any()
    np.testing.assert_allclose(other.canonical, one.canonical, atol=1e-5)  # the same bones

    def mean_colour(people):
        cover = people.image[..., 3].astype(float).sum((1, 2))
        return people.image[..., :3].astype(float).sum((1, 2)) / cover[:, None]

    apart = np.abs(mean_colour(one) - mean_colour(other)).max(-1).mean()
    strangers = np.abs(mean_colour(one) - np.roll(mean_colour(one), 1, axis=0)).max(-1).mean()
    assert apart < strangers
