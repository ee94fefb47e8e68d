"""The network of the part-guided system, apart from its training: from an image to a pose, and from a pose to an image.

An encoder splits an image into appearance, canonical limb vectors and camera; kinematics, camera and part transform
turn the pose into part maps; a decoder makes image and part segmentation from appearance and maps. Prediction, export,
synthesis and pseudo-labels need this file alone; `system` adds the losses and what is updated when.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from selfsup3d.config.choices import Averaging
from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.geometry.align import procrustes
from selfsup3d.geometry.camera import default_intrinsics
from selfsup3d.models.part_guided.averaging import Reading, averaged_reading
from selfsup3d.models.part_guided.compositing import composite
from selfsup3d.models.part_guided.confidence import Calibration
from selfsup3d.models.part_guided.decoder import Decoded, Decoder
from selfsup3d.models.part_guided.encoder import Encoder, Encoding, PoseCode
from selfsup3d.models.part_guided.pose import BodyPose, pose_of, pose_of_joints
from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.puppet import Puppet, default_puppet
from selfsup3d.puppet.transform import PartGeometry, part_geometry, part_maps
from selfsup3d.structures.batch import Batch, PoseOutput
from selfsup3d.structures.skeleton import NUM_JOINTS
from selfsup3d.viz.parts import colour_labels
from selfsup3d.viz.view3d import skeleton_views

__all__ = ["PartGuidedNetwork", "intrinsics_of"]


class PartGuidedNetwork(nn.Module):
    """Encoder, puppet and decoder.

    Args:
        encoder, decoder: the networks.
        puppet: part table; None = the default of 10 parts.
        settings: of the system, None = the defaults; here they say which frames and bone lengths a pose has and
            whether there is a decoder.
    """

    predict_requires: ClassVar[tuple[str, ...]] = ("target",)

    averaging: Averaging = "none"
    """Of predictions (`averaging`); a way to read a network, no part of it."""
    second_crop: bool = False
    """Whether predictions read the crop around their own keypoints (`averaging`); as the settings say at first."""
    calibration: Calibration | None = None
    """Of the joints' confidences; comes with a model's files."""

    bone_lengths: Tensor

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        puppet: Puppet | None = None,
        settings: PartGuidedConfig | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.puppet = puppet or default_puppet()
        self.settings = settings or PartGuidedConfig()
        self.second_crop = self.settings.second_crop
        self.register_buffer("bone_lengths", torch.zeros(NUM_JOINTS))

    # ------------------------------------------------------------------------------------------ pose and image

    def pose(self, encoding: PoseCode, lengths: Tensor | None = None) -> BodyPose:
        """The pose of an encoding, with the given bone lengths (B, 17) or the system's own."""
        return pose_of(encoding, self.bone_lengths if lengths is None else lengths, self.settings.frames)

    def geometry(self, joints: Tensor, K: Tensor) -> PartGeometry:
        """Parts of camera-frame joints (N, 17, 3) under K (N, 3, 3)."""
        return part_geometry(joints.float(), K.float(), self.puppet)

    def maps(self, joints: Tensor, K: Tensor, size: tuple[int, int]) -> tuple[Tensor, PartGeometry]:
        """Part maps (N, P, H, W) of camera-frame joints: T_s, and the geometry they come from."""
        geometry = self.geometry(joints, K)
        return part_maps(geometry, size, self.puppet), geometry

    def synthesize(self, appearance: Tensor, joints: Tensor, K: Tensor, size: tuple[int, int]) -> Decoded:
        """Decode people of an appearance (N, S, C) in camera-frame joints (N, 17, 3) seen by K."""
        return self.decoder(appearance, self.maps(joints, K, size)[0])

    def encode(self, images: Tensor, K: Tensor) -> Encoding:
        """Encode images (N, 3, H, W)."""
        return self.encoder(images, K)

    def read(self, images: Tensor, K: Tensor, lengths: Tensor | None = None) -> Reading:
        """Images (N, 3, S, S) under every left/right assignment, as `averaging` and `second_crop` say."""
        return averaged_reading(self, images, K, self.averaging, lengths, second_crop=self.second_crop)

    def confidence(self, reading: Reading, assignment: Tensor) -> Tensor | None:
        """(N, 17) the probability that each joint lies within 150 mm, None where the model was not calibrated."""
        return None if self.calibration is None else self.calibration(reading, assignment)

    # ------------------------------------------------------------------------------------------ evaluation

    @property
    def decoder_is_trained(self) -> bool:
        """Whether its images mean anything: the last layer begins as zeros, and every update of the decoder moves it."""
        return bool(self.decoder.to_image.weight.any())

    @torch.no_grad()
    def predict(self, batch: Batch, samples: int = 1) -> PoseOutput:
        """Pose, camera, reconstruction and part segmentation of `batch.target`; deterministic, so one hypothesis."""
        target = batch.need("target", by="PartGuided.predict")
        K = intrinsics_of(batch)
        encoding = self.encode(target, K)
        lengths = batch.bone_lengths if self.settings.bone_lengths == "given" else None
        body, keypoints, confidence = self.pose(encoding, lengths), encoding.keypoints, None
        several = self.averaging != "none" or self.second_crop
        if several or self.calibration is not None:
            reading = self.read(target, K, lengths)
            assignment = reading.likeliest()
            confidence = self.confidence(reading, assignment)
            if several:
                body, keypoints = pose_of_joints(reading.at(assignment).joints, K), reading.at(assignment).keypoints
        size = (target.shape[-2], target.shape[-1])
        if not self.settings.trains_decoder:  # the puppet itself is the segmentation
            maps, geometry = self.maps(body.joints, K, size)
            labels = part_labels(maps, geometry, size, self.puppet).parts
            image, parts = None, nn.functional.one_hot(labels, maps.shape[1] + 1).permute(0, 3, 1, 2).float()
        else:
            decoded = self.synthesize(encoding.appearance, body.joints, K, size)
            image, parts = decoded.image, decoded.segmentation.softmax(1)
        return PoseOutput(
            pose=body.posed[:, None],
            root=body.camera.translation[:, None],
            camera=body.camera,
            canonical=body.canonical[:, None] if self.settings.kinematics else None,
            joints_2d=body.pixels[:, None],
            keypoints=keypoints,
            confidence=confidence,
            latent=encoding.appearance.flatten(1),
            image=image,
            segmentation=parts,
        )

    @torch.no_grad()
    def decode_over(self, batch: Batch, joints: Tensor, K: Tensor, background: Tensor | None) -> Tensor:
        """The person of `batch.source` in camera-frame joints (B, 17, 3), over `background` (B, 3, H, W), or the
        constant colour if None."""
        source = batch.need("source", by="PartGuided.decode_over")
        size = (source.shape[-2], source.shape[-1])
        maps, _ = self.maps(joints, K, size)
        image = self.decoder(self.encode(source, intrinsics_of(batch)).appearance, maps).image
        return image if background is None else composite(image, maps, self.decoder.background, background)

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """`target` from the source's appearance and the target's predicted pose, over the target's background if known."""
        target, K = batch.need("target", by="PartGuided.reconstruct"), intrinsics_of(batch)
        return self.decode_over(batch, self.pose(self.encode(target, K)).joints, K, batch.target_background)

    @torch.no_grad()
    def transfer(self, batch: Batch) -> Tensor:
        """The person of `source` in `transfer_joints_3d` (the driving pose is given)."""
        joints = batch.need("transfer_joints_3d", by="PartGuided.transfer")
        return self.decode_over(batch, joints, intrinsics_of(batch), batch.target_background)

    @torch.no_grad()
    def novel_view(self, batch: Batch) -> Tensor:
        """`target`'s person from `second_view_camera`, with the pose predicted from `target` rotated between views."""
        names = ("target", "joints_3d", "second_view_joints_3d")
        target, first, second = (batch.need(name, by="PartGuided.novel_view") for name in names)
        assert batch.second_view_camera is not None
        predicted = self.pose(self.encode(target, intrinsics_of(batch)))
        rotation = procrustes(first - first[:, :1], second - second[:, :1], scale=False).rotation
        joints = predicted.posed @ rotation.transpose(-1, -2) + second[:, :1]
        return self.decode_over(replace(batch, source=target), joints, batch.second_view_camera.K, None)

    @torch.no_grad()
    def panels(self, batch: Batch) -> dict[str, Tensor]:
        """Source, target, reconstruction, puppet, parts, transfer of the next sample's pose, and two views in 3D."""
        source, target = (batch.need(name, by="PartGuided.panels") for name in ("source", "target"))
        K = intrinsics_of(batch)
        size = (target.shape[-2], target.shape[-1])
        body = self.pose(self.encode(target, K))
        appearance = self.encode(source, K).appearance
        maps, geometry = self.maps(body.joints, K, size)
        labels = part_labels(maps, geometry, size, self.puppet).parts
        decoded = self.decoder(appearance, maps)
        moved = self.synthesize(appearance, body.joints.roll(-1, 0), K.roll(-1, 0), size)
        colour = self.decoder.background
        background = colour.view(1, 3, 1, 1) if batch.target_background is None else batch.target_background
        views = skeleton_views(body.posed.cpu(), size[0]).to(target.device)
        return {
            "source": source,
            "target": target,
            "reconstruction": decoded.image,
            "over the background": composite(decoded.image, maps, colour, background),
            "puppet": colour_labels(labels, target),
            "parts": colour_labels(decoded.segmentation.argmax(1), None),
            "pose of the next": moved.image,
            "3D front": views[:, 0],
            "3D side": views[:, 1],
        }


def intrinsics_of(batch: Batch) -> Tensor:
    """The batch's pinholes (B, 3, 3), or the default one for its image size."""
    if batch.K is not None:
        return batch.K.float()
    target = batch.need("target", by="PartGuided")
    return default_intrinsics(target.shape[-1]).to(target.device).expand(len(target), 3, 3)
