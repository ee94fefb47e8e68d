import dataclasses

import numpy as np
import pytest

from selfsup3d.puppet.puppet import Puppet
from selfsup3d.structures.skeleton import H36M_17, joint_index


def test_default_puppet_has_the_ten_parts(puppet):
    assert len(puppet) == puppet.background == 10
    limbs = {f"{side}_{limb}" for side in ("left", "right") for limb in ("upper_arm", "forearm", "thigh", "shin")}
    assert set(puppet.names) == {"head", "torso"} | limbs
    assert [part.name for part in puppet.parts if part.four_anchors] == ["torso"]


def test_mirror_partners_swap_sides_of_names_and_anchors(puppet):
    assert [puppet.flip_order[p] for p in puppet.flip_order] == list(range(10))
    for part in puppet.parts:
        other = puppet.parts[part.partner]
        swapped = part.name.replace("left", "*").replace("right", "left").replace("*", "right")
        assert other.name == swapped
        mirrored = {H36M_17.flip_order[joint_index(joint)] for joint in part.anchors}
        assert {joint_index(joint) for joint in other.anchors} == mirrored


def test_anchor_matrix_averages_joints(puppet):
    joints = np.random.default_rng(0).normal(size=(17, 3))
    points = puppet.anchor_matrix @ joints
    thigh = puppet["left_thigh"]
    np.testing.assert_allclose(points[thigh.id], joints[joint_index("left_hip")])
    np.testing.assert_allclose(points[10 + thigh.id], joints[joint_index("left_knee")])
    shoulders = joints[[joint_index("left_shoulder"), joint_index("right_shoulder")]]
    np.testing.assert_allclose(points[puppet["torso"].id], shoulders.mean(0))
    np.testing.assert_allclose(points[20:22], shoulders)


def test_edges_are_the_profile(puppet):
    x = np.linspace(-1.2, 1.2, 1201)
    y = np.linspace(-0.7, 0.7, 141)[:, None]
    for part, edges in zip(puppet.parts, puppet.edges, strict=True):
        n_x, n_y, c = edges.T[..., None, None]
        value = (n_x * x + n_y * y + c).min(0)
        clear = np.abs(value) > 1e-9  # rounding decides on the outline itself
        np.testing.assert_array_equal((value > 0)[clear], (np.abs(y) <= part.half_width(x))[clear])


def test_scaled_widens_every_part(puppet):
    factors = np.linspace(0.8, 1.2, 10)[[0, 1, 2, 3, 2, 3, 4, 5, 4, 5]]
    wider = puppet.scaled(factors)
    np.testing.assert_allclose(wider.widths, puppet.widths * factors)
    assert wider["torso"].lateral == pytest.approx(factors[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": ((-0.5, 0.2), (0.0, 0.1), (0.5, 0.2))}, "concave"),
        ({"profile": ((0.5, 0.2), (-0.5, 0.2))}, "increasing"),
        ({"width": 0.0}, "positive width"),
        ({"width": 0.9}, "must mirror"),
        ({"name": "torso"}, "repeat"),
        ({"id": 3}, "in order"),
    ],
)
def test_wrong_tables_are_refused(puppet, change, message):
    with pytest.raises(ValueError, match=message):
        Puppet((*puppet.parts[:9], dataclasses.replace(puppet.parts[9], **change)))
