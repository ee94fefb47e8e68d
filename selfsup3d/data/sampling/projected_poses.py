"""Poses seen by random cameras: the data of lifters, whole on the device and drawn a batch at a time.

Motion stands in a world with z up. For each sample a camera like Human3.6M's (focal length 1145 px at an image width
of 1000, 3-6 m away, about the height of a head) looks at the person, anywhere near the middle of the image; the whole
window of a sequence is seen by one camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.mocap.mocap import MotionCapture
from selfsup3d.data.sampling.detector_noise import TORSO, DetectorModel
from selfsup3d.data.sampling.keypoint_noise import KeypointModel, other_convention
from selfsup3d.data.sampling.pose_clusters import pose_clusters
from selfsup3d.data.sampling.pose_variation import PoseVariation
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import orbit_rotation, project, transform
from selfsup3d.geometry.kinematics import body_frame, mirror_joints
from selfsup3d.geometry.rotation import multiply, rotate
from selfsup3d.structures.batch import Batch, Camera
from selfsup3d.structures.device_random import DeviceDraws
from selfsup3d.structures.random import RandomStreams

__all__ = ["CameraRange", "ProjectedPoses"]

_EVALUATION_SEED = 0x2D_11F7
"""Cameras and noise of evaluation frames come from this, whatever the run."""


@dataclass(frozen=True)
class CameraRange:
    """Cameras to draw from, uniformly; all azimuths.

    Attributes:
        distance: metres along the viewing axis.
        elevation, roll: degrees; elevation > 0 looks down.
        focal: px at an image width of 1000.
        offset: largest distance of the person from the image's middle, as a share of the image's width.
    """

    distance: tuple[float, float] = (3.0, 6.0)
    elevation: tuple[float, float] = (-5.0, 20.0)
    roll: tuple[float, float] = (-2.0, 2.0)
    focal: tuple[float, float] = (1140.0, 1150.0)
    offset: float = 0.12

    def __call__(self, streams: DeviceDraws, width: float) -> Camera:
        """(B,) cameras that see a pelvis at the world's origin."""
        u = streams.uniform(7)

        def between(column: int, limits: tuple[float, float]) -> Tensor:
            return limits[0] + (limits[1] - limits[0]) * u[:, column]

        angles = [torch.deg2rad(between(i, limits)) for i, limits in ((1, self.elevation), (2, self.roll))]
        rotation = orbit_rotation(2 * math.pi * u[:, 0], *angles)
        focal = between(3, self.focal) * (width / 1000.0)
        depth = between(4, self.distance)
        K = torch.zeros(len(u), 3, 3, device=u.device)
        K[:, 0, 0] = K[:, 1, 1] = focal
        K[:, 0, 2] = K[:, 1, 2] = width / 2
        K[:, 2, 2] = 1.0
        aside = (2 * u[:, 5:7] - 1) * self.offset * width * (depth / focal)[:, None]
        return Camera(rotation, torch.cat((aside, depth[:, None]), -1), K)


