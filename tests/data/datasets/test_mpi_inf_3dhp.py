"""MPI-INF-3DHP: both joint orders, both annotations, every place where images lie."""

import cv2
import numpy as np
import pytest

from selfsup3d.data.datasets.index_build import build_index
from selfsup3d.data.datasets.mpi_inf_3dhp import find_mpi_inf_3dhp, read_calibration
from selfsup3d.errors import InputError
from tests.data.generators import mpi_inf_3dhp as generate

pytest.importorskip("h5py")
pytest.importorskip("scipy")


@pytest.mark.parametrize("calibration", [True, False])
def test_train(tmp_path, calibration):
    cameras, ours = generate.write_train_sequence(tmp_path, images=None, calibration=calibration)
    index = build_index(find_mpi_inf_3dhp(tmp_path), progress=False).index
    assert [t.name for t in index.takes] == [f"S1/Seq1/video_{c}" for c in (0, 1, 2, 4, 5, 6, 7, 8)]
    for number, take in enumerate(index.takes):
        camera, mine = cameras[int(take.camera)], index.take == number
        np.testing.assert_allclose(index.joints_3d[mine], camera.points(ours), atol=1e-5)
        np.testing.assert_allclose(index.joints_2d[mine], camera.pixels(ours), atol=1e-3)
        np.testing.assert_allclose(take.intrinsics()[[0, 1], [0, 1]], camera.f, rtol=1e-5)
        np.testing.assert_allclose(take.intrinsics()[:2, 2], camera.c, rtol=1e-5)
        assert take.split == "train"


def test_universal_annotation_changes_3d_alone(tmp_path):
    cameras, ours = generate.write_train_sequence(tmp_path, images=None)
    tree = find_mpi_inf_3dhp(tmp_path, annotation="universal", cameras=(1,))
    index = build_index(tree, progress=False).index
    points = cameras[1].points(ours)
    np.testing.assert_allclose(index.joints_3d, points[:, :1] + 0.9 * (points - points[:, :1]), atol=1e-5)
    np.testing.assert_allclose(index.joints_2d, cameras[1].pixels(ours), atol=1e-3)
    assert "universal" in index.notes["joints"]
    with pytest.raises(InputError, match="annotation"):
        find_mpi_inf_3dhp(tmp_path, annotation="best")


@pytest.mark.parametrize(
    ("images", "expected", "first"),
    [
        ("video", "S1/Seq1/imageSequence/video_0.avi", 0),
        ("frames", "S1/Seq1/imageSequence/video_0/{:06d}.jpg", 1),
        ("spin", "S1/Seq1/imageFrames/video_0/frame_{:06d}.jpg", 1),
    ],
)
def test_images_in_every_place(tmp_path, images, expected, first):
    generate.write_train_sequence(tmp_path, cameras=(0,), frames=3, images=images, scale=0.125, masks=True)
    index = build_index(find_mpi_inf_3dhp(tmp_path, cameras=(0, 1)), progress=False).index
    assert index.takes[0].image == expected
    assert index.takes[0].mask == "S1/Seq1/FGmasks/video_0.avi"
    assert index.takes[1].image == ""
    assert index.frame[:3].tolist() == [first, first + 1, first + 2]
    assert index.takes[0].mask_shift == -first  # the masks are a video, which counts from 0


@pytest.mark.parametrize("annotation", ["metric", "universal"])
def test_test_set(tmp_path, annotation):
    camera, ours = generate.write_test_sequence(tmp_path, 2, size=(1920, 1080), images=False)
    index = build_index(find_mpi_inf_3dhp(tmp_path, annotation=annotation), progress=False).index
    assert [t.action for t in index.takes] == ["Stand/Walk", "Crouch/Reach"]
    valid = [0, 1, 2, 4, 5, 6, 7, 8, 9]  # frame 3 is marked invalid
    assert (index.frame - 1).tolist() == valid  # images count from 1
    points = camera.points(ours)[valid]
    expected = points if annotation == "metric" else points[:, :1] + 0.9 * (points - points[:, :1])
    np.testing.assert_allclose(index.joints_3d, expected, atol=1e-4)
    np.testing.assert_allclose(index.joints_2d, camera.pixels(ours)[valid], atol=1e-3)
    assert index.skipped == {"frames marked invalid by the dataset": 1}
    take = index.takes[0]
    assert take.split == "test"
    np.testing.assert_allclose(take.intrinsics()[:2, 2], camera.c, rtol=1e-4)
    assert abs(take.width - 1920) < 60  # without images from the principal point


