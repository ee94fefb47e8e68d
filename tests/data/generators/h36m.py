"""Small Human3.6M trees in the layouts it is distributed and passed round in."""

import json
import xml.sax.saxutils

import numpy as np

from tests.data.generators import world

CAMERAS = ("54138969", "55011271", "58860488", "60457274")
SIZES = {"54138969": (1000, 1002), "55011271": (1000, 1000), "58860488": (1000, 1000), "60457274": (1000, 1002)}
SLOTS = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]


class Scene:
    """Subjects, trials and cameras; angles of the cameras are kept as the metadata writes them."""

    def __init__(
        self, subjects=("S1", "S5", "S9", "S11"), trials=("Directions 1", "Walking"), frames=12, seed=0, speed=0.4
    ):
        self.subjects, self.trials, self.frames = subjects, trials, frames
        rng = np.random.default_rng(seed)
        self.inner = {}
        self.outer = {}
        for number, name in enumerate(CAMERAS):
            f = 1145 + rng.normal(size=2)
            c = np.array(SIZES[name]) / 2 + rng.uniform(-12, 12, 2)
            self.inner[name] = (
                f,
                c,
                np.array([-0.2, 0.24, -0.008]) * rng.uniform(0.9, 1.1),
                np.array([-9e-4, -1.5e-3]),
            )
            for subject in subjects:
                azimuth = np.pi / 4 + number * np.pi / 2 + rng.uniform(-0.1, 0.1)
                eye = np.array([4.6 * np.cos(azimuth), 4.6 * np.sin(azimuth), 1.5])
                angles = euler_xyz(world.look_at(eye, [0, 0, 0.95]))
                self.outer[subject, name] = (angles, eye)
        self.world = {
            (s, t): world.walk(frames, rng, height=rng.uniform(1.6, 1.9), heading=rng.uniform(0, 6), speed=speed)
            for s in subjects
            for t in trials
        }
        self.full = {key: world.spread(joints, SLOTS, 32, rng) for key, joints in self.world.items()}

    def camera_points(self, subject, trial, camera, full=True):
        """(T, 32 or 17, 3) metres in the camera frame."""
        angles, eye = self.outer[subject, camera]
        joints = (self.full if full else self.world)[subject, trial]
        return (joints - eye) @ rotation_xyz(angles).T

    def pixels(self, subject, trial, camera, full=True):
        f, c, k, p = self.inner[camera]
        return world.project(self.camera_points(subject, trial, camera, full), f, c, k, p)

    def images(self, subject, trial, camera):
        width, height = SIZES[camera]
        base = world.background(width, height, int(camera))
        return [world.image(base, [pixels]) for pixels in self.pixels(subject, trial, camera, full=False)]


