"""The encoder E: an image to keypoints, canonical limb vectors, camera and appearance.

The localizer crops the person (`localizer`). One backbone (any `timm` network by name) reads the crop and feeds a small
feature pyramid; soft-argmax keypoints with a depth each come from its finest level, limbs are assigned to left and right
(`left_right`), and a vector head makes limb vectors and camera from them, from a crop of the head and from the pooled
top feature. Keypoints ahead of the vector head made it learn several times faster than plain regression. The
appearance has a small network of its own that trains along with the decoder while the pose path may be frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup3d.geometry.kinematics import normalize_local_vectors
from selfsup3d.geometry.rotation import rotation_6d_to_matrix
from selfsup3d.models.part_guided.backbone import PatchResNet, TimmBackbone
from selfsup3d.models.part_guided.layers import (
    COLOUR,
    ChannelwiseLinear,
    ConvNormAct,
    standardized,
    weights_as_activations,
)
from selfsup3d.models.part_guided.left_right import assign_limbs
from selfsup3d.models.part_guided.localizer import Localizer, crop_images, into_image
from selfsup3d.structures.batch import Camera, TensorFields
from selfsup3d.structures.skeleton import NUM_JOINTS, NUM_LOCAL, joint_index

__all__ = ["Encoder", "Encoding", "Observation", "PoseCode", "PoseHead"]

PoseHead = Literal["features", "keypoints"]
"""What the limb vectors and the camera are read from."""

LOCAL = 32
"""Channels of the features gathered under each joint's heat map."""

_PLACE, _GEOMETRY = 4, 3  # the first channels of what is seen of a joint, the last ones of the whole crop's
PLACES = NUM_JOINTS * _PLACE + _GEOMETRY
"""What the pose head reads of keypoints: place, depth and confidence of each, and the geometry of the crop."""

_HEAD = [joint_index("nose"), joint_index("head")]


@dataclass(frozen=True)
class PoseCode(TensorFields):
    """The pose that the encoder reads from images (N, 3, H, W).

    Attributes:
        crop: (N, 3) the square that was read: centre and half side, in units of the image's side.
        located: (N, 3) the square that the encoder found; the same, unless it was given one.
        assignment: (N, 2) bool, the left/right assignment of legs and arms that was used (`left_right`).
        assignment_logits: (N, 2) its logits; the assignment is their sign, unless the encoder was given one.
        log_heat: (N, 17, h, w) log-probability of each joint's place in the crop; the channels of a right limb are
            for the limb further left in the image, whosever it is.
        part_logits: (N, P+1, h, w) the person's own part at each cell of the crop, background last; where the
            attention of the appearance starts.
        keypoints: (N, 17, 2) px of the image, the heat's mean (soft-argmax), limbs by the person's own left and right.
        keypoint_depths: (N, 17) depth relative to the root, metres; limbs likewise.
        local_vectors: (N, 13, 3) unit vectors. hip_angle: (N, 2) (cos, sin). Both zero where the kinematics is ablated.
        camera: body -> camera. Where the kinematics is ablated its rotation is the identity.
        joints: (N, 17, 3) joints in camera axes, root-relative, metres, where the kinematics is ablated; else None.
    """

    crop: Tensor
    located: Tensor
    assignment: Tensor
    assignment_logits: Tensor
    log_heat: Tensor
    part_logits: Tensor
    keypoints: Tensor
    keypoint_depths: Tensor
    local_vectors: Tensor
    hip_angle: Tensor
    camera: Camera
    joints: Tensor | None


@dataclass(frozen=True)
class Observation(TensorFields):
    """What the encoder sees in cropped images (N, 3, S, S) before it tells left limbs from right ones.

    Attributes:
        crop, located, assignment_logits, log_heat, part_logits: see `PoseCode`.
        inside: (N, 17, 2) the heat's means in units of the crop's side. depths: (N, 17) metres. Limbs as the image shows
            them.
        seen: (N, 17, C) what the vector heads read of each joint, limbs likewise. whole: (N, D) of the whole crop.
        K: (N, 3, 3) px. size: side of the images, px.
    """

    crop: Tensor
    located: Tensor
    assignment_logits: Tensor
    log_heat: Tensor
    part_logits: Tensor
    inside: Tensor
    depths: Tensor
    seen: Tensor
    whole: Tensor
    K: Tensor
    size: float


