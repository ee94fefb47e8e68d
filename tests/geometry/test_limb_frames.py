import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfsup3d.geometry.limb_frames import (
    CONE_SINE,
    FOLD_COSINE,
    FRAMES,
    Frame,
    carry,
    local_coordinates,
    tilted_frame,
    to_direction,
)
from selfsup3d.geometry.rotation import axis_angle_to_matrix, minimal_rotation, random_rotation


def as_frame(matrices: torch.Tensor) -> Frame:
    """(N, 3, 3) rotations with columns a, b, n -> frames of one joint."""
    return Frame(*(matrices[..., i].T[None] for i in range(3)))


def as_matrices(frame: Frame) -> torch.Tensor:
    return torch.stack([axis[0].T for axis in frame], dim=-1)


def random_frames(count: int, seed: int = 0) -> torch.Tensor:
    return random_rotation(torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def polar(cosine: float | torch.Tensor, longitude: torch.Tensor) -> torch.Tensor:
    """(N, 3) unit local vectors at a given cosine to the parent limb."""
    cosine = torch.as_tensor(cosine, dtype=torch.float64).expand_as(longitude)
    sine = (1 - cosine**2).sqrt()
    return torch.stack((cosine, sine * longitude.cos(), sine * longitude.sin()), dim=-1)


LONGITUDES = torch.linspace(-math.pi, math.pi, 25, dtype=torch.float64)
COSINES = [-1.0, -1 + 1e-9, -0.97, FOLD_COSINE - 1e-9, FOLD_COSINE + 1e-9, -0.9, 0.0, 0.9, 1 - 1e-9, 1.0]


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("cosine", COSINES)
def test_carried_frames_are_orthonormal_and_right_handed(frames, cosine):
    local = polar(cosine, LONGITUDES)
    parent = as_frame(random_frames(len(local)))
    limb = to_direction(parent, local.T[None])
    matrices = as_matrices(carry(parent, local.T[None], limb, frames))
    torch.testing.assert_close(matrices[..., 0].T[None], limb)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(3, dtype=torch.float64).expand_as(matrices))
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(len(local), dtype=torch.float64))


def test_parallel_transport_is_the_minimal_rotation_of_the_frame():
    parents = random_frames(100, 1)
    local = polar(torch.linspace(FOLD_COSINE + 1e-6, 1, 100, dtype=torch.float64), LONGITUDES.repeat(4))
    frame = as_frame(parents)
    limb = to_direction(frame, local.T[None])
    carried = as_matrices(carry(frame, local.T[None], limb, "parallel_transport"))
    expected = minimal_rotation(parents[..., 0], limb[0].T) @ parents
    torch.testing.assert_close(carried, expected, atol=1e-9, rtol=0)


def test_beyond_the_switch_it_goes_round():
    parents = random_frames(100, 2)
    local = polar(torch.linspace(-1, FOLD_COSINE - 1e-6, 100, dtype=torch.float64), LONGITUDES.repeat(4))
    frame = as_frame(parents)
    limb = to_direction(frame, local.T[None])
    carried = as_matrices(carry(frame, local.T[None], limb, "parallel_transport"))
    half_turn = axis_angle_to_matrix(math.pi * parents[..., 1])  # about b: a -> -a, n -> -n
    expected = minimal_rotation(-parents[..., 0], limb[0].T) @ half_turn @ parents
    torch.testing.assert_close(carried, expected, atol=1e-9, rtol=0)


def _limbs(seed: int, count: int = 64) -> torch.Tensor:
    return random_frames(count, seed)[..., 0]


