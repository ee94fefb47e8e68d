"""The part-guided system: self-supervised human image synthesis and 3D pose (after Kundu et al., CVPR 2020).

An encoder splits an image into appearance, canonical limb vectors and camera; kinematics, camera and part transform
turn the pose into part maps; a decoder paints image and part segmentation from appearance and maps. What is trained
when is written in `turns`, what each loss is made of in `models.forward_pass`.

Curriculum **[ours]**, each stage a fraction of the run, for reasons that trials gave:
    puppet   the pose path learns on painted puppets at unpaired poses (everything at once from random weights makes
             the pose worse for a long while: the crude decoder drags the encoder off);
    decoder  appearance and decoder learn, the pose path is frozen;
    joint    everything together, with the alternating energies of Algorithm 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from selfsup3d.geometry.align import procrustes
from selfsup3d.geometry.camera import default_intrinsics
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.models.part_guided.compositing import lay_over
from selfsup3d.models.part_guided.decoder import Decoded, Decoder
from selfsup3d.models.part_guided.encoder import Encoder, Encoding
from selfsup3d.models.part_guided.forward_pass import PICTURES, ForwardPass
from selfsup3d.models.part_guided.pose import BodyPose, pose_of
from selfsup3d.models.system import Taught, Turn
from selfsup3d.puppet.labels import part_labels
from selfsup3d.puppet.puppet import Puppet, default_puppet
from selfsup3d.puppet.transform import PartGeometry, part_geometry, part_maps
from selfsup3d.structures.batch import Batch, PoseOutput
from selfsup3d.structures.skeleton import H36M_17, NUM_JOINTS
from selfsup3d.viz.parts import colour_labels
from selfsup3d.viz.view3d import skeleton_views

__all__ = ["PartGuided", "Stages", "Variant", "Weights"]

ALGORITHM_1 = tuple(PICTURES)
"""The losses of the paper's Algorithm 1, one AdaGrad each."""


