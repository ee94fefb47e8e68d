"""The unpaired pose and camera of a training sample, drawn the same way for every dataset."""

from __future__ import annotations

from torch import Tensor

from selfsup3d.data.priors.pose_prior import PosePrior, UprightPrior
from selfsup3d.data.sampling.clip_pairs import CameraPrior
from selfsup3d.structures.batch import Camera
from selfsup3d.structures.random import RandomStreams

__all__ = ["draw_unpaired"]


def draw_unpaired(
    streams: RandomStreams, pose_prior: PosePrior | None, camera_prior: CameraPrior | None, K: Tensor | None
) -> tuple[Tensor | None, Camera | None]:
    """Poses (B, 17, 3) of the body frame and cameras for them, with the images' own K; None where there is no prior.

    A prior that knows how its people stand tells the camera prior so.
    """
    if pose_prior is None:
        return None, None if camera_prior is None else camera_prior.sample(streams, K)
    if isinstance(pose_prior, UprightPrior):
        upright = pose_prior.sample_upright(streams)
        return upright.joints, None if camera_prior is None else camera_prior.sample(streams, K, upright)
    poses = pose_prior.sample(streams)
    return poses, None if camera_prior is None else camera_prior.sample(streams, K)
