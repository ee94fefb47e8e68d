"""A small 3DPW tree: sequence files as Python 2 pickled them, images counted from 0."""

import numpy as np

from tests.data.generators import python2_pickle, world

# Where our joints lie among SMPL's 24 (it has no nose; its neck and head are other points).
SMPL = {
    "pelvis": 0,
    "l_hip": 1,
    "r_hip": 2,
    "l_knee": 4,
    "r_knee": 5,
    "spine": 6,
    "l_ankle": 7,
    "r_ankle": 8,
    "neck": 12,
}
SMPL |= {"head": 15, "l_shoulder": 16, "r_shoulder": 17, "l_elbow": 18, "r_elbow": 19, "l_wrist": 20, "r_wrist": 21}
COCO = {"nose": 0, "neck": 1, "r_shoulder": 2, "r_elbow": 3, "r_wrist": 4, "l_shoulder": 5, "l_elbow": 6, "l_wrist": 7}
COCO |= {"r_hip": 8, "r_knee": 9, "r_ankle": 10, "l_hip": 11, "l_knee": 12, "l_ankle": 13}


def write_sequence(root, name="downtown_walking_00", split="test", people=2, frames=10, invalid=(2,), readme_keys=False,
             size=(1080, 1920), images=True, seed=0):  # fmt: skip
    """sequenceFiles/SPLIT/NAME.pkl and imageFiles/NAME; returns what was written."""
    rng = np.random.default_rng([seed, *name.encode()])
    width, height = size
    K = np.array([[1.815 * width, 0, width / 2 + 3], [0, 1.823 * width, height / 2 - 5], [0, 0, 1]])
    walks = [
        world.walk(frames, rng, heading=rng.uniform(0, 6)) + np.array([-0.38 * p, 0.7 * p, 0]) for p in range(people)
    ]
    cameras = np.zeros((frames, 4, 4))
    for n in range(frames):  # a hand-held camera that walks beside them
        eye = np.array([4.5 * np.cos(0.5 + 0.01 * n), 4.5 * np.sin(0.5 + 0.01 * n), 1.6 + 0.02 * np.sin(n)])
        R = world.look_at(eye, [0.2 * n / frames, 0, 0.9])
        cameras[n] = np.eye(4)
        cameras[n, :3, :3], cameras[n, :3, 3] = R, -R @ eye
    positions, detections, pixels = [], [], []
    for walk in walks:
        smpl = np.repeat(walk[:, :1], 24, axis=1)
        for joint, slot in SMPL.items():
            smpl[:, slot] = walk[:, world.NAMES.index(joint)]
        smpl[:, 0] += [0, 0, 0.07]  # SMPL's pelvis lies above the line of the hips
        positions.append(smpl.reshape(frames, 72))
        seen = np.einsum("nij,nkj->nki", cameras[:, :3, :3], walk) + cameras[:, None, :3, 3]
        two_d = world.project(seen, K[[0, 1], [0, 1]], K[:2, 2])
        pixels.append(two_d)
        rows = np.zeros((frames, 3, 18))
        for joint, slot in COCO.items():
            rows[:, :2, slot] = two_d[:, world.NAMES.index(joint)] + rng.normal(0, 2, (frames, 2))
            rows[:, 2, slot] = rng.uniform(0.5, 1, frames)
        rows[0, :, COCO["l_ankle"]] = 0  # a missed joint is all zero
        rows[-1] = 0  # a frame without detection
        detections.append(rows)
    valid = np.ones(frames)
    valid[list(invalid)] = 0
    content = {
        "sequence": name,
        "betas": [rng.normal(size=10) for _ in range(people)],
        "poses": [rng.normal(size=(frames, 72)) for _ in range(people)],
        "trans": [w[:, 0] for w in walks],
        "poses_60Hz": [rng.normal(size=(2 * frames, 72)) for _ in range(people)],
        "trans_60Hz": [np.repeat(w[:, 0], 2, axis=0) for w in walks],
        "gender" if readme_keys else "genders": ["m", "f"][:people],
        "v_template_clothed": [rng.normal(size=(20, 3)) for _ in range(people)],
        "texture_maps": [None] * people,
        "poses2D" if readme_keys else "poses2d": detections,
        "jointPositions": positions,
        "img_frame_ids": np.arange(frames) * 2,
        "cam_poses": cameras,
        "campose_valid": [valid.copy() for _ in range(people)],
        "cam_intrinsics": K,
    }
    path = root / "sequenceFiles" / split / f"{name}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python2_pickle.dumps(content))
    if images:
        for n in range(frames):
            base = world.background(width, height, 7)
            image = world.image(base, [p[n] for p in pixels])
            world.save_jpeg(root / "imageFiles" / name / f"image_{n:05d}.jpg", image)
    return content, walks, pixels