@dataclass(frozen=True)
class Encoding(PoseCode):
    """Pose, and appearance (N, S, C): a vector for each of the P parts and one for the whole."""

    appearance: Tensor


class HeadCropBranch(nn.Module):
    """Features of a crop of the head: a few pixels there say which way a person faces, and drown in the whole **[ours]**.
    (Crops of both feet besides were tried, and told nothing more about left and right.)

    Args:
        features: per cell of its 6 x 6 map.
    """

    SIDE = 24
    REACH = 0.25  # of the crop

    def __init__(self, features: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvNormAct(3, 32, stride=2), ConvNormAct(32, 64, stride=2), nn.Conv2d(64, features, 1), nn.Flatten()
        )
        self.outputs = features * (self.SIDE // 4) ** 2

    def forward(self, images: Tensor, head: Tensor) -> Tensor:
        """(N, 3, H, W) and the head's place (N, 2) in units of their side -> (N, outputs)."""
        crop = torch.cat([head, torch.full_like(head[:, :1], self.REACH / 2)], 1)
        return self.layers(standardized(crop_images(images, crop, side=self.SIDE)))


class AppearanceBranch(nn.Module):
    """An image and where its parts are, to one vector per part and one for the whole **[ours]**.

    Each slot pools values over the image, at half resolution, with an attention that starts as the encoder's own part
    probabilities. The values start with the pixels' colour, so a slot's first channels are its part's colour. A
    channel-wise fully-connected layer (Context Encoders, Pathak et al. 2016; **[paper]**) adds what depends on the
    layout of the whole image.
    """

    def __init__(self, slots: int, channels: int, width: int, grid: int) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, width, stride=2)
        self.join = ConvNormAct(width + slots, width)
        self.attention = nn.Conv2d(width, slots, 1)
        self.values = nn.Conv2d(width, channels - COLOUR, 1)
        self.layout = ChannelwiseLinear(channels, grid * grid, slots)
        self.grid = grid

    def forward(self, images: Tensor, part_logits: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] and (N, P+1, h, w) part logits, background last -> (N, P+1, C) float32."""
        features = self.stem(images - 0.5)
        size = features.shape[-2:]
        log_parts = F.interpolate(part_logits.log_softmax(1), size, mode="bilinear", align_corners=False)
        # The last slot is for the whole person: everything but the background.
        person = torch.log1p(-log_parts[:, -1:].exp().clamp_max(1 - 1e-4))
        prior = torch.cat([log_parts[:, :-1], person], 1)
        features = self.join(torch.cat([features, prior.exp().to(features.dtype)], 1))
        colour = F.interpolate(images, size, mode="area")
        values = torch.cat([colour, self.values(features)], 1).float()  # (N, C, h, w)
        attention = (self.attention(features).float() + prior).flatten(2).softmax(-1)  # (N, S, hw)
        pooled = attention @ values.flatten(2).transpose(1, 2)  # (N, S, C)
        layout = self.layout(F.adaptive_avg_pool2d(values, self.grid).flatten(2)).transpose(1, 2)
        return pooled + layout


class Encoder(nn.Module):
    """Images and their pinholes to an `Encoding`.

    Args:
        backbone: gives feature maps, fine to coarse, and has `channels`.
        parts: P of the puppet.
        width: channels of the pyramid. hidden: width of the vector head.
        channels: of each slot of the appearance. appearance_width: of its branch.
        kinematics: False predicts camera-frame joints instead of limb vectors (the ablation without T_fk and T_c).
        pose_head: features = limb vectors and camera are read from keypoints, their depths and image features;
            keypoints = from keypoints, depths, confidences and the crop's geometry alone. Features of rendered people
            do not carry over to real ones, places do; and places can be had by the million without an image.
        heat_exponent: keypoints are the means of heat maps to this power: 2 keeps a second peak, or the haze around
            one, from drawing a wrist to the body.
        cue_dropout: share of the training samples in which each cue of left and right (places, features of the joints,
            of the whole, of the head) is hidden, each by itself: one that real images lack must not be the only one
            that was learned.
    """

    def __init__(
        self,
        backbone: PatchResNet | TimmBackbone,
        parts: int = 10,
        width: int = 64,
        hidden: int = 512,
        channels: int = 24,
        appearance_width: int = 32,
        kinematics: bool = True,
        pose_head: PoseHead = "features",
        heat_exponent: float = 1.0,
        cue_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.localizer = Localizer()
        self.backbone = backbone
        widths = backbone.channels
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in widths)
        self.smooth = ConvNormAct(width, width)
        self.maps = nn.Conv2d(width, 2 * NUM_JOINTS + parts + 1, 1)
        self.local = nn.Conv2d(width, LOCAL, 1)
        self.kinematics = kinematics
        outputs = 3 + (NUM_LOCAL * 3 + 2 + 6 if kinematics else NUM_JOINTS * 3)
        self.head_crop = HeadCropBranch()
        inputs = NUM_JOINTS * (4 + LOCAL) + widths[-1] + self.head_crop.outputs + 3
        self.left_right = VectorHead(inputs, hidden // 2, 2, blocks=1)
        self.cue_dropout = cue_dropout
        self.pose_head, self.heat_exponent = pose_head, heat_exponent
        self.head = VectorHead(inputs if pose_head == "features" else PLACES, hidden, outputs)
        self.appearance_channels = channels
        self.appearance = AppearanceBranch(parts + 1, channels, appearance_width, grid=8)
        weights_as_activations(self)

    def pose_parameters(self) -> list[nn.Parameter]:
        """Parameters of the pose path that learn: all but the appearance branch and frozen blocks of the backbone."""
        own = {id(p) for p in self.appearance.parameters()}
        return [p for p in self.parameters() if id(p) not in own and p.requires_grad]

    def dense_maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Log heat maps and depth maps (N, 17, h, w), part logits (N, P+1, h, w), features (N, 17, LOCAL) and (N, C).

        The features are those under each joint's heat map, and the pooled top feature. Which way a person faces
        shows in a few pixels of the head: pooled over the whole image alone, they were not found within 20,000 images.
        """
        features = self.backbone(standardized(images))
        top = features[-1].mean((2, 3)).float()
        merged = self.lateral[-1](features[-1])
        for lateral, feature in zip(reversed(self.lateral[:-1]), reversed(features[:-1]), strict=True):
            merged = lateral(feature) + F.interpolate(merged, feature.shape[-2:], mode="nearest")
        merged = self.smooth(merged)
        maps = self.maps(merged).float()
        heat, depth, parts = maps.split([NUM_JOINTS, NUM_JOINTS, maps.shape[1] - 2 * NUM_JOINTS], 1)
        log_heat = heat.flatten(2).log_softmax(-1)  # (N, 17, hw)
        local = log_heat.exp() @ self.local(merged).float().flatten(2).transpose(1, 2)  # (N, 17, LOCAL)
        return log_heat.view_as(heat), depth, parts, local, top

    def forward(
        self,
        images: Tensor,
        K: Tensor,
        freeze_pose: bool = False,
        crop: Tensor | None = None,
        assignment: Tensor | None = None,
        pose_images: Tensor | None = None,
        with_appearance: bool = True,
    ) -> Encoding:
        """Encode square images (N, 3, S, S) in [0, 1] seen by K (N, 3, 3) px.

        Args:
            freeze_pose: keep no graph of the pose path.
            crop: (N, 3) where the person is; None = as the encoder finds it (`localizer`).
            assignment: (N, 2) bool, the left/right assignment; None = as the encoder decides it (`left_right`).
            pose_images: what the pose is read from in place of the images, which give the appearance alone.
            with_appearance: False = zeros in its place, for a quarter less time.

        Raises:
            ValueError: images that are not square.
        """
        if images.shape[-2] != images.shape[-1]:
            raise ValueError(f"images must be square, got {tuple(images.shape)}")
        learning = torch.is_grad_enabled() and not freeze_pose
        read = images if pose_images is None else pose_images
        with torch.set_grad_enabled(learning):
            located = self.localizer(read.contiguous(memory_format=torch.channels_last))
        crop = located.detach() if crop is None else crop
        cropped = crop_images(images, crop).contiguous(memory_format=torch.channels_last)
        pose_input = cropped
        if pose_images is not None:
            pose_input = crop_images(read, crop).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(learning):
            pose = self.pose_path(pose_input, crop, located, assignment, K)
        if not with_appearance:
            slots, channels = pose.part_logits.shape[1], self.appearance_channels
            return Encoding(**vars(pose), appearance=cropped.new_zeros(len(cropped), slots, channels))
        return Encoding(**vars(pose), appearance=self.appearance(cropped, pose.part_logits.detach()))

    def pose_path(
        self, images: Tensor, crop: Tensor, located: Tensor, assignment: Tensor | None, K: Tensor
    ) -> PoseCode:
        """The pose alone, from the cropped images (N, 3, S, S), as many px as the image has."""
        observed = self.observe(images, crop, located, K)
        return self.lift(observed, observed.assignment_logits.detach() > 0 if assignment is None else assignment)

    def observe(self, images: Tensor, crop: Tensor, located: Tensor, K: Tensor) -> Observation:
        """What is seen before limbs are told apart: a pass of the backbone over the cropped images.

        Fixed factors bring what the heads read to order one, and what they give to its usual size at the start.
        """
        size = float(images.shape[-1])
        log_heat, depth, parts, local, top = self.dense_maps(images)
        heat = log_heat.exp()
        inside, depths = soft_argmax(sharpened(log_heat, self.heat_exponent), depth)
        focal, half = torch.stack([K[:, 0, 0], K[:, 1, 1]], -1), crop[:, 2:]
        ray = (crop[:, :2] * size - K[:, :2, 2]) / focal  # the direction that the crop lies in
        face = self.head_crop(images, inside[:, _HEAD].mean(1).detach()).float()
        geometry = torch.cat([ray * 4.0, torch.log(half) + 1.0], 1)
        whole = torch.cat([top, face, geometry], 1)
        confidence = heat.amax((2, 3))
        places = [(inside - 0.5) * 4.0, depths[..., None] * 2.0, confidence[..., None] * 4.0]
        seen = torch.cat([*places, local], 2)  # (N, 17, 4 + LOCAL), limbs as the image shows them
        assignment_logits = self.tell_left_right(seen, top, face, geometry)
        return Observation(crop, located, assignment_logits, log_heat, parts, inside, depths, seen, whole, K, size)

    def tell_left_right(self, seen: Tensor, top: Tensor, face: Tensor, geometry: Tensor) -> Tensor:
        """Logits (N, 2) of the left/right assignment of legs and arms, from what `observe` saw."""
        place, local = seen[..., :_PLACE], seen[..., _PLACE:]
        place, local, top, face = (self.sometimes_hidden(cue) for cue in (place, local, top, face))
        return self.left_right(torch.cat([torch.cat([place, local], 2).flatten(1), top, face, geometry], 1)).float()

    def sometimes_hidden(self, cue: Tensor) -> Tensor:
        """(N, ...) with whole samples set to 0 in training (`cue_dropout`)."""
        if not self.training or self.cue_dropout == 0:
            return cue
        shown = torch.rand(len(cue), device=cue.device) >= self.cue_dropout
        return cue * shown.view(-1, *[1] * (cue.dim() - 1)).to(cue.dtype)

    def lift(self, observed: Observation, assignment: Tensor) -> PoseCode:
        """The pose of people observed, under a left/right assignment (N, 2): vector heads only, no pass of the backbone."""
        crop, located, K, size = observed.crop, observed.located, observed.K, observed.size
        assignment_logits, log_heat, parts = observed.assignment_logits, observed.log_heat, observed.part_logits
        seen, whole = assign_limbs(observed.seen, assignment), observed.whole
        if self.pose_head == "keypoints":
            # Cut from the graph: the places are learned for themselves, and mean the same wherever they come from.
            read = torch.cat([seen[..., :_PLACE].flatten(1), whole[:, -_GEOMETRY:]], 1).detach()
        else:
            read = torch.cat([seen.flatten(1), whole], 1)
        raw = self.head(read).float()
        unit = into_image(assign_limbs(observed.inside, assignment), crop)
        depths = assign_limbs(observed.depths, assignment)
        camera, body_raw = _camera(raw, unit[:, 0], crop[:, 2:], K, size), raw[:, 3:]
        if not self.kinematics:
            joints = body_raw.view(-1, NUM_JOINTS, 3)
            joints = joints - joints[:, :1]
            identity = torch.eye(3, device=raw.device).expand(raw.shape[0], 3, 3)  # `len` would fix N in an export
            zeros = torch.zeros(raw.shape[0], NUM_LOCAL, 3, device=raw.device)
            camera = Camera(identity, camera.translation, K)
            heading = zeros[:, 0, :2]
            found = (crop, located, assignment, assignment_logits, log_heat, parts)
            return PoseCode(*found, unit * size, depths, zeros, heading, camera, joints)
        vectors, hip = _limbs(body_raw)
        return PoseCode(
            crop=crop,
            located=located,
            assignment=assignment,
            assignment_logits=assignment_logits,
            log_heat=log_heat,
            part_logits=parts,
            keypoints=unit * size,
            keypoint_depths=depths,
            local_vectors=vectors,
            hip_angle=hip,
            camera=camera,
            joints=None,
        )

    def pose_of_places(
        self, inside: Tensor, depths: Tensor, confidence: Tensor, crop: Tensor, K: Tensor, size: float
    ) -> tuple[Tensor, Tensor, Camera]:
        """Limb vectors (N, 13, 3), hip angle (N, 2) and camera from keypoints alone (`pose_head="keypoints"`).

        Args:
            inside: (N, 17, 2) in units of the crop's side, limbs by the person's own sides. depths: (N, 17) m.
            confidence: (N, 17) the heat maps' highest probabilities. crop: (N, 3). K: (N, 3, 3). size: px of the image.
        """
        focal, half = torch.stack([K[:, 0, 0], K[:, 1, 1]], -1), crop[:, 2:]
        ray = (crop[:, :2] * size - K[:, :2, 2]) / focal
        places = torch.cat([(inside - 0.5) * 4.0, depths[..., None] * 2.0, confidence[..., None] * 4.0], 2)
        raw = self.head(torch.cat([places.flatten(1), ray * 4.0, torch.log(half) + 1.0], 1)).float()
        pelvis = into_image(inside[:, :1], crop)[:, 0]
        return (*_limbs(raw[:, 3:]), _camera(raw, pelvis, half, K, size))