@dataclass(frozen=True)
class _Poses:
    """Motion on the device.

    Attributes:
        positions: (N, 17, 3) metres, z up. canonical: (N, 17, 3) body frame. rotation: (N, 3, 3) body frame -> world.
        first, last: (N,) first and last frame of each frame's sequence. labelled: (N,) bool, 3D labels are given.
        order, start, count: frames sorted by group; group g owns order[start[g] : start[g] + count[g]].
    """

    positions: Tensor
    canonical: Tensor
    rotation: Tensor
    first: Tensor
    last: Tensor
    labelled: Tensor
    order: Tensor
    start: Tensor
    count: Tensor

    def to(self, device: torch.device | str) -> _Poses:
        return _Poses(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass
class ProjectedPoses:
    """Training samples and evaluation frames from motion.

    Attributes:
        capture: the motion (`data.mocap`, or `data.synthetic.capture`).
        name: of the dataset.
        image_size: width and height of the image, px.
        frames_per_sample: T; 1 gives joints_2d (B, 17, 2), more give (B, T, 17, 2) with joints_3d of the middle frame.
        cameras, keypoints: models of cameras and of keypoint detectors.
        variation: other bodies and rarer poses in training samples; None = the captured ones alone.
        speeds: sequences of training samples run so many times as fast as they were captured, log-uniformly.
        mirror: mirror every second training sample.
        balance: what training samples are drawn evenly over first; "pose" = clusters of similar poses, so that rare
            poses are seen as often as standing and walking.
        fraction: share of the poses that is trained on, evenly spaced.
        labelled: share of the sequences with 3D labels; joints_3d is NaN in the others.
        second_source: also give `source_joints_2d`, other people's keypoints in another convention.
        stride: every stride-th frame is an evaluation frame.
        device: where everything happens.
    """

    capture: MotionCapture
    name: str = "mocap"
    image_size: int = 1000
    frames_per_sample: int = 1
    cameras: CameraRange = field(default_factory=CameraRange)
    keypoints: KeypointModel | DetectorModel = field(default_factory=KeypointModel)
    variation: PoseVariation | None = None
    speeds: tuple[float, float] = (1.0, 1.0)
    mirror: bool = True
    balance: Literal["subject", "sequence", "frame", "pose"] = "subject"
    fraction: float = 1.0
    labelled: float = 1.0
    second_source: bool = False
    stride: int = 1
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if self.frames_per_sample < 1 or self.frames_per_sample % 2 == 0:
            raise InputError(
                f"data.frames is {self.frames_per_sample}; expected an odd number, the middle is predicted"
            )
        self.poses = self._prepare().to(self.device)

    poses: _Poses = field(init=False, repr=False)

    def __len__(self) -> int:
        return -(-len(self.capture) // self.stride)

    @property
    def training_poses(self) -> int:
        """Poses that samples are drawn from."""
        return len(self.poses.order)

    def to(self, device: torch.device | str) -> ProjectedPoses:
        """Move the motion; samples are made there from now on."""
        self.device = device
        self.poses = self.poses.to(device)
        return self

    # ------------------------------------------------------------------------------------------------------- samples

    def batch(self, streams: RandomStreams) -> Batch:
        """Training samples; `unpaired` is another person's pose in the body frame with a camera of its own."""
        stream = DeviceDraws(streams, self.device)
        frame, flip = self._draw(stream), stream.uniform() < 0.5
        other, other_flip = self._draw(stream), stream.uniform() < 0.5
        camera, other_camera = self.cameras(stream, self.image_size), self.cameras(stream, self.image_size)
        joints = self._window(frame, self._speed(stream))
        if self.variation is not None:
            joints = self._varied(joints, stream)
        fields = self._seen(joints, flip & self.mirror, camera, stream)
        labels = torch.where(self.poses.labelled[frame][:, None, None], fields["joints_3d"], torch.nan)
        unpaired = self.poses.canonical[other]
        turn = multiply(other_camera.rotation, self.poses.rotation[other])
        if self.mirror:  # a mirrored pose under the unmirrored turn is another person's pose as good as any
            unpaired = torch.where(other_flip[:, None, None], mirror_joints(unpaired, axis=1), unpaired)
        if self.second_source:
            fields["source_joints_2d"] = self._second(unpaired, turn, other_camera)
        return Batch(
            index=torch.from_numpy(streams.indices).to(self.device),
            seeds=stream.seeds,
            unpaired=unpaired,
            unpaired_camera=Camera(turn, other_camera.translation, other_camera.K),
            **(fields | {"joints_3d": labels}),
        )

    def frames(self, indices: np.ndarray) -> Batch:
        """Evaluation frames, each seen by one camera that depends on its number only."""
        indices = np.asarray(indices, np.int64)
        stream = DeviceDraws(RandomStreams(_EVALUATION_SEED, 0, indices), self.device)
        frame = torch.from_numpy(indices * self.stride).to(self.device)
        camera = self.cameras(stream, self.image_size)
        fields = self._seen(self._window(frame), torch.zeros_like(frame, dtype=torch.bool), camera, stream)
        sequence = self.capture.sequence[indices * self.stride]
        meta = tuple(
            {
                "dataset": self.name,
                "person": self.capture.subjects[s],
                "action": self.capture.actions[s],
                "file": self.capture.names[s],
                "frame": int(f),
            }
            for s, f in zip(sequence, indices * self.stride, strict=True)
        )
        return Batch(index=torch.from_numpy(indices).to(self.device), seeds=stream.seeds, meta=meta, **fields)

    def _draw(self, stream: DeviceDraws) -> Tensor:
        """(B,) frames: a group, each alike, then one of its frames."""
        group = stream.integers(len(self.poses.start))
        return self.poses.order[self.poses.start[group] + stream.integers(self.poses.count[group])]

    def _speed(self, stream: DeviceDraws) -> Tensor | None:
        """(B,) how many times as fast as captured; None = as captured, without a draw."""
        if self.speeds == (1.0, 1.0):
            return None
        low, high = (math.log(speed) for speed in self.speeds)
        return stream.uniform(low=low, high=high).exp()

    def _window(self, frame: Tensor, speed: Tensor | None = None) -> Tensor:
        """(B, T, 17, 3) the sequence around `frame` (B,), z up, its pelvis there at the origin; held at the ends."""
        half = self.frames_per_sample // 2
        steps = torch.arange(-half, half + 1, device=frame.device)
        first, last = self.poses.first[frame, None], self.poses.last[frame, None]
        if speed is None:
            joints = self.poses.positions[(frame[:, None] + steps).clamp(first, last)]
        else:
            time = steps * speed[:, None]  # frames, relative to the middle one
            whole = time.floor()
            before, after = (
                self.poses.positions[(frame[:, None] + whole.long() + offset).clamp(first, last)] for offset in (0, 1)
            )
            joints = torch.lerp(before, after, (time - whole)[..., None, None])
        return joints - self.poses.positions[frame, :1][:, None]

    def _varied(self, joints: Tensor, stream: DeviceDraws) -> Tensor:
        """The windows with other bodies, and with limbs of other windows."""
        assert self.variation is not None
        donor, speed = self._draw(stream), self._speed(stream)
        donors = self._window(donor, speed)
        frame, pelvis = body_frame(donors)
        donors = rotate(frame.transpose(-1, -2), donors - pelvis[..., None, :])
        return self.variation(joints, donors, stream)

    def _seen(self, joints: Tensor, flip: Tensor, camera: Camera, stream: DeviceDraws) -> dict[str, Any]:
        """Fields of samples of windows (B, T, 17, 3), mirrored where `flip`."""
        half = self.frames_per_sample // 2
        joints = torch.where(flip[:, None, None, None], mirror_joints(joints, axis=1), joints)
        joints = transform(joints, camera.rotation[:, None], camera.translation[:, None])
        if isinstance(self.keypoints, DetectorModel):
            joints, detected = self.keypoints.marked(joints, stream)
            torso = TORSO * camera.K[:, 0, 0] / joints[:, half, 0, 2].clamp(min=TORSO)
            observed, confidence = self.keypoints(project(joints, camera.K[:, None]), detected, torso, stream)
        else:
            observed, confidence = self.keypoints(project(joints, camera.K[:, None]), stream, self.image_size)
        if self.frames_per_sample == 1:
            observed, confidence = observed[:, 0], confidence[:, 0]
        return {"joints_2d": observed, "confidence": confidence, "joints_3d": joints[:, half], "K": camera.K}

    def _second(self, unpaired: Tensor, turn: Tensor, camera: Camera) -> Tensor:
        """(B, 17, 2) px of unpaired poses as another keypoint source marks them."""
        return project(other_convention(rotate(turn, unpaired) + camera.translation[:, None]), camera.K)

    # --------------------------------------------------------------------------------------------------- preparation

    def _prepare(self) -> _Poses:
        capture = self.capture
        positions = torch.from_numpy(np.ascontiguousarray(capture.positions, np.float32))
        sequence = torch.from_numpy(capture.sequence)
        rooted = positions - positions[:, :1]
        rotation, _ = body_frame(rooted)
        count = torch.bincount(sequence, minlength=len(capture.names))
        ends = count.cumsum(0)
        kept = np.unique(np.linspace(0, len(capture) - 1, max(1, round(self.fraction * len(capture)))).round())
        groups = {
            "subject": capture.subject_of_frame()[0],
            "sequence": capture.sequence,
            "frame": np.zeros(len(capture), np.int64),
        }
        canonical = rotate(rotation.transpose(-1, -2), rooted)
        group = (pose_clusters(canonical) if self.balance == "pose" else groups[self.balance])[kept.astype(np.int64)]
        order = np.argsort(group, kind="stable")
        _, start, size = np.unique(group[order], return_index=True, return_counts=True)
        share = np.random.Generator(np.random.Philox(key=[_EVALUATION_SEED, 1])).permutation(len(capture.names))
        labelled = torch.from_numpy(share < max(1, round(self.labelled * len(capture.names))))
        return _Poses(
            positions=positions,
            canonical=canonical,
            rotation=rotation,
            first=(ends - count)[sequence],
            last=ends[sequence] - 1,
            labelled=labelled[sequence],
            order=torch.from_numpy(kept.astype(np.int64)[order]),
            start=torch.from_numpy(start),
            count=torch.from_numpy(size),
        )
