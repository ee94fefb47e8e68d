"""A walking figure, cameras and images for small trees in datasets' own formats.

Independent of the readers: joint orders, projections and files are written out here from the formats' descriptions.
Every joint is drawn as a dot of a colour of its own, so that a test can look for it in what was loaded.
"""

import cv2
import numpy as np

NAMES = [
    "pelvis",
    "r_hip",
    "r_knee",
    "r_ankle",
    "l_hip",
    "l_knee",
    "l_ankle",
    "spine",
    "neck",
    "nose",
    "head",
    "l_shoulder",
    "l_elbow",
    "l_wrist",
    "r_shoulder",
    "r_elbow",
    "r_wrist",
]
BONES = [(0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10), (8, 11), (11, 12), (12, 13)]
BONES += [(8, 14), (14, 15), (15, 16)]


def colour(joint):
    """RGB of a joint's dot: hue by number, fully saturated."""
    hsv = np.uint8([[[int(joint * 180 / 17), 255, 255]]])
    return tuple(int(c) for c in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])


def walk(frames, rng, height=1.75, heading=0.0, speed=0.4):
    """(T, 17, 3) metres, z up, walking along +x turned by `heading`; left is +y for heading 0."""
    s = height / 1.75
    t = np.arange(frames) / 25.0
    swing = 0.45 * np.sin(2 * np.pi * 0.9 * t + rng.uniform(0, 6))
    joints = np.zeros((frames, 17, 3))
    joints[:, 0] = [0, 0, 0.93]
    joints[:, 7] = [0.0, 0, 1.17]
    joints[:, 8] = [0.02, 0, 1.42]
    joints[:, 9] = [0.1, 0, 1.52]
    joints[:, 10] = [0.06, 0, 1.66]
    for side, hip, shoulder, sign in ((+1, 4, 11, 1), (-1, 1, 14, -1)):
        joints[:, hip] = [0, side * 0.13, 0.93]
        leg = sign * swing
        joints[:, hip + 1] = joints[:, hip] + 0.45 * np.stack([np.sin(leg), 0 * t, -np.cos(leg)], -1)
        bend = leg - 0.25 - 0.2 * np.maximum(-np.sin(2 * np.pi * 0.9 * t), 0)
        joints[:, hip + 2] = joints[:, hip + 1] + 0.44 * np.stack([np.sin(bend), 0 * t, -np.cos(bend)], -1)
        joints[:, shoulder] = [0.0, side * 0.18, 1.40]
        arm = -sign * 0.8 * swing
        joints[:, shoulder + 1] = joints[:, shoulder] + 0.29 * np.stack([np.sin(arm), 0 * t, -np.cos(arm)], -1)
        fore = arm + 0.5
        joints[:, shoulder + 2] = joints[:, shoulder + 1] + 0.25 * np.stack([np.sin(fore), 0 * t, -np.cos(fore)], -1)
    c, n = np.cos(heading), np.sin(heading)
    joints = joints @ np.array([[c, n, 0], [-n, c, 0], [0, 0, 1]])
    path = speed * (t - t[-1] / 2)[:, None]
    joints[..., 0] += path * c
    joints[..., 1] += path * n
    return joints * s


def look_at(eye, target):
    """World -> camera rotation (rows right, down, forward) of an upright camera in a z-up world."""
    forward = np.asarray(target, float) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def project(points, focal, centre, k=(0, 0, 0), p=(0, 0)):
    """Pixels of camera-frame points, with Human3.6M's radial and tangential distortion."""
    x, y = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
    r2 = x * x + y * y
    gain = 1 + k[0] * r2 + k[1] * r2**2 + k[2] * r2**3 + p[0] * y + p[1] * x
    return np.stack([focal[0] * (x * gain + p[1] * r2) + centre[0], focal[1] * (y * gain + p[0] * r2) + centre[1]], -1)


def background(width, height, seed):
    """(H, W, 3) uint8 smooth texture, dim, so that dots stand out."""
    rng = np.random.default_rng(seed)
    small = rng.integers(20, 90, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def image(base, people, dot=None):
    """Draw people, each (17, 2) px, over a background; returns RGB."""
    image = base.copy()
    for pixels in people:
        span = np.ptp(pixels[:, 1])
        thick = max(2, int(span / 14))
        points = [(round(x - 0.5), round(y - 0.5)) for x, y in pixels]
        for a, b in BONES:
            cv2.line(image, points[a], points[b], (150, 140, 130), thick, cv2.LINE_AA)
        radius = dot or max(3, int(span / 40))
        for joint, point in enumerate(points):
            cv2.circle(image, point, radius, colour(joint), -1)
    return image


def save_jpeg(path, image, quality=92):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def save_video(path, images, fps):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = images[0].shape[:2]
    code = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), fps, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(image[..., ::-1])
    writer.release()


def spread(joints17, slots, count, rng):
    """(T, count, 3) foreign joints: ours at their slots, the others at random near the pelvis."""
    out = joints17[:, :1] + 0.05 * rng.normal(size=(1, count, 3))
    out[:, slots] = joints17
    return out