def _camera(raw: Tensor, pelvis: Tensor, half: Tensor, K: Tensor, size: float) -> Camera:
    """The camera that a head's output (N, 3 + ...) stands for.

    The pelvis in the image and the size of one metre there are what an image shows; K makes them metric.
    """
    focal = torch.stack([K[:, 0, 0], K[:, 1, 1]], -1)
    place = (pelvis + 0.2 * half * raw[:, :2]) * size
    metre = torch.exp(raw[:, 2] - 1.0) * 2 * half[:, 0] * size  # px per metre at the pelvis
    z = K[:, 0, 0] / metre
    translation = torch.cat([(place - K[:, :2, 2]) / focal * z[:, None], z[:, None]], 1)
    return Camera(rotation_6d_to_matrix(raw[:, -6:]), translation, K)


def _limbs(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Local vectors (N, 13, 3) and hip angle (N, 2) of a head's output (N, ...).

    The hip line tilts by less than 90 degrees, cos h > 0 **[ours]**: tanh and unit length of the paper reach every angle,
    but +Y of the body frame points to the left hip, so no pose has more.
    """
    vectors, hip, _ = raw.split([NUM_LOCAL * 3, 2, 6], 1)
    hip = torch.tanh(hip) + torch.tensor([1.0, 0.0], device=raw.device)  # a level hip line is the resting value
    return normalize_local_vectors(vectors.view(-1, NUM_LOCAL, 3)), F.normalize(hip, dim=-1, eps=1e-4)


class VectorHead(nn.Module):
    """A residual multilayer perceptron from the image's summary to the pose vector."""

    def __init__(self, inputs: int, hidden: int, outputs: int, blocks: int = 2) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden))
            for _ in range(blocks)
        )
        self.leave = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        return self.leave(x)


def sharpened(log_heat: Tensor, exponent: float) -> Tensor:
    """Heat maps (N, J, h, w), summing to 1 over space, in proportion to those of `log_heat` to a power."""
    if exponent == 1.0:
        return log_heat.exp()
    return (exponent * log_heat.flatten(2)).softmax(-1).view_as(log_heat)


def soft_argmax(heat: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Expected position (N, J, 2) in units of the maps' side and expected depth (N, J) under heat maps.

    Sun et al. 2018, "Integral human pose regression". Cell centres are at (i + 0.5) / side.

    Args:
        heat: (N, J, h, w) non-negative, summing to 1 over space. depth: (N, J, h, w).
    """
    h, w = heat.shape[-2:]
    y = (torch.arange(h, device=heat.device, dtype=heat.dtype) + 0.5) / h
    x = (torch.arange(w, device=heat.device, dtype=heat.dtype) + 0.5) / w
    position = torch.stack([(heat.sum(2) * x).sum(-1), (heat.sum(3) * y).sum(-1)], -1)
    return position, (heat * depth).sum((2, 3))