def test_gram_schmidt_follows_the_formula_outside_its_cone():
    limb = _limbs(3)
    sine = (1 - limb[:, 0] ** 2).sqrt()
    carried = as_matrices(carry(None, None, limb.T[None], "gram_schmidt"))
    reference = torch.where((sine < CONE_SINE)[:, None], torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0]))
    across = reference - (reference * limb).sum(-1, keepdim=True) * limb
    torch.testing.assert_close(carried[..., 1], across / across.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(carried[..., 2], torch.linalg.cross(limb, carried[..., 1]))


@given(st.integers(0, 10_000), st.floats(-1, 1), st.floats(-4, 4))
def test_local_coordinates_undo_to_direction(seed, cosine, longitude):
    frame = as_frame(random_frames(1, seed))
    local = polar(cosine, torch.tensor([longitude], dtype=torch.float64)).T[None]
    torch.testing.assert_close(local_coordinates(frame, to_direction(frame, local)), local, atol=1e-12, rtol=0)


def _turning_rate(field, limb: torch.Tensor) -> float:
    """Largest |db| / |da| over directions da tangent to the sphere at `limb`."""
    jacobian = torch.autograd.functional.jacobian(field, limb)
    assert torch.isfinite(jacobian).all()
    tangent = torch.eye(3, dtype=limb.dtype) - limb[:, None] * limb[None, :]
    return float(torch.linalg.matrix_norm(jacobian @ tangent, 2))


@pytest.mark.parametrize("cosine", COSINES)
def test_parallel_transport_turns_at_most_seven_times_as_fast_as_the_limb(cosine):
    parent = as_frame(torch.eye(3, dtype=torch.float64)[None])
    for local in polar(cosine, LONGITUDES):

        def across(limb):  # the parent's axes are the coordinate axes, so the limb is its own local vector
            row = limb[None, :, None]
            return carry(parent, row, row, "parallel_transport").across[0, :, 0]

        assert _turning_rate(across, local) <= 7.0


@pytest.mark.parametrize("sine", [0.0, 1e-9, CONE_SINE - 1e-9, CONE_SINE + 1e-9, 0.2, 1.0])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_gram_schmidt_turns_at_most_ten_times_as_fast_as_the_limb(sine, side):
    for local in polar(side * math.sqrt(1 - sine**2), LONGITUDES):
        assert (
            _turning_rate(lambda a: carry(None, None, a[None, :, None], "gram_schmidt").across[0, :, 0], local) <= 10.1
        )


@pytest.mark.parametrize("frames", FRAMES)
def test_frames_jump_nowhere_but_at_the_documented_switch(frames):
    """Along random great circles, neighbouring frames differ by no more than the bound on their turning rate allows."""
    angles = torch.linspace(0, 2 * math.pi, 4001, dtype=torch.float64)
    parent = as_frame(torch.eye(3, dtype=torch.float64).expand(4001, 3, 3))
    for circle in random_frames(10, 4):
        limb = (angles.cos()[:, None] * circle[:, 0] + angles.sin()[:, None] * circle[:, 1]).T[None]
        across = carry(parent, limb, limb, frames).across[0].T
        jumps = (across[1:] - across[:-1]).norm(dim=-1) > 10.5 * (angles[1] - angles[0])
        if frames == "parallel_transport":
            switched = limb[0, 0] < FOLD_COSINE
        else:
            switched = limb[0, 1] ** 2 + limb[0, 2] ** 2 < CONE_SINE**2
        assert not (jumps & (switched[1:] == switched[:-1])).any()


@pytest.mark.parametrize("frames", FRAMES)
def test_mirrored_frames(frames):
    """Under y -> -y, a and b are mirrored and n = a x b changes sign besides."""
    mirror = torch.tensor([1.0, -1, 1], dtype=torch.float64)
    parents = random_frames(200, 5)
    local = _limbs(6, 200)
    flipped = local * torch.tensor([1.0, 1, -1], dtype=torch.float64)
    mirrored_parents = mirror[:, None] * parents * torch.tensor([1.0, 1, -1], dtype=torch.float64)
    results = []
    for matrices, coordinates in ((parents, local), (mirrored_parents, flipped)):
        frame = as_frame(matrices)
        limb = to_direction(frame, coordinates.T[None])
        results.append(as_matrices(carry(frame, coordinates.T[None], limb, frames)))
    expected = mirror[:, None] * results[0] * torch.tensor([1.0, 1, -1], dtype=torch.float64)
    torch.testing.assert_close(results[1], expected)


def test_tilted_frames_are_those_of_both_fields():
    angle = torch.linspace(-3, 3, 20, dtype=torch.float64)
    frame = tilted_frame(angle.cos()[None], angle.sin()[None])
    carried = carry(None, None, frame.along, "gram_schmidt")
    torch.testing.assert_close(frame.across, carried.across)
    torch.testing.assert_close(frame.normal, carried.normal)
