"""The network of the part-guided system, apart from its training: from an image to a pose, and from a pose to an image.

An encoder splits an image into appearance, canonical limb vectors and camera; kinematics, camera and part transform
turn the pose into part maps; a decoder makes image and part segmentation from appearance and maps. Prediction, export,
synthesis and pseudo-labels need this file alone; `system` adds the losses and what is updated when.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from selfsup3d.config.choices import Averaging
from selfsup3d.config.part_guided import PartGuidedConfig
from selfsup3d.geometry.align import procrustes
from selfsup3d.geometry.camera import default_intrinsics
from selfsup3d.models.part_guided.averaging import Reading, averaged_reading
from selfsup3d.models.part_guided.compositing import composite, coverage
from selfsup3d.models.part_guided.confidence import Calibration
from selfsup3d.models.part_guided.decoder import Decoded, Decoder
from selfsup3d.models.part_guided.encoder import Encoder, Encoding, PoseCode
from selfsup3d.models.part_guided.layers import COLOUR
from selfsup3d.models.part_guided.localizer import crop_around
from selfsup3d.models.part_guided.observed_parts import observed_parts
from selfsup3d.models.part_guided.pose import BodyPose, pose_of, pose_of_joints
from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.puppet import Puppet, default_puppet
from selfsup3d.puppet.textures import (
    Drawn,
    PartTextures,
    complete,
    draw_textures,
    sample_textures,
    texture_size,
    view_of,
    visible_parts,
)
from selfsup3d.puppet.transform import PartGeometry, part_geometry, part_maps
from selfsup3d.structures.batch import Batch, PoseOutput, TensorFields
from selfsup3d.structures.skeleton import NUM_JOINTS
from selfsup3d.viz.parts import colour_labels
from selfsup3d.viz.view3d import skeleton_views

__all__ = ["Appearance", "PartGuidedNetwork", "intrinsics_of"]


@dataclass(frozen=True)
class Appearance(TensorFields):
    """What images show of N people, apart from their poses.

    Attributes:
        vectors: (N, P + 1, C) of each part and of the whole, from the encoder.
        textures: of the parts, where the decoder is given any.
    """

    vectors: Tensor
    textures: PartTextures | None = None

    def __len__(self) -> int:
        return len(self.vectors)


class Scene(NamedTuple):
    """A person to decode: source images (N, 3, H, W) seen by `source_K`, the wanted camera-frame joints (N, 17, 3) and
    their pinhole K, both (N, 3, 3), and the background (N, 3, H, W) or None."""

    source: Tensor
    source_K: Tensor
    joints: Tensor
    K: Tensor
    background: Tensor | None


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

    pose_reader: tuple[PartGuidedNetwork, int] | None = None
    """Another network, and the side of the images that it reads, px: what it sees is drawn, no part of this one."""

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

    def appearance(
        self, images: Tensor, encoding: Encoding, body: BodyPose | None = None, large: Tensor | None = None
    ) -> Appearance:
        """What images (N, 3, H, W) show of people.

        Args:
            encoding: of the images. body: their poses; None = those of the encoding.
            large: the same images, larger; the textures are sampled from them.
        """
        if not self.settings.textures:
            return Appearance(encoding.appearance)
        body = self.pose(encoding) if body is None else body
        size = (images.shape[-2], images.shape[-1])
        maps, geometry = self.maps(body.joints, body.camera.K, size)
        with torch.no_grad():
            parts = self.observed(images, encoding, geometry, maps).softmax(1)
        seen = self.decoder.textured(images, large)
        textures = sample_textures(seen, geometry, parts, view_of(body.joints), texture_size(seen.shape[-1]))
        return Appearance(encoding.appearance, textures)

    def observed(self, images: Tensor, encoding: PoseCode, geometry: PartGeometry, maps: Tensor) -> Tensor:
        """Logits (N, P + 1, H, W) of which part each pixel of encoded images shows, background last."""
        found = observed_parts(visible_parts(geometry, maps), encoding.part_logits, encoding.crop)
        return found if self.decoder.segmenter is None else self.decoder.segmenter(images, found)

    def draw(self, appearance: Appearance, joints: Tensor, geometry: PartGeometry, maps: Tensor) -> Drawn | None:
        """The textures of N people, or of one, at N poses with their part maps; None where there are no textures."""
        if appearance.textures is None:
            return None
        features = appearance.textures.colour.shape[3] - COLOUR
        fallback = nn.functional.pad(appearance.vectors[:, :-1, :COLOUR].float(), (0, features))
        fallback = fallback.expand(len(joints), -1, -1)
        return draw_textures(complete(appearance.textures, self.puppet, fallback, view_of(joints)), geometry, maps)

    def synthesize(self, appearance: Appearance, joints: Tensor, K: Tensor, size: tuple[int, int]) -> Decoded:
        """Decode N people in camera-frame joints (N, 17, 3) seen by K."""
        maps, geometry = self.maps(joints, K, size)
        return self.decoder(appearance.vectors, maps, self.draw(appearance, joints, geometry, maps))

    def decode_large(
        self, appearance: Appearance, joints: Tensor, K: Tensor, size: int, scale: int
    ) -> tuple[Tensor, Tensor]:
        """Decode N people at `size` px; what is finer, up to `scale` times that, is drawn from their textures.

        Args:
            appearance: of N people, its textures of N or of one. joints: (N, 17, 3). K: (N, 3, 3) px of `size`.

        Returns:
            (N, 3, side, side) colours weighed by the cover, and cover (N, 1, side, side) in [0, 1].
        """
        maps, _ = self.maps(joints, K, (size, size))
        if appearance.textures is None:
            image = self.decoder(appearance.vectors, maps).image
            colour = self.decoder.background
            cover = coverage(image, maps, colour)
            return enlarged(image - (1.0 - cover) * colour.view(1, 3, 1, 1), scale), enlarged(cover, scale)
        fine, place = self.maps(joints, K * K.new_tensor([scale, scale, 1.0])[:, None], (size * scale, size * scale))
        drawn = self.draw(appearance, joints, place, fine)
        assert drawn is not None
        small = drawn.shrunk(scale)
        decoded = self.decoder(appearance.vectors, maps, small)
        kept = 1.0 - decoded.repainted
        painted = decoded.person - kept * small.colour[:, :COLOUR]
        person = (enlarged(kept, scale) * drawn.colour[:, :COLOUR] + enlarged(painted, scale)).clamp(0.0, 1.0)
        cover = (drawn.coverage + enlarged(decoded.cover - small.coverage, scale)).clamp(0.0, 1.0)
        return cover * person, cover

    def with_textures(self) -> Self:
        """This network with a decoder that draws the textures of its source as they are, unless it has textures."""
        if not self.settings.textures:
            old = self.decoder
            self.decoder = Decoder(len(self.puppet), old.channels, old.widths, textures=True).to(self.bone_lengths)
            self.decoder.background.copy_(old.background)
            self.decoder.eval()
            self.settings = self.settings.model_copy(update={"textures": True})
        return self

    def encode(self, images: Tensor, K: Tensor) -> Encoding:
        """Encode images (N, 3, H, W)."""
        return self.encoder(images, K)

    def read(self, images: Tensor, K: Tensor, lengths: Tensor | None = None) -> Reading:
        """Images (N, 3, S, S) under every left/right assignment, as `averaging` and `second_crop` say."""
        return averaged_reading(self, images, K, self.averaging, lengths, second_crop=self.second_crop)

    def seen(self, images: Tensor, K: Tensor, large: Tensor | None = None) -> tuple[Encoding, BodyPose]:
        """The encoding of images (N, 3, S, S) and their pose, read as `averaging` and `second_crop` say.

        With `pose_reader` the pose is its, and so are the encoding's crop and part logits.

        Args:
            large: the same images, larger, which `pose_reader` reads in their place.
        """
        encoding = self.encode(images, K)
        if self.pose_reader is None:
            return encoding, self.posed(images, K, encoding)
        reader, size = self.pose_reader
        read = images if large is None else large
        if read.shape[-1] != size:
            read = nn.functional.interpolate(read, (size, size), mode="bilinear", antialias=True)
        wanted = K * K.new_tensor([size / images.shape[-1], size / images.shape[-1], 1.0])[:, None]
        body = reader.posed(read, wanted)
        crop = crop_around(body.pixels / size) if reader.second_crop else None
        found = reader.encoder(read, wanted, with_appearance=False, crop=crop)
        encoding = replace(encoding, crop=found.crop, part_logits=found.part_logits)
        return encoding, replace(body, camera=replace(body.camera, K=K))

    def posed(
        self, images: Tensor, K: Tensor, encoding: Encoding | None = None, lengths: Tensor | None = None
    ) -> BodyPose:
        """The pose of images, read as `averaging` and `second_crop` say; from their encoding, if these say nothing."""
        if self.averaging == "none" and not self.second_crop:
            encoding = self.encoder(images, K, with_appearance=False) if encoding is None else encoding
            return self.pose(encoding, lengths)
        reading = self.read(images, K, lengths)
        return pose_of_joints(reading.at(reading.likeliest()).joints, K)

    def confidence(self, reading: Reading, assignment: Tensor) -> Tensor | None:
        """(N, 17) the probability that each joint lies within 150 mm, None where the model was not calibrated."""
        return None if self.calibration is None else self.calibration(reading, assignment)

    # ------------------------------------------------------------------------------------------ evaluation

    @property
    def decoder_is_trained(self) -> bool:
        """Whether its images mean anything: the last layer begins as zeros, and every update of the decoder moves it."""
        return bool(self.decoder.to_image.weight.any())

    @property
    def paints(self) -> bool:
        """Whether its settings trained the decoder; a decoder that only came with the weights is not measured."""
        return self.settings.trains_decoder

    @torch.no_grad()
    def predict(self, batch: Batch, samples: int = 1, decode: bool = True) -> PoseOutput:
        """Pose, camera, reconstruction and part segmentation of `batch.target`; deterministic, so one hypothesis.

        Without `decode` only what the pose needs: no appearance, reconstruction and segmentation.
        """
        target = batch.need("target", by="PartGuided.predict")
        K = intrinsics_of(batch)
        lengths = batch.bone_lengths if self.settings.bone_lengths == "given" else None
        several = self.averaging != "none" or self.second_crop
        encoding, confidence = None, None
        if decode or not several:
            encoding = self.encoder(target, K, with_appearance=decode)
        if several or self.calibration is not None:
            reading = self.read(target, K, lengths)
            assignment = reading.likeliest()
            confidence = self.confidence(reading, assignment)
        if several:
            body, keypoints = pose_of_joints(reading.at(assignment).joints, K), reading.at(assignment).keypoints
        else:
            assert encoding is not None
            body, keypoints = self.pose(encoding, lengths), encoding.keypoints
        image, parts, latent = None, None, None
        if decode:
            assert encoding is not None
            image, parts = self._decoded(target, encoding, body, K)
            latent = encoding.appearance.flatten(1)
        return PoseOutput(
            pose=body.posed[:, None],
            root=body.camera.translation[:, None],
            camera=body.camera,
            canonical=body.canonical[:, None] if self.settings.kinematics else None,
            joints_2d=body.pixels[:, None],
            keypoints=keypoints,
            confidence=confidence,
            latent=latent,
            image=image,
            segmentation=parts,
        )

    def _decoded(self, target: Tensor, encoding: Encoding, body: BodyPose, K: Tensor) -> tuple[Tensor | None, Tensor]:
        """Reconstruction (N, 3, S, S), None where no decoder is trained, and part probabilities (N, P+1, S, S)."""
        size = (target.shape[-2], target.shape[-1])
        maps, geometry = self.maps(body.joints, K, size)
        if not self.settings.trains_decoder:  # the puppet itself is the segmentation
            labels = part_labels(maps, geometry, size, self.puppet).parts
            return None, nn.functional.one_hot(labels, maps.shape[1] + 1).permute(0, 3, 1, 2).float()
        appearance = self.appearance(target, encoding, body)
        decoded = self.decoder(appearance.vectors, maps, self.draw(appearance, body.joints, geometry, maps))
        if self.settings.textures:  # the image says more of its parts than the pose found in it does
            return decoded.image, self.observed(target, encoding, geometry, maps).softmax(1)
        return decoded.image, decoded.segmentation.softmax(1)

    def scene(self, batch: Batch, method: str) -> Scene:
        """What one kind of synthesis is made of: "redraw", "reconstruct", "transfer" or "novel_view"."""
        K = intrinsics_of(batch)
        source = batch.need("target" if method in ("redraw", "novel_view") else "source", by="PartGuided")
        if method in ("redraw", "reconstruct"):
            target = batch.need("target", by="PartGuided.reconstruct")
            return Scene(source, K, self.seen(target, K)[1].joints, K, batch.target_background)
        if method == "transfer":
            joints = batch.need("transfer_joints_3d", by="PartGuided.transfer")
            return Scene(source, K, joints, K, batch.target_background)
        names = ("joints_3d", "second_view_joints_3d")
        first, second = (batch.need(name, by="PartGuided.novel_view") for name in names)
        assert batch.second_view_camera is not None
        _, predicted = self.seen(source, K)
        rotation = procrustes(first - first[:, :1], second - second[:, :1], scale=False).rotation
        joints = predicted.posed @ rotation.transpose(-1, -2) + second[:, :1]
        return Scene(source, K, joints, batch.second_view_camera.K, None)

    def decode_scene(self, scene: Scene) -> Tensor:
        """(N, 3, H, W) a scene's people over its background, or over the constant colour if there is none."""
        size = (scene.source.shape[-2], scene.source.shape[-1])
        encoding, body = self.seen(scene.source, scene.source_K)
        appearance = self.appearance(scene.source, encoding, body)
        maps, geometry = self.maps(scene.joints, scene.K, size)
        decoded = self.decoder(appearance.vectors, maps, self.draw(appearance, scene.joints, geometry, maps))
        return decoded.image if scene.background is None else self.composite(decoded, maps, scene.background)

    def composite(self, decoded: Decoded, maps: Tensor, background: Tensor) -> Tensor:
        """(N, 3, H, W): decoded people over a background (N or 1, 3, H, W); `maps` (N, P, H, W) that they came from."""
        if decoded.cover is not None:
            return decoded.over(background)
        return composite(decoded.image, maps, self.decoder.background, background)

    @torch.no_grad()
    def redraw(self, batch: Batch) -> Tensor:
        """`target` from its own appearance and predicted pose, over its background if known."""
        return self.decode_scene(self.scene(batch, "redraw"))

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """`target` from the source's appearance and the target's predicted pose, over the target's background if known."""
        return self.decode_scene(self.scene(batch, "reconstruct"))

    @torch.no_grad()
    def transfer(self, batch: Batch) -> Tensor:
        """The person of `source` in `transfer_joints_3d` (the driving pose is given)."""
        return self.decode_scene(self.scene(batch, "transfer"))

    @torch.no_grad()
    def novel_view(self, batch: Batch) -> Tensor:
        """`target`'s person from `second_view_camera`, with the pose predicted from `target` rotated between views."""
        return self.decode_scene(self.scene(batch, "novel_view"))

    @torch.no_grad()
    def continued(self, batch: Batch, method: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Images (N, 3, H, W) of the same person in the same pose whose colours go on beyond their outline, so that all
        of a true person's pixels are compared with some colour of theirs; and their cover (N, 1, H, W).

        Returns:
            "continued": this network's own, where it has any; "warp": the source's parts as they are, drawn in the
            pose; "flat_parts": each part in the mean colour of what the source shows of it.
        """
        scene = self.scene(batch, method)
        size = (scene.source.shape[-2], scene.source.shape[-1])
        encoding, body = self.seen(scene.source, scene.source_K)
        maps, geometry = self.maps(body.joints, scene.source_K, size)
        appearance = self.appearance(scene.source, encoding, body)
        labels = part_labels(maps, geometry, size, self.puppet).parts
        parts = nn.functional.one_hot(labels, len(self.puppet) + 1).permute(0, 3, 1, 2).float()
        plain = sample_textures(scene.source, geometry, parts, view_of(body.joints), texture_size(size[1]))
        fallback = appearance.vectors[:, :-1, :COLOUR].float()
        whole = complete(plain, self.puppet, fallback)
        whole = replace(whole, known=torch.zeros_like(whole.known))  # the puppet's outlines
        there, place = self.maps(scene.joints, scene.K, size)
        flat = replace(whole, colour=whole.mean_colour()[..., None, None].expand_as(whole.colour))
        guesses = {"warp": draw_textures(whole, place, there), "flat_parts": draw_textures(flat, place, there)}
        found = {name: (guess.colour, guess.coverage) for name, guess in guesses.items()}
        drawn = self.draw(appearance, scene.joints, place, there)
        if drawn is not None:
            decoded = self.decoder(appearance.vectors, there, drawn)
            assert decoded.person is not None
            assert decoded.cover is not None
            found["continued"] = decoded.person, decoded.cover
        return found

    @torch.no_grad()
    def panels(self, batch: Batch) -> dict[str, Tensor]:
        """Source, target, reconstruction, puppet, parts, transfer of the next sample's pose, and two views in 3D."""
        source, target = (batch.need(name, by="PartGuided.panels") for name in ("source", "target"))
        K = intrinsics_of(batch)
        size = (target.shape[-2], target.shape[-1])
        body = self.pose(self.encoder(target, K, with_appearance=False))
        appearance = self.appearance(source, self.encode(source, K))
        maps, geometry = self.maps(body.joints, K, size)
        labels = part_labels(maps, geometry, size, self.puppet).parts
        decoded = self.decoder(appearance.vectors, maps, self.draw(appearance, body.joints, geometry, maps))
        moved = self.synthesize(appearance, body.joints.roll(-1, 0), K.roll(-1, 0), size)
        colour = self.decoder.background
        background = colour.view(1, 3, 1, 1) if batch.target_background is None else batch.target_background
        views = skeleton_views(body.posed.cpu(), size[0]).to(target.device)
        return {
            "source": source,
            "target": target,
            "reconstruction": decoded.image,
            "over the background": self.composite(decoded, maps, background),
            "puppet": colour_labels(labels, target),
            "parts": colour_labels(decoded.segmentation.argmax(1), None),
            "pose of the next": moved.image,
            "3D front": views[:, 0],
            "3D side": views[:, 1],
        }


def enlarged(values: Tensor, scale: int) -> Tensor:
    """(N, C, H, W) `scale` times as large, interpolated."""
    if scale == 1:
        return values
    return nn.functional.interpolate(values, scale_factor=scale, mode="bilinear", align_corners=False)


def intrinsics_of(batch: Batch) -> Tensor:
    """The batch's pinholes (B, 3, 3), or the default one for its image size."""
    if batch.K is not None:
        return batch.K.float()
    target = batch.need("target", by="PartGuided")
    return default_intrinsics(target.shape[-1]).to(target.device).expand(len(target), 3, 3)