@dataclass(frozen=True)
class Stages:
    """Fractions of the run given to each stage, in this order; they sum to 1."""

    puppet: float = 0.4
    decoder: float = 0.35
    joint: float = 0.25


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms in the fused mode; per_loss has none (AdaGrad is invariant to a loss's scale)."""

    image: float = 1.0
    silhouette: float = 0.2
    consistency: float = 0.5
    segmentation: float = 0.2
    pose: float = 0.5
    appearance: float = 0.2
    puppet: float = 1.0


@dataclass(frozen=True)
class Variant:
    """What of the method is on; every ablation is a value here.

    Attributes:
        supervision: "none"; "puppet" (the warm-up and nothing else); "teacher" (what a trained system reads from the
            real images besides, see `models.reading`: still without labels); "2d" or "3d" (labels of the real images
            besides: the weakly supervised variant and the upper bound).
        puppets: painted puppets teach the pose path; False leaves it to the other losses, or to labels alone.
        kinematics: T_fk and T_c; False predicts camera-frame joints.
        disturbance: what a teacher reads in pictures is learned from disturbed copies of them.
        saliency: use m_sal. adaptation: the energies L_p and L_a. plates: lay decoded people over plates.
        optimizers: "fused" or "per_loss" (Algorithm 1 literally).
        frames: frame field of the kinematics.
        bone_lengths: "fixed" (the prior's mean) or "given" (each person's, a label).
    """

    supervision: Literal["none", "puppet", "teacher", "2d", "3d"] = "none"
    puppets: bool = True
    disturbance: bool = True
    kinematics: bool = True
    saliency: bool = True
    adaptation: bool = True
    plates: bool = True
    optimizers: Literal["fused", "per_loss"] = "fused"
    frames: Literal["parallel_transport", "gram_schmidt"] = "parallel_transport"
    bone_lengths: Literal["fixed", "given"] = "fixed"


class PartGuided(Taught):
    """Encoder, puppet and decoder as one trainable system.

    Args:
        encoder, decoder: the networks.
        puppet: part table; None = the default of 10 parts.
        stages, weights, variant: curriculum, weights of terms, ablations.
        beta: (start, end) of the saliency weight in L_I^u; `beta_switch` is the progress at which it is lowered.
    """

    predict_requires = ("target",)

    bone_lengths: Tensor

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        puppet: Puppet | None = None,
        stages: Stages = Stages(),
        weights: Weights = Weights(),
        variant: Variant = Variant(),
        beta: tuple[float, float] = (1.0, 0.5),
        beta_switch: float = 0.9,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.puppet = puppet or default_puppet()
        self.stages, self.weights, self.variant = stages, weights, variant
        self.beta, self.beta_switch = beta, beta_switch
        self.register_buffer("bone_lengths", torch.zeros(NUM_JOINTS))

    # ---------------------------------------------------------------------------------------------- training

    @property
    def taught(self) -> bool:
        """Whether anything teaches the pose path directly: puppets, a teacher or labels."""
        return self.variant.puppets or self.variant.supervision in ("teacher", "2d", "3d")

    @property
    def paints(self) -> bool:
        """Whether any stage trains the decoder."""
        return self.variant.supervision != "puppet" and self.stages.puppet < 1.0

    @property
    def requires(self) -> tuple[str, ...]:  # type: ignore[override]
        """Fields of the batch that this variant trains on."""
        fields = ["source", "target", "unpaired", "unpaired_camera", "unpaired_plate", "seeds", "K"]
        if self.variant.saliency and self.paints:
            fields += ["target_saliency"]
        if self.variant.supervision == "3d":
            fields += ["joints_3d"]
        if self.variant.supervision == "2d":
            fields += ["joints_2d"]
        if self.variant.bone_lengths == "given":
            fields += ["bone_lengths"]
        return tuple(fields)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Mean bone lengths of the unpaired poses, left and right alike: the skeleton that predictions have."""
        poses = torch.cat([batch.unpaired for batch in itertools.islice(batches, 16) if batch.unpaired is not None])
        lengths = bone_lengths(poses).mean(0)
        self.bone_lengths.copy_((lengths + lengths[list(H36M_17.flip_order)]) / 2)

    def parameter_groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """`pose` and `appearance` are the paper's θ_E, `decoder` its θ_D."""
        return {
            "pose": self.encoder.pose_parameters(),
            "appearance": self.encoder.appearance.parameters(),
            "decoder": self.decoder.parameters(),
        }

    def stage(self, progress: float) -> Literal["puppet", "decoder", "joint"]:
        """The stage at a progress in [0, 1]."""
        if self.variant.supervision == "puppet" or progress < self.stages.puppet:
            return "puppet"
        return "decoder" if progress < self.stages.puppet + self.stages.decoder else "joint"

    def span(self, stage: str) -> tuple[float, float]:
        """Progress at which a stage begins and ends; each stage has an optimizer and a schedule of its own."""
        puppet, decoder = self.stages.puppet, self.stages.puppet + self.stages.decoder
        if self.variant.supervision == "puppet":
            return (0.0, 1.0)
        return {"puppet": (0.0, puppet), "decoder": (puppet, decoder), "joint": (decoder, 1.0)}[stage]

    def turns(self, step: int, progress: float) -> list[Turn]:
        """The turns of a step; odd steps adapt the encoder, even ones the decoder (Algorithm 1)."""
        encoder, everything = ("pose", "appearance"), ("pose", "appearance", "decoder")
        # Puppets teach where the appearance looks, too; labelled poses say nothing of it.
        taught = encoder if self.variant.puppets else ("pose",)
        stage = self.stage(progress)
        adapted = "encoder" if step % 2 else "decoder"
        if stage == "puppet":
            return [Turn("puppet", taught, "puppet", self.span("puppet"))]
        if self.variant.optimizers == "fused":
            if stage == "decoder":
                return [Turn("decoder", ("appearance", "decoder"), "decoder", self.span("decoder"))]
            return [Turn(f"joint/{adapted}", everything, "joint", self.span("joint"))]
        # The unpaired pose is given: of the pictures' losses, only L_I_u's gradient reaches a predicted one.
        painting = ("appearance", "decoder")
        turns = [Turn("L_I_u", painting if stage == "decoder" else everything, "L_I_u")]
        turns += [Turn(name, painting, name) for name in ("L_I_c", "L_seg")]
        if stage == "joint":
            if self.taught:
                turns.insert(0, Turn("puppet", taught, "puppet"))
            if self.variant.adaptation:
                # Where the appearance looks is data to it: of the encoder, L_a's gradient reaches that branch alone.
                groups = {"L_p": encoder, "L_a": ("appearance",)} if adapted == "encoder" else {}
                energies = [Turn(f"{name}/{adapted}", groups.get(name, ("decoder",)), name) for name in ("L_p", "L_a")]
                turns = energies + turns
        return turns

    def losses(self, batch: Batch, turn: str, progress: float) -> dict[str, Tensor]:
        """Weighted terms of a turn (fused: all terms of the stage; per_loss: one loss, unweighted)."""
        name, _, adapted = turn.partition("/")
        frozen = self.stage(progress) == "decoder"
        losses = (name,) if name in ALGORITHM_1 else ALGORITHM_1
        forward = ForwardPass(self, batch, self.beta_at(progress), frozen, adapted, losses)
        w = self.weights
        if name == "puppet":
            return _means(forward.pose_terms(), "puppet", w.puppet)
        if name in ALGORITHM_1:
            return _means(forward.algorithm_1(name), name, 1.0)
        terms = _means(forward.algorithm_1("L_I_u"), "L_I_u", w.image)
        terms |= _means(forward.algorithm_1("L_I_c"), "L_I_c", w.consistency)
        terms |= _means(forward.algorithm_1("L_seg"), "L_seg", w.segmentation)
        if name == "joint":
            if self.taught:
                terms |= _means(forward.pose_terms(), "puppet", w.puppet)
            if self.variant.saliency:
                terms |= _means({"iou": forward.silhouette()}, "silhouette", w.silhouette)
            if self.variant.adaptation:
                terms |= _means(forward.algorithm_1("L_p"), "L_p", w.pose)
                terms |= _means(forward.algorithm_1("L_a"), "L_a", w.appearance)
        return terms

    def beta_at(self, progress: float) -> float:
        """β of L_I^u, lowered once **[paper: after 200k steps]**."""
        return self.beta[0] if progress < self.beta_switch else self.beta[1]

    # ------------------------------------------------------------------------------------------ pose and picture

    def pose(self, encoding: Encoding, lengths: Tensor | None = None) -> BodyPose:
        """The pose of an encoding, with the given bone lengths (B, 17) or the system's own."""
        return pose_of(encoding, self.bone_lengths if lengths is None else lengths, self.variant.frames)

    def geometry(self, joints: Tensor, K: Tensor) -> PartGeometry:
        """Parts of camera-frame joints (N, 17, 3) under K (N, 3, 3)."""
        return part_geometry(joints.float(), K.float(), self.puppet)

    def maps(self, joints: Tensor, K: Tensor, size: tuple[int, int]) -> tuple[Tensor, PartGeometry]:
        """Part maps (N, P, H, W) of camera-frame joints: T_s, and the geometry they come from."""
        geometry = self.geometry(joints, K)
        return part_maps(geometry, size, self.puppet), geometry

    def synthesize(self, appearance: Tensor, joints: Tensor, K: Tensor, size: tuple[int, int]) -> Decoded:
        """Paint people of an appearance (N, S, C) in camera-frame joints (N, 17, 3) seen by K."""
        return self.decoder(appearance, self.maps(joints, K, size)[0])

    def encode(self, images: Tensor, K: Tensor) -> Encoding:
        """Encode images (N, 3, H, W)."""
        return self.encoder(images, K)

    # ------------------------------------------------------------------------------------------ evaluation

    @torch.no_grad()
    def predict(self, batch: Batch, samples: int = 1) -> PoseOutput:
        """Pose, camera, reconstruction and part segmentation of `batch.target`; deterministic, so one hypothesis."""
        target = batch.need("target", by="PartGuided.predict")
        K = intrinsics_of(batch)
        encoding = self.encode(target, K)
        body = self.pose(encoding, batch.bone_lengths if self.variant.bone_lengths == "given" else None)
        size = (target.shape[-2], target.shape[-1])
        if not self.paints:  # the puppet itself is the segmentation
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
            canonical=body.canonical[:, None] if self.variant.kinematics else None,
            joints_2d=body.pixels[:, None],
            latent=encoding.appearance.flatten(1),
            image=image,
            segmentation=parts,
        )

    @torch.no_grad()
    def paint(self, batch: Batch, joints: Tensor, K: Tensor, plate: Tensor | None) -> Tensor:
        """The person of `batch.source` in camera-frame joints (B, 17, 3), over a plate or the constant background."""
        source = batch.need("source", by="PartGuided.paint")
        size = (source.shape[-2], source.shape[-1])
        maps, _ = self.maps(joints, K, size)
        image = self.decoder(self.encode(source, intrinsics_of(batch)).appearance, maps).image
        return image if plate is None else lay_over(image, maps, self.decoder.background, plate)

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """`target` from the source's appearance and the target's predicted pose, over the target's plate if known."""
        target, K = batch.need("target", by="PartGuided.reconstruct"), intrinsics_of(batch)
        return self.paint(batch, self.pose(self.encode(target, K)).joints, K, batch.target_plate)

    @torch.no_grad()
    def transfer(self, batch: Batch) -> Tensor:
        """The person of `source` in `transfer_joints_3d` (the driving pose is given)."""
        joints = batch.need("transfer_joints_3d", by="PartGuided.transfer")
        return self.paint(batch, joints, intrinsics_of(batch), batch.target_plate)

    @torch.no_grad()
    def novel_view(self, batch: Batch) -> Tensor:
        """`target`'s person from `second_view_camera`, with the pose predicted from `target` turned between views."""
        names = ("target", "joints_3d", "second_view_joints_3d")
        target, first, second = (batch.need(name, by="PartGuided.novel_view") for name in names)
        assert batch.second_view_camera is not None
        predicted = self.pose(self.encode(target, intrinsics_of(batch)))
        turn = procrustes(first - first[:, :1], second - second[:, :1], scale=False).rotation
        joints = predicted.posed @ turn.transpose(-1, -2) + second[:, :1]
        return self.paint(replace(batch, source=target), joints, batch.second_view_camera.K, None)

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
        plate = colour.view(1, 3, 1, 1) if batch.target_plate is None else batch.target_plate
        views = skeleton_views(body.posed.cpu(), size[0]).to(target.device)
        return {
            "source": source,
            "target": target,
            "reconstruction": decoded.image,
            "over the plate": lay_over(decoded.image, maps, colour, plate),
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


def _means(terms: dict[str, Tensor], loss: str, weight: float) -> dict[str, Tensor]:
    """Per-sample terms (B,) to weighted means over samples, named `loss/term`."""
    return {f"{loss}/{name}": weight * value.mean() for name, value in terms.items()}
