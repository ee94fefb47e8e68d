"""The part-guided system: self-supervised human image synthesis and 3D pose (after Kundu et al., CVPR 2020).

`network` is what it predicts and decodes with; what is updated when stands in `updates`, what each loss is made of in
`forward_pass`.

Curriculum **[ours]**, each stage a fraction of the run, for reasons that trials gave:
    pretrain  the pose path learns on rendered puppets at unpaired poses (everything at once from random weights makes
              the pose worse for a long while: the crude decoder drags the encoder off);
    decoder   appearance and decoder learn, the pose path is frozen;
    joint     everything together, with the alternating energies of Algorithm 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from selfsup3d.errors import InputError
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.models.part_guided.forward_pass import IMAGES, ForwardPass
from selfsup3d.models.part_guided.network import PartGuidedNetwork
from selfsup3d.models.part_guided.perceptual import PerceptualDistance
from selfsup3d.models.system import Student, Update
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.skeleton import H36M_17

__all__ = ["PartGuided"]

ALGORITHM_1 = tuple(IMAGES)
"""The losses of the paper's Algorithm 1, one AdaGrad each."""


class PartGuided(PartGuidedNetwork, Student):
    """The network as a trainable system."""

    @property
    def has_known_poses(self) -> bool:
        """Whether anything teaches the pose path directly: puppets, a teacher or labels."""
        return self.settings.pretrain.source != "none" or self.settings.supervision in ("teacher", "2d", "3d")

    _distances: tuple[PerceptualDistance, ...] = ()  # in a tuple, a module is no submodule

    def compare_by(self, distance: PerceptualDistance) -> None:
        """Set `distance`; like a teacher it is no part of the system."""
        self._distances = (distance,)

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> Self:
        for distance in self._distances:  # moves along to the device
            distance._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @property
    def distance(self) -> PerceptualDistance | None:
        """What `weights.perceptual` compares images in; None where it is 0.

        Raises:
            InputError: no weights of it were given.
        """
        if not self.settings.weights.perceptual:
            return None
        if not self._distances:
            raise InputError(
                "system.perceptual_weights: system.weights.perceptual asks for a network trained on photographs; give its "
                f"file (safetensors of timm's {self.settings.perceptual_backbone}), or set the weight to 0"
            )
        return self._distances[0]

    @property
    def requires(self) -> tuple[str, ...]:  # type: ignore[override]
        """Fields of the batch that this variant trains on."""
        fields = ["source", "target", "unpaired", "unpaired_camera", "unpaired_background", "seeds", "K"]
        if self.settings.pretrain.source in ("people", "both"):
            fields += ["rendered", "rendered_parts"]
        if self.settings.weights.pairs and self.settings.trains_decoder:
            fields += ["rendered", "rendered_parts", "rendered_source", "rendered_source_K", "rendered_source_parts"]
        if self.settings.saliency and self.settings.trains_decoder:
            fields += ["target_saliency"]
        if self.settings.supervision == "3d":
            fields += ["joints_3d"]
        if self.settings.supervision == "2d":
            fields += ["joints_2d"]
        if self.settings.bone_lengths == "given":
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

    def stage(self, progress: float) -> Literal["pretrain", "decoder", "joint"]:
        """The stage at a progress in [0, 1]."""
        if self.settings.supervision == "pretrain" or progress < self.settings.stages.pretrain:
            return "pretrain"
        return "decoder" if progress < self.settings.stages.pretrain + self.settings.stages.decoder else "joint"

    def span(self, stage: str) -> tuple[float, float]:
        """Progress at which a stage begins and ends; each stage has an optimizer and a schedule of its own."""
        pretrain, decoder = self.settings.stages.pretrain, self.settings.stages.pretrain + self.settings.stages.decoder
        if self.settings.supervision == "pretrain":
            return (0.0, 1.0)
        return {"pretrain": (0.0, pretrain), "decoder": (pretrain, decoder), "joint": (decoder, 1.0)}[stage]

    def updates(self, step: int, progress: float) -> list[Update]:
        """The updates of a step; odd steps adapt the encoder, even ones the decoder (Algorithm 1)."""
        encoder, everything = ("pose", "appearance"), ("pose", "appearance", "decoder")
        # Puppets train the attention of the appearance, too; labelled poses say nothing of it.
        posed = encoder if self.settings.pretrain.source != "none" else ("pose",)
        stage = self.stage(progress)
        adapted = "encoder" if step % 2 else "decoder"
        if stage == "pretrain":
            return [Update("pretrain", posed, "pretrain", self.span("pretrain"))]
        if self.settings.optimizers == "fused":
            if stage == "decoder":
                return [Update("decoder", ("appearance", "decoder"), "decoder", self.span("decoder"))]
            return [Update(f"joint/{adapted}", everything, "joint", self.span("joint"))]
        # The unpaired pose is given: of the images' losses, only L_I_u's gradient reaches a predicted one.
        decoding = ("appearance", "decoder")
        updates = [Update("L_I_u", decoding if stage == "decoder" else everything, "L_I_u")]
        updates += [Update(name, decoding, name) for name in ("L_I_c", "L_seg")]
        if stage == "joint":
            if self.has_known_poses:
                updates.insert(0, Update("pretrain", posed, "pretrain"))
            if self.settings.adaptation:
                # The attention of the appearance is data to it: of the encoder, L_a's gradient reaches that branch alone.
                groups = {"L_p": encoder, "L_a": ("appearance",)} if adapted == "encoder" else {}
                energies = [
                    Update(f"{name}/{adapted}", groups.get(name, ("decoder",)), name) for name in ("L_p", "L_a")
                ]
                updates = energies + updates
        return updates

    def losses(self, batch: Batch, update: str, progress: float) -> dict[str, Tensor]:
        """Weighted terms of an update (fused: all terms of the stage; per_loss: one loss, unweighted)."""
        name, _, adapted = update.partition("/")
        frozen = self.stage(progress) == "decoder"
        losses = (name,) if name in ALGORITHM_1 else tuple(loss for loss, _ in self._image_losses())
        if name == "joint" and self.settings.adaptation:
            losses = tuple(dict.fromkeys((*losses, "L_p", "L_a")))
        forward = ForwardPass(
            self, cast("PartGuidedNetwork | None", self.teacher), batch, self.beta_at(progress), frozen, adapted, losses,
            self.distance,
        )  # fmt: skip
        w = self.settings.weights
        if name == "pretrain":
            return _means(forward.pose_terms(), "known_pose", w.known_pose)
        if name in ALGORITHM_1:
            return _means(forward.algorithm_1(name), name, 1.0)
        terms: dict[str, Tensor] = {}
        for loss, weight in self._image_losses():
            terms |= _means(forward.algorithm_1(loss), loss, weight)
        if self.settings.textures and self.settings.saliency:
            terms |= _means(forward.observed_terms(), "observed", w.observed)
        if w.pairs:
            terms |= _means(forward.pair_terms(), "pairs", w.pairs)
        if name == "joint":
            if self.has_known_poses:
                terms |= _means(forward.pose_terms(), "known_pose", w.known_pose)
            if self.settings.saliency:
                terms |= _means({"iou": forward.silhouette()}, "silhouette", w.silhouette)
            if self.settings.adaptation:
                terms |= _means(forward.algorithm_1("L_p"), "L_p", w.pose)
                terms |= _means(forward.algorithm_1("L_a"), "L_a", w.appearance)
        return terms

    def _image_losses(self) -> list[tuple[str, float]]:
        """The losses on decoded images and their weights in the fused mode; what weighs nothing is not decoded."""
        w = self.settings.weights
        losses = [("L_I_u", w.image), ("L_I_c", w.consistency), ("L_seg", w.segmentation)]
        return [(name, weight) for name, weight in losses if weight]

    def beta_at(self, progress: float) -> float:
        """β of L_I^u, lowered once **[paper: after 200k steps]**."""
        beta = self.settings.beta
        return beta.start if progress < beta.lower_at else beta.end


def _means(terms: dict[str, Tensor], loss: str, weight: float) -> dict[str, Tensor]:
    """Per-sample terms (B,) to weighted means over samples, named `loss/term`."""
    return {f"{loss}/{name}": weight * value.mean() for name, value in terms.items()}
