"""The lifter that is released: poses and roots of whatever a detector marks, from one frame or from a window.

A residual network (Martinez et al. 2017) sees keypoints from a virtual camera that looks at the person
(`modules.person_view`), with or without a known focal length. It gives the pose, and how far away the person is relative to the spread of its keypoints, from which the root follows (after PoseLifter,
Chang et al. 2019; here depth times spread is learnt, which no focal length and no distance enters). Seen joints stand on
their rays, at a depth that is learnt; what the network adds across them corrects the keypoints **[ours]**.

From a window, temporal convolutions (Pavllo et al. 2019) see what the residual network makes of each frame, and correct the
middle one. They begin by correcting nothing, so the weights of a single-frame lifter are a good start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from selfsup3d.config.lifters import KeypointLifterConfig
from selfsup3d.geometry.kinematics import mirror_joints
from selfsup3d.geometry.rotation import multiply, rotate
from selfsup3d.models.lifters.temporal import TemporalConvolution
from selfsup3d.models.modules.mlp import ResidualMLP
from selfsup3d.models.modules.person_view import CHANNELS, USUAL_SPREAD, PersonView, person_view
from selfsup3d.models.modules.pose_panels import lifted_panels
from selfsup3d.models.modules.poses import root_relative
from selfsup3d.models.system import System, Update
from selfsup3d.structures.batch import Batch, PoseOutput
from selfsup3d.structures.random import uniform_noise
from selfsup3d.structures.skeleton import NUM_JOINTS

__all__ = ["KeypointLifter"]

_OUTPUTS = 3 * (NUM_JOINTS - 1) + 1
_FRAME_CHANNELS = _OUTPUTS + 3 * NUM_JOINTS
"""What temporal convolutions see of a frame: its pose and depth, keypoints and flags."""

_USUAL_SIZE = 0.5
"""Metres: depth times spread of an untrained network; nearly that of everybody."""

_LARGEST = 3.0
"""The logarithm's correction is cut to it."""

_DEPTH_WEIGHT = 0.1
"""Of the error of the logarithm of the depth: a tenth is worth as much as a centimetre."""


