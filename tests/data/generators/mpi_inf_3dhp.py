"""Small MPI-INF-3DHP trees: training sequences (MATLAB v5) and the test set (HDF5)."""

import cv2
import numpy as np

from tests.data.generators import world

TRAIN_SLOTS = [4, 23, 24, 25, 18, 19, 20, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16]
TEST_SLOTS = [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
SIZE = 2048


class Camera:
    def __init__(self, number, rng, size=(SIZE, SIZE)):
        self.number, self.size = number, size
        azimuth = 2 * np.pi * number / 14
        self.eye = np.array([3.8 * np.cos(azimuth), 3.8 * np.sin(azimuth), 1.4])
        self.R = world.look_at(self.eye, [0, 0, 0.9])
        self.f = np.full(2, 1500.0 * size[1] / SIZE) + rng.normal(size=2)
        self.c = np.array(size) / 2 + rng.uniform(-20, 20, 2)

    def points(self, joints):
        return (joints - self.eye) @ self.R.T

    def pixels(self, joints):
        return world.project(self.points(joints), self.f, self.c)


def write_train_sequence(root, subject=1, sequence=1, frames=8, cameras=(0, 1, 2), images="video", calibration=True,
                   masks=False, scale=1.0, seed=0):  # fmt: skip
    """S{subject}/Seq{sequence}; returns cameras and our joints for comparison."""
    from scipy.io import savemat

    rng = np.random.default_rng([seed, subject, sequence])
    folder = root / f"S{subject}" / f"Seq{sequence}"
    folder.mkdir(parents=True, exist_ok=True)
    ours = world.walk(frames, rng, heading=rng.uniform(0, 6))
    full = world.spread(ours, TRAIN_SLOTS, 28, rng)
    every = [Camera(number, rng) for number in range(14)]
    cells = {key: np.empty((14, 1), dtype=object) for key in ("annot2", "annot3", "univ_annot3")}
    for camera in every:
        cells["annot2"][camera.number, 0] = camera.pixels(full).reshape(frames, 56)
        cells["annot3"][camera.number, 0] = camera.points(full).reshape(frames, 84) * 1000
        root_point = camera.points(full)[:, 4:5]
        universal = root_point + 0.9 * (camera.points(full) - root_point)
        cells["univ_annot3"][camera.number, 0] = universal.reshape(frames, 84) * 1000
    savemat(folder / "annot.mat", {**cells, "cameras": np.arange(14)[None], "frames": np.arange(frames)[:, None]})
    if calibration:
        write_calibration(folder / "camera.calibration", every)
    for number in cameras:
        camera = every[number]
        base = world.background(*camera.size, 100 + number)
        drawn = [world.image(base, [p]) for p in camera.pixels(ours)]
        stored = [
            cv2.resize(i, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale != 1 else i for i in drawn
        ]
        if images == "video":
            world.save_video(folder / "imageSequence" / f"video_{number}.avi", stored, 25)
        elif images == "frames":
            for n, image in enumerate(stored, 1):
                world.save_jpeg(folder / "imageSequence" / f"video_{number}" / f"{n:06d}.jpg", image)
        elif images == "spin":
            for n, image in enumerate(stored, 1):
                world.save_jpeg(folder / "imageFrames" / f"video_{number}" / f"frame_{n:06d}.jpg", image)
        if masks:
            found = [(np.abs(i.astype(int) - base.astype(int)).max(-1) > 25) * np.uint8(255) for i in drawn]
            world.save_video(
                folder / "FGmasks" / f"video_{number}.avi", [np.repeat(m[..., None], 3, -1) for m in found], 25
            )
    return every, ours


def write_calibration(path, cameras):
    """One header line, then seven lines a camera; T in mm."""
    lines = ["Skeletool Camera Calibration File V1.0"]
    for camera in cameras:
        inner = np.eye(4)
        inner[0, 0], inner[1, 1] = camera.f
        inner[:2, 2] = camera.c
        outer = np.eye(4)
        outer[:3, :3], outer[:3, 3] = camera.R, -camera.R @ camera.eye * 1000
        lines += [
            f"name          {camera.number}",
            "  sensor      10 10",
            f"  size        {camera.size[0]} {camera.size[1]}",
            "  animated    0",
            "  intrinsic   " + " ".join(f"{v:.6f}" for v in inner.ravel()),
            "  extrinsic   " + " ".join(f"{v:.6f}" for v in outer.ravel()),
            "  radial      0",
        ]
    path.write_text("\n".join(lines) + "\n")


def write_test_sequence(root, number=1, frames=10, invalid=(3,), size=(SIZE, SIZE), images=True, seed=0):
    """mpi_inf_3dhp_test_set/TS{number}; MATLAB's axes stand reversed in HDF5."""
    import h5py

    rng = np.random.default_rng([seed, 100 + number])
    folder = root / "mpi_inf_3dhp_test_set" / f"TS{number}"
    folder.mkdir(parents=True, exist_ok=True)
    ours = world.walk(frames, rng, heading=rng.uniform(0, 6))
    camera = Camera(number, rng, size)
    ordered = np.zeros((frames, 17, 3))
    ordered[:, TEST_SLOTS] = ours
    points = camera.points(ordered)
    valid = np.ones(frames)
    valid[list(invalid)] = 0
    activity = np.where(np.arange(frames) < frames // 2, 1, 4)
    universal = points[:, 14:15] + 0.9 * (points - points[:, 14:15])
    with h5py.File(folder / "annot_data.mat", "w") as file:
        file["annot2"] = camera.pixels(ordered)[:, None]
        file["annot3"] = points[:, None] * 1000
        file["univ_annot3"] = universal[:, None] * 1000
        file["valid_frame"] = valid[:, None]
        file["activity_annotation"] = activity[:, None].astype(float)
        file["bb_crop"] = np.zeros((frames, 4))
    if images:
        base = world.background(*size, 200 + number)
        for n, pixels in enumerate(camera.pixels(ours), 1):
            world.save_jpeg(folder / "imageSequence" / f"img_{n:06d}.jpg", world.image(base, [pixels]))
    return camera, ours
