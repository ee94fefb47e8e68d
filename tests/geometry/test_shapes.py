"""Every geometric function: leading dimensions, empty and non-contiguous batches, dtypes, wrong shapes."""

import pytest
import torch

from selfsup3d.geometry import align, camera, kinematics, rotation, shapes

K = torch.tensor([[150.0, 2.0, 60.0], [0.0, 140.0, 66.0], [0.0, 0.0, 1.0]])


def _skeletons(batch: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    local = torch.randn(*batch, 13, 3, generator=generator, dtype=dtype)
    hip = torch.randn(*batch, 2, generator=generator, dtype=dtype)
    hip[..., 0] = hip[..., 0].abs() + 1
    return kinematics.forward_kinematics(local, hip, torch.full((17,), 0.3, dtype=dtype)) + 1


# function, and the trailing shapes of its random arguments (or a function of batch and dtype that makes one)
CASES = {
    "unit": (rotation.unit, [(3,)]),
    "rotate": (rotation.rotate, [(3, 3), (17, 3)]),
    "multiply": (rotation.multiply, [(3, 3), (3, 3)]),
    "rotation_6d_to_matrix": (rotation.rotation_6d_to_matrix, [(6,)]),
    "axis_angle_to_matrix": (rotation.axis_angle_to_matrix, [(3,)]),
    "matrix_to_axis_angle": (lambda w: rotation.matrix_to_axis_angle(rotation.axis_angle_to_matrix(w)), [(3,)]),
    "minimal_rotation": (rotation.minimal_rotation, [(3,), (3,)]),
    "rotation_about": (lambda a: rotation.rotation_about("y", a), [()]),
    "random_rotation": (lambda u: rotation.random_rotation(u.sigmoid()), [(3,)]),
    "random_axis_angle": (lambda u: rotation.random_axis_angle(u.sigmoid()), [(3,)]),
    "random_view": (lambda u: rotation.random_view(u.sigmoid()), [(2,)]),
    "transform": (camera.transform, [(17, 3), (3, 3), (3,)]),
    "project": (lambda p: camera.project(p, K.to(p)), [(17, 3)]),
    "unproject": (lambda p, z: camera.unproject(p, z, K.to(p)), [(17, 2), (17,)]),
    "apply_intrinsics": (lambda p: camera.apply_intrinsics(p, K.to(p)), [(17, 2)]),
    "normalize_pixels": (lambda p: camera.normalize_pixels(p, K.to(p)), [(17, 2)]),
    "crop_intrinsics": (camera.crop_intrinsics, [(3, 3), (2,), (2,)]),
    "crop_intrinsics one scale": (camera.crop_intrinsics, [(3, 3), (2,), ()]),
    "mirror_camera": (lambda r, t, k: camera.mirror_camera(r, t, k, 128)[2], [(3, 3), (3,), (3, 3)]),
    "orbit_rotation": (camera.orbit_rotation, [(), (), ()]),
    "virtual_camera_rotation": (lambda c: camera.virtual_camera_rotation(c, K.to(c)), [(2,)]),
    "distort": (camera.distort, [(17, 2), (3,), (2,)]),
    "weak_perspective": (lambda p, d: camera.weak_perspective(p, d, K.to(p)), [(17, 3), ()]),
    "orthographic": (camera.orthographic, [(17, 3), (), (2,)]),
    "inverse_orthographic": (camera.inverse_orthographic, [(17, 2), (17,), (), (2,)]),
    "unit_pinhole": (lambda p: camera.unit_pinhole(p, 5), [(17, 3)]),
    "inverse_unit_pinhole": (lambda p, z: camera.inverse_unit_pinhole(p, z, 5), [(17, 2), (17,)]),
    "forward_kinematics": (kinematics.forward_kinematics, [(13, 3), (2,), (17,)]),
    "gram_schmidt": (lambda v, h, b: kinematics.forward_kinematics(v, h, b, "gram_schmidt"), [(13, 3), (2,), (17,)]),
    "inverse_kinematics": (lambda j: kinematics.inverse_kinematics(j).local_vectors, [_skeletons]),
    "hip_angle": (lambda j: kinematics.inverse_kinematics(j).hip_angle, [_skeletons]),
    "body_frame": (lambda j: kinematics.body_frame(j)[0], [_skeletons]),
    "bone_lengths": (kinematics.bone_lengths, [_skeletons]),
    "canonicalize": (kinematics.canonicalize, [_skeletons]),
    "canonicalize recentred": (lambda j: kinematics.canonicalize(j, recentre=True), [(17, 3)]),
    "normalize_local_vectors": (kinematics.normalize_local_vectors, [(13, 3)]),
    "mirror_joints": (lambda j: kinematics.mirror_joints(j, 1), [(17, 3)]),
    "nearest_rotation": (align.nearest_rotation, [(3, 3)]),
    "align": (align.align, [(17, 3), (17, 3)]),
    "align weighted": (lambda s, t, w: align.align(s, t, w.abs()), [(17, 3), (17, 3), (17,)]),
    "procrustes": (lambda s, t: align.procrustes(s, t).rotation, [(17, 3), (17, 3)]),
    "procrustes scale": (lambda s, t: align.procrustes(s, t).scale, [(17, 3), (17, 3)]),
    "similarity": (lambda s, t: align.procrustes(s, t).apply(s), [(17, 3), (17, 3)]),
}


def make(parts, batch: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        part(batch, dtype) if callable(part) else torch.randn(*batch, *part, generator=generator, dtype=dtype)
        for part in parts
    ]


@pytest.mark.parametrize("name", CASES)
def test_a_batch_is_its_samples(name):
    function, parts = CASES[name]
    arguments = make(parts, (2, 3))
    whole = function(*arguments)
    assert whole.shape[:2] == (2, 3)
    for i in range(2):
        for j in range(3):
            alone = function(*(argument[i, j] for argument in arguments))
            torch.testing.assert_close(whole[i, j], alone, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_empty_batches(name):
    function, parts = CASES[name]
    full = function(*make(parts, (1,)))
    for batch in ((0,), (2, 0)):
        arguments = [a.requires_grad_() for a in make(parts, batch)]
        result = function(*arguments)
        assert result.shape == (*batch, *full.shape[1:])
        result.sum().backward()


@pytest.mark.parametrize("name", CASES)
def test_memory_layout_does_not_matter(name):
    function, parts = CASES[name]
    arguments = make(parts, (4, 3))
    strange = [a.movedim(0, -1).contiguous().movedim(-1, 0) for a in arguments]
    torch.testing.assert_close(function(*strange), function(*arguments), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_dtypes_are_kept_and_half_precision_never_narrows_geometry(name):
    function, parts = CASES[name]
    exact = make(parts, (5,))
    single = [a.float() for a in exact]
    result = function(*single)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), function(*exact), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(
    "name",
    [
        "unit",
        "rotation_6d_to_matrix",
        "axis_angle_to_matrix",
        "minimal_rotation",
        "forward_kinematics",
        "normalize_local_vectors",
        "align",
        "procrustes",
        "nearest_rotation",
    ],
)
def test_half_precision_outputs_of_networks_are_raised_to_float32(name):
    function, parts = CASES[name]
    assert function(*(a.bfloat16() for a in make(parts, (2,)))).dtype == torch.float32


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (rotation.rotation_6d_to_matrix, [torch.zeros(5)]),
        (rotation.axis_angle_to_matrix, [torch.zeros(4)]),
        (rotation.matrix_to_axis_angle, [torch.zeros(2, 3)]),
        (rotation.rotate, [torch.zeros(3, 3), torch.zeros(2)]),
        (camera.project, [torch.zeros(17, 2), K]),
        (camera.project, [torch.zeros(17, 3), K[:2]]),
        (camera.distort, [torch.zeros(17, 2), torch.zeros(2), torch.zeros(2)]),
        (kinematics.forward_kinematics, [torch.zeros(12, 3), torch.zeros(2), torch.zeros(17)]),
        (kinematics.forward_kinematics, [torch.zeros(13, 3), torch.zeros(3), torch.zeros(17)]),
        (kinematics.forward_kinematics, [torch.zeros(13, 3), torch.zeros(2), torch.zeros(16)]),
        (kinematics.inverse_kinematics, [torch.zeros(16, 3)]),
        (align.align, [torch.zeros(5, 3), torch.zeros(6, 3)]),
        (align.align, [torch.zeros(5, 2), torch.zeros(5, 2)]),
        (align.align, [torch.zeros(5, 3), torch.zeros(5, 3), torch.zeros(6)]),
        (align.nearest_rotation, [torch.zeros(3)]),
    ],
)
def test_wrong_shapes_are_named(function, arguments):
    with pytest.raises(ValueError, match=r"\(\.\.\.|\(3, 3\)|\(\d"):
        function(*arguments)


def test_broadcast_batch_is_torchs_own_and_refuses_alike():
    heads = [torch.zeros(2, 1, dtype=torch.bool), torch.zeros(3), torch.zeros((), dtype=torch.float64)]
    assert shapes.broadcast_batch(*heads) == torch.broadcast_shapes(*(head.shape for head in heads))
    with pytest.raises(RuntimeError):
        shapes.broadcast_batch(torch.zeros(2), torch.zeros(3))


def test_batch_last_broadcasts():
    rows = shapes.batch_last(torch.arange(3.0), torch.Size((2, 2)), 1)
    assert rows.shape == (3, 4)
    assert torch.equal(rows[:, 0], rows[:, 3])
