import os
from pathlib import Path

import cv2
import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def pose():
    """A person who faces the camera, left arm raised sideways, right knee lifted: camera axes, metres, rooted."""
    joints = {
        "pelvis": (0, 0, 0),
        "right_hip": (-0.13, 0, 0),
        "right_knee": (-0.14, 0.2, -0.38),
        "right_ankle": (-0.14, 0.62, -0.32),
        "left_hip": (0.13, 0, 0),
        "left_knee": (0.14, 0.44, 0),
        "left_ankle": (0.14, 0.88, 0.04),
        "spine": (0, -0.24, 0.02),
        "neck": (0, -0.49, 0),
        "nose": (0, -0.57, -0.06),
        "head": (0, -0.69, -0.02),
        "left_shoulder": (0.15, -0.46, 0),
        "left_elbow": (0.43, -0.5, 0),
        "left_wrist": (0.62, -0.68, -0.03),
        "right_shoulder": (-0.15, -0.46, 0),
        "right_elbow": (-0.2, -0.18, 0.05),
        "right_wrist": (-0.2, 0.04, -0.08),
    }
    return np.array(list(joints.values()), dtype=np.float64)


@pytest.fixture
def matches_golden():
    """Compare with a stored image; SELFSUP3D_WRITE_GOLDEN=1 writes it anew (then look at it).

    Anti-aliasing differs a little between builds of OpenCV, so edges may differ, and the image as a whole may not.
    """

    def compare(image, name):
        path = GOLDEN / f"{name}.png"
        if os.environ.get("SELFSUP3D_WRITE_GOLDEN"):
            GOLDEN.mkdir(exist_ok=True)
            assert cv2.imwrite(str(path), image[..., ::-1])
        golden = cv2.imread(str(path))[..., ::-1]
        assert image.shape == golden.shape
        difference = np.abs(image.astype(int) - golden.astype(int)).max(-1)
        assert difference.mean() < 2.0, f"{name}: mean difference {difference.mean():.2f} grey levels"
        assert (difference > 96).mean() < 0.01, f"{name}: {(difference > 96).mean():.1%} of the pixels differ"

    return compare