def rotation_xyz(angles):
    """Rx Ry Rz."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rx @ ry @ rz


def euler_xyz(r):
    """Angles of Rx Ry Rz."""
    return np.array([np.arctan2(-r[1, 2], r[2, 2]), np.arcsin(r[0, 2]), np.arctan2(-r[0, 1], r[0, 0])])


def quaternion(r):
    """(w, x, y, z) of a rotation."""
    values, vectors = np.linalg.eigh(
        np.array(
            [
                [r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
                [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
                [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
                [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
            ]
        )
    )
    x, y, z, w = vectors[:, values.argmax()]
    return np.array([w, x, y, z])


def write_metadata(scene, path):
    """metadata.xml: w0 of 300 numbers among other elements."""
    w0 = np.zeros(300)
    for number, name in enumerate(CAMERAS):
        for subject in range(1, 12):
            angles, eye = scene.outer.get((f"S{subject}", name), (np.zeros(3), np.zeros(3)))
            start = 6 * (number * 11 + subject - 1)
            w0[start : start + 6] = [*angles, *(eye * 1000)]
        f, c, k, p = scene.inner[name]
        w0[264 + 9 * number : 273 + 9 * number] = [*f, *c, *k, *p]
    text = " ".join(f"{v:.10g}" for v in w0)
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<metadata><mapping><tr><td>1</td></tr></mapping>'
        f"<w0>{xml.sax.saxutils.escape(f'[{text}]')}</w0></metadata>\n"
    )


def write_cdf(path, pose):
    """A CDF with the one variable Pose of shape (1, T, columns)."""
    import cdflib.cdfwrite

    path.parent.mkdir(parents=True, exist_ok=True)
    file = cdflib.cdfwrite.CDF(str(path), delete=True)
    spec = {
        "Variable": "Pose",
        "Data_Type": cdflib.cdfwrite.CDF.CDF_DOUBLE if hasattr(cdflib.cdfwrite.CDF, "CDF_DOUBLE") else 45,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(pose.shape[-2:]),
        "Compress": 0,
    }
    file.write_var(spec, var_data=pose.reshape(1, *pose.shape[-2:]).astype(np.float64))
    file.close()


def official(root, scene, *, mono=True, videos=True, metadata=True, masks=False):
    """S1/MyPoseFeatures/..., S1/Videos, metadata.xml."""
    for subject, trial in scene.world:
        features = root / subject / "MyPoseFeatures"
        write_cdf(features / "D3_Positions" / f"{trial}.cdf", scene.full[subject, trial].reshape(-1, 96) * 1000)
        for camera in CAMERAS:
            name = f"{trial}.{camera}"
            if mono:
                joints = scene.camera_points(subject, trial, camera).reshape(-1, 96) * 1000
                write_cdf(features / "D3_Positions_mono" / f"{name}.cdf", joints)
            write_cdf(features / "D2_Positions" / f"{name}.cdf", scene.pixels(subject, trial, camera).reshape(-1, 64))
            if videos:
                world.save_video(root / subject / "Videos" / f"{name}.mp4", scene.images(subject, trial, camera), 50)
            if masks:
                write_masks(
                    root / subject / "MySegmentsMat" / "ground_truth_bs" / f"{name}.mat", scene, subject, trial, camera
                )
    if metadata:
        write_metadata(scene, root / "metadata.xml")


def write_masks(path, scene, subject, trial, camera):
    """MATLAB (H, W, T) logical, which HDF5 shows as (T, W, H)."""
    import h5py

    width, height = SIZES[camera]
    empty = world.background(width, height, int(camera)).astype(int)
    masks = [np.abs(image.astype(int) - empty).max(-1) > 25 for image in scene.images(subject, trial, camera)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["Masks"] = np.stack(masks).transpose(0, 2, 1).astype(np.uint8)


def npz(root, scene, *, cameras="json", detections=None):
    """data_3d_h36m.npz, data_2d_h36m_gt.npz and a camera file as VideoPose3D has it."""
    root.mkdir(parents=True, exist_ok=True)
    positions = {s: {} for s in scene.subjects}
    two_d = {s: {} for s in scene.subjects}
    for subject, trial in scene.world:
        positions[subject][trial] = scene.full[subject, trial].astype(np.float32)
        views = [scene.pixels(subject, trial, camera, full=False).astype(np.float32) for camera in CAMERAS]
        two_d[subject][trial] = views if detections is None else [detections(v) for v in views]
    np.savez_compressed(root / "data_3d_h36m.npz", positions_3d=positions)
    symmetry = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
    metadata = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": symmetry}
    np.savez_compressed(root / "data_2d_h36m_gt.npz", positions_2d=two_d, metadata=metadata)
    inner, outer = tables(scene)
    if cameras == "json":
        (root / "cameras.json").write_text(json.dumps({"intrinsics": inner, "extrinsics": outer}))
    elif cameras == "python":
        text = f"import os\nh36m_cameras_intrinsic_params = {inner!r}\n\nh36m_cameras_extrinsic_params = {outer!r}\n"
        (root / "h36m_dataset.py").write_text(text + "raise SystemExit('this file is read, not run')\n")


def tables(scene):
    """VideoPose3D's two tables; orientation and translation take camera to world."""
    inner = []
    for name in CAMERAS:
        f, c, k, p = scene.inner[name]
        width, height = SIZES[name]
        inner.append(
            {
                "id": name,
                "center": c.tolist(),
                "focal_length": f.tolist(),
                "radial_distortion": k.tolist(),
                "tangential_distortion": p.tolist(),
                "res_w": width,
                "res_h": height,
                "azimuth": 70,
            }
        )
    outer = {}
    for subject in scene.subjects:
        outer[subject] = []
        for name in CAMERAS:
            angles, eye = scene.outer[subject, name]
            to_world = rotation_xyz(angles).T
            outer[subject].append({"orientation": quaternion(to_world).tolist(), "translation": (eye * 1000).tolist()})
    return inner, outer


def cameras_h5(path, scene):
    """3d-pose-baseline's cameras.h5: MATLAB wrote it, so the rotation stands transposed."""
    import h5py

    with h5py.File(path, "w") as file:
        for subject in scene.subjects:
            for number, name in enumerate(CAMERAS, 1):
                f, c, k, p = scene.inner[name]
                angles, eye = scene.outer[subject, name]
                group = file.create_group(f"subject{subject[1:]}/camera{number}")
                group["R"] = rotation_xyz(angles).T
                group["T"] = (eye * 1000)[:, None]
                for key, value in (("f", f), ("c", c), ("k", k), ("p", p)):
                    group[key] = value[:, None]
                group["Name"] = np.array([[ord(ch)] for ch in name], dtype=np.uint16)


def baseline(root, scene):
    """h36m/S1/MyPoses/3D_positions/*.h5 of (96, T) mm, and cameras.h5."""
    import h5py

    for subject, trial in scene.world:
        path = root / "h36m" / subject / "MyPoses" / "3D_positions" / f"{trial}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["3D_positions"] = scene.full[subject, trial].reshape(-1, 96).T * 1000
    cameras_h5(root / "h36m" / "cameras.h5", scene)


def fetch(root, scene, *, images=True):
    """processed/S1/Directions-1/{annot.h5, imageSequence/54138969/img_000001.jpg}."""
    import h5py

    for subject, trial in scene.world:
        name = trial.replace(" ", "-") if " " in trial else f"{trial}-1"
        folder = root / "processed" / subject / name
        folder.mkdir(parents=True, exist_ok=True)
        number = np.arange(1, scene.frames + 1)
        with h5py.File(folder / "annot.h5", "w") as file:
            two, three = [], []
            for camera in CAMERAS:
                two.append(scene.pixels(subject, trial, camera))
                three.append(scene.camera_points(subject, trial, camera) * 1000)
                f, c, _, _ = scene.inner[camera]
                file[f"intrinsics/{camera}"] = np.array([f[0], c[0], f[1], c[1]])
                if images:
                    for n, image in zip(number, scene.images(subject, trial, camera), strict=True):
                        world.save_jpeg(folder / "imageSequence" / camera / f"img_{n:06d}.jpg", image)
            file["pose/2d"], file["pose/3d"] = np.concatenate(two), np.concatenate(three)
            file["pose/3d-univ"] = np.concatenate(three) * 0.95
            file["camera"] = np.repeat([int(c) for c in CAMERAS], scene.frames)
            file["frame"] = np.tile(number, 4)
            file["subject"], file["action"] = np.full(4 * scene.frames, int(subject[1:])), np.full(4 * scene.frames, 2)