def test_joint_orders_are_not_mixed_up(tmp_path):
    """2D joints in another order than the 3D ones leave no camera that fits."""
    import h5py

    generate.write_test_sequence(tmp_path, 1, images=False)
    path = tmp_path / "mpi_inf_3dhp_test_set/TS1/annot_data.mat"
    with h5py.File(path, "r+") as file:
        file["annot2"][...] = file["annot2"][:][:, :, ::-1]
    with pytest.raises(InputError, match="do not belong together"):
        build_index(find_mpi_inf_3dhp(tmp_path), progress=False, max_failed=0)


def test_missing_is_listed(tmp_path):
    generate.write_train_sequence(tmp_path, images=None)
    missing = {m.path for m in find_mpi_inf_3dhp(tmp_path).missing}
    assert "S1/Seq1/imageSequence/video_*.avi" in missing
    assert "S2/Seq1/annot.mat" in missing
    assert "mpi_inf_3dhp_test_set/TS6/annot_data.mat" in missing
    with pytest.raises(InputError, match=r"missing .*annot\.mat.*vcai\.mpi-inf\.mpg\.de"):
        build_index(find_mpi_inf_3dhp(tmp_path / "S1"), progress=False)


def test_missing_cameras_are_listed(tmp_path):
    generate.write_train_sequence(tmp_path, cameras=(0, 2), frames=2, scale=0.1)
    missing = [m.path for m in find_mpi_inf_3dhp(tmp_path, cameras=(0, 2, 4, 5)).missing if "S1/Seq1" in m.path]
    assert missing == ["S1/Seq1/imageSequence/video_4.avi", "S1/Seq1/imageSequence/video_5.avi"]


def test_damaged_annotations(tmp_path):
    generate.write_train_sequence(tmp_path, images=None)
    generate.write_test_sequence(tmp_path, 1, images=False)
    for name in ("S1/Seq1/annot.mat", "mpi_inf_3dhp_test_set/TS1/annot_data.mat"):
        raw = (tmp_path / name).read_bytes()
        for damage in (raw[: len(raw) // 3], b"", b"version https://git-lfs.github.com/spec/v1"):
            (tmp_path / name).write_bytes(damage)
            report = build_index(find_mpi_inf_3dhp(tmp_path), progress=False)
            assert [name in reason for reason in report.failed.values()] == [True]
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "S1/Seq1/camera.calibration").write_text("Skeletool\nname 0\n")
    with pytest.raises(InputError, match=r"camera\.calibration"):
        read_calibration(tmp_path / "S1/Seq1/camera.calibration")


def test_a_lens_that_distorts_is_refused_and_sizes_are_read(tmp_path):
    generate.write_train_sequence(tmp_path, cameras=(), frames=3)
    path = tmp_path / "S1/Seq1/camera.calibration"
    K, size = read_calibration(path)[3]
    assert size == (2048, 2048)
    assert K[0, 0] == pytest.approx(1500, abs=5)
    path.write_text(path.read_text().replace("radial      0", "radial      0.1"))
    with pytest.raises(InputError, match="radial distortion"):
        read_calibration(path)


def test_reduced_test_images_keep_the_size_that_labels_refer_to(tmp_path):
    generate.write_test_sequence(tmp_path, number=5, frames=4, invalid=(), size=(1920, 1080))
    for file in tmp_path.rglob("*.jpg"):
        cv2.imwrite(str(file), cv2.resize(cv2.imread(str(file)), (640, 360)))
    take = build_index(find_mpi_inf_3dhp(tmp_path), progress=False).index.takes[0]
    assert (take.width, take.height) == (1920, 1080)