class KeypointLifter(System):
    """Pose and root of keypoints.

    Args:
        settings: sizes; `widths` () = single frames by the residual network.
    """

    requires = ("joints_2d", "joints_3d", "K", "seeds")
    predict_requires = ("joints_2d",)

    def __init__(self, settings: KeypointLifterConfig) -> None:
        super().__init__()
        self.settings = settings
        self.frames = math.prod(settings.widths)
        self.network = ResidualMLP(
            CHANNELS,
            _OUTPUTS,
            settings.width,
            settings.blocks,
            norm="batch",
            dropout=settings.dropout,
            zero_output=True,
        )  # untrained, people are flat
        self.temporal: TemporalConvolution | None = None
        if settings.widths:
            self.temporal = TemporalConvolution(
                _FRAME_CHANNELS, _OUTPUTS, settings.widths, settings.channels, settings.dropout
            )
            for parameter in self.temporal.leave.parameters():
                nn.init.zeros_(parameter)

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """All in one."""
        return {"lifter": self.parameters()}

    def updates(self, step: int, progress: float) -> list[Update]:
        """One."""
        return [Update("lifter", ("lifter",), "main")]

    # ------------------------------------------------------------------------------------------------------ training

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Mean joint error of the pose, and the error of log depth; joints and samples without labels (NaN) count as 0."""
        assert batch.joints_3d is not None
        assert batch.seeds is not None
        given = uniform_noise(batch.seeds, (), stream=7) >= self.settings.unknown_focal
        view = self.view(batch, given)
        whole = self.middle(view) if self.settings.unknown_focal == 0 else self.view(batch, frames=1)
        pose, depth = self.estimate(view)
        # labels are in the virtual camera's axes, whether it was told or not
        axes = multiply(self.middle(view).roll, whole.virtual)
        target = rotate(axes, root_relative(batch.joints_3d))
        known = torch.isfinite(target)
        error = torch.where(known, pose - torch.where(known, target, 0.0), 0.0)
        # sqrt(x + tiny): a distance whose gradient at 0 is 0
        distance = (error.square().sum(-1) + 1e-12).sqrt() * known.all(-1)
        root = rotate(axes, batch.joints_3d[:, :1])[:, 0, 2]
        placed = torch.isfinite(root) & (root > 0.1)
        goal = (torch.where(placed, root, 1.0) * whole.scale).log()
        return {"pose": distance[:, 1:].mean(), "depth": _DEPTH_WEIGHT * ((depth - goal).abs() * placed).mean()}

    # ---------------------------------------------------------------------------------------------------- prediction

    def view(self, batch: Batch, given: Tensor | None = None, frames: int | None = None) -> PersonView:
        """The `frames` keypoints around the middle frame, each in a virtual camera of its own; (B * frames) rows.

        Short sequences are held at their ends.

        Args:
            batch: with joints_2d.
            given: (B,) bool, K may be used; None = wherever it is there.
            frames: other than this lifter's own.
        """
        frames = frames or self.frames
        assert batch.joints_2d is not None
        joints, confidence, K = batch.joints_2d, batch.confidence, batch.K
        if joints.dim() == 3:
            joints, confidence = joints[:, None], None if confidence is None else confidence[:, None]
        steps = torch.arange(frames, device=joints.device) - frames // 2 + joints.shape[1] // 2
        steps = steps.clamp(0, joints.shape[1] - 1)
        return person_view(
            joints[:, steps].flatten(0, 1)[:, None],
            None if confidence is None else confidence[:, steps].flatten(0, 1)[:, None],
            None if K is None else K.repeat_interleave(frames, 0),
            None if given is None else given.repeat_interleave(frames, 0),
        )

    def middle(self, view: PersonView) -> PersonView:
        """The middle frames of windows, (B) rows."""
        return view[slice(self.frames // 2, None, self.frames)]

    def estimate(self, view: PersonView) -> tuple[Tensor, Tensor]:
        """Poses (B, 17, 3) in the axes of the middle frame's view, metres, and logarithms (B,) of depth times spread."""
        pose, depth = self._lifted(view)
        if self.settings.flip_test and not self.training:
            other, other_depth = self._lifted(view.mirrored())
            return 0.5 * (pose + mirror_joints(other, axis=0)), 0.5 * (depth + other_depth)
        return pose, depth

    def _lifted(self, view: PersonView) -> tuple[Tensor, Tensor]:
        middle = self.middle(view)
        pose, depth = _read(self.network(middle.features[:, 0]), middle)
        if self.temporal is None:
            return pose, depth
        change = self.temporal(self._frames(view, middle).transpose(1, 2))[..., 0]
        return pose + _moved(change), depth + change[:, -1]

    @torch.no_grad()
    def _frames(self, view: PersonView, middle: PersonView) -> Tensor:
        """(B, frames, _FRAME_CHANNELS) keypoints of a window and the poses of its single frames, in the axes of `middle`.

        The middle frame alone trains the residual network: through all of them a step would take many times as long.
        """
        was_training = self.network.training
        pose, depth = _read(self.network.eval()(view.features[:, 0]), view)
        self.network.train(was_training)
        turn = multiply(middle.rotation.repeat_interleave(self.frames, 0), view.rotation.transpose(-1, -2))
        pose = rotate(turn, pose)[:, 1:].flatten(1)
        rows = torch.cat((pose, depth[:, None], view.values.flatten(1), view.visible.flatten(1)), -1)
        return rows.unflatten(0, (-1, self.frames))

    @torch.no_grad()
    def predict(self, batch: Batch, samples: int = 1, trusted: Tensor | None = None) -> PoseOutput:
        """The (middle frame's) pose; the root too where K is given.

        Without K, axes are those of a camera that looks at the person.

        Args:
            batch: see `predict_requires`; K where it is known, or guessed.
            samples: one is given, whatever is asked for.
            trusted: (B,) bool; where False, K is a guess: it places the root, and the pose is found without it. None =
                all of K is true.
        """
        batch.require(self.predict_requires, by="KeypointLifter.predict")
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            view = self.view(batch)
            used = view if trusted is None else self.view(batch, trusted)
            pose, depth = self.estimate(used)
            view, used = self.middle(view), self.middle(used)
            pose = rotate(multiply(view.roll, used.roll.transpose(-1, -2)), pose)
        root = None
        if batch.K is not None:
            root = _placed(pose, depth.exp() / view.scale, view)
            root = rotate(view.rotation.transpose(-1, -2), root[:, None])
        pose = rotate(view.rotation.transpose(-1, -2), pose)
        return PoseOutput(pose=pose[:, None], unit="m", root=root)

    @torch.no_grad()
    def panels(self, batch: Batch) -> dict[str, Tensor]:
        """The keypoints, and the lifted pose from two sides beside the truth."""
        return lifted_panels(batch, self.predict(batch).pose[:, 0])


def _moved(found: Tensor) -> Tensor:
    """(B, 49) outputs as (B, 17, 3) metres, zero at the root."""
    moved = found[:, :-1].unflatten(-1, (NUM_JOINTS - 1, 3))
    return torch.cat((torch.zeros_like(moved[:, :1]), moved), 1)


def _read(found: Tensor, view: PersonView) -> tuple[Tensor, Tensor]:
    """A network's outputs (B, 49) as poses (B, 17, 3) with the root at 0, and logarithms (B,) of depth times spread."""
    depth = found[:, -1].clamp(-_LARGEST, _LARGEST) + math.log(_USUAL_SIZE)
    moved, seen = _moved(found), view.values[:, 0]  # (B, 17, 2), zero where missing
    perspective = torch.where(view.known > 0, view.scale, USUAL_SPREAD)[:, None] * moved[..., 2]
    across = seen * (depth.exp()[:, None] + perspective)[..., None]  # joints on their rays
    across = across - across[:, :1] + moved[..., :2]
    return torch.cat((across, moved[..., 2:]), -1), depth


def _placed(pose: Tensor, depth: Tensor, view: PersonView) -> Tensor:
    """(B, 3) root in the axes of the view at a depth, where visible joints re-project best."""
    plane, visible = view.values[:, 0] * view.scale[:, None, None], view.visible[:, 0]
    aside = plane * (depth[:, None] + pose[..., 2])[..., None] - pose[..., :2]  # (B, 17, 2) the root by each joint
    aside = (aside * visible[..., None]).sum(1) / visible.sum(1, keepdim=True).clamp(min=1.0)
    return torch.cat((aside, depth[:, None]), -1)
