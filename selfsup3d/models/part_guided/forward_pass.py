"""One forward pass of the part-guided system: every quantity is computed when a loss first asks for it, and once.

A fused step asks for all losses and shares every tensor; an update of the literal Algorithm 1 asks for one loss and pays
only for what that loss needs: its images alone are decoded, and no graph is kept where no gradient flows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.func import functional_call

from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import project
from selfsup3d.geometry.kinematics import bone_lengths, forward_kinematics
from selfsup3d.models.part_guided import losses as objectives
from selfsup3d.models.part_guided.augmentation import recoloured, strongly_augmented
from selfsup3d.models.part_guided.decoder import Decoded
from selfsup3d.models.part_guided.encoder import Encoding
from selfsup3d.models.part_guided.layers import COLOUR
from selfsup3d.models.part_guided.left_right import assign_limbs, assignment_of
from selfsup3d.models.part_guided.localizer import crop_around, crop_images, into_crop
from selfsup3d.models.part_guided.network import Appearance, PartGuidedNetwork
from selfsup3d.models.part_guided.observed_parts import known_parts, observed_parts
from selfsup3d.models.part_guided.pose import BodyPose, pose_of_joints
from selfsup3d.models.part_guided.projected_places import other_views, reported
from selfsup3d.models.part_guided.pseudo_labels import flip_averaged_joints
from selfsup3d.models.part_guided.puppet_images import known_places, rendered_puppets
from selfsup3d.puppet.labels import Labels, part_labels, soft_silhouette
from selfsup3d.puppet.textures import Drawn, joined, visible_parts
from selfsup3d.puppet.transform import PartGeometry
from selfsup3d.structures.batch import Batch

__all__ = ["IMAGES", "ForwardPass"]

IMAGES = {"L_p": ("sz",), "L_a": ("sz",), "L_I_u": ("st",), "L_I_c": ("sz", "tz"), "L_seg": ("sz",)}
"""The losses of Algorithm 1 and the decoded images that each looks at: "sz" is Î_{a_s}^{p_z}."""


class ForwardPass:
    """Quantities of one forward pass over a batch; s and t are two frames of a person, z an unpaired pose.

    Args:
        network: being trained.
        teacher: whose pseudo-labels the network learns from, if any.
        batch: with the fields that the system requires.
        beta: weight of the saliency in L_I^u.
        freeze_pose: the pose path keeps no graph (the decoder stage).
        adapted: who the energies L_p and L_a are for, in the fused mode, which has one backward for all losses.
            "encoder": the decoded image is data, so its graph is cut. "decoder": the encoder reads it with detached
            parameters, so gradients pass through it and leave it as it is. The literal Algorithm 1 cuts nothing: its
            updates update the parameters of one side alone.
        losses: those of Algorithm 1 that will be asked for; their images are decoded in one pass.
        compare: perceptual distance (B,) of two images within a mask, if the settings ask for any.
    """

    def __init__(
        self,
        network: PartGuidedNetwork,
        teacher: PartGuidedNetwork | None,
        batch: Batch,
        beta: float,
        freeze_pose: bool,
        adapted: str,
        losses: Collection[str] = tuple(IMAGES),
        compare: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.network, self.teacher, self.batch = network, teacher, batch
        self.beta, self.losses, self.compare = beta, losses, compare
        self.freeze_pose, self.adapted = freeze_pose, adapted
        self.source, self.target = self.need("source"), self.need("target")
        self.K = self.need("K").float()
        self.size = (self.target.shape[-2], self.target.shape[-1])

    def need(self, name: str) -> Tensor:
        """A field of the batch that cannot be done without."""
        return self.batch.need(name, by="PartGuided")

    # ------------------------------------------------------------------------------------------ the two frames

    @cached_property
    def encoding_s(self) -> Encoding:
        """Encoding of the source. No loss looks at its pose, so that part keeps no graph."""
        return self.network.encoder(self.source, self.K, freeze_pose=True)

    @cached_property
    def appearance_s(self) -> Appearance:
        """Appearance of the source."""
        return self.network.appearance(self.in_other_colours(self.source), self.encoding_s)

    @cached_property
    def appearance_t(self) -> Appearance:
        """Appearance of the target."""
        return self.network.appearance(self.in_other_colours(self.target), self.encoding_t, self.pose_t)

    def in_other_colours(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) as the decoder learns them: all of a sample in its own or in the same other colours."""
        share = self.network.settings.recoloured
        return recoloured(images, self.need("seeds"), share) if share else images

    @cached_property
    def encoding_t(self) -> Encoding:
        """Encoding of the target; the student learns the teacher's pseudo-labels from a strongly augmented copy."""
        given, settings = self.given, self.network.settings
        if given and settings.supervision == "teacher" and settings.strong_augmentation:
            given |= {"pose_images": strongly_augmented(self.target, self.need("seeds"))}
        return self.network.encoder(self.target, self.K, self.freeze_pose, **given)

    @cached_property
    def given(self) -> dict[str, Tensor]:
        """Crop and left/right assignment of the target, from labels or pseudo-labels; nothing in the unsupervised variants."""
        kind = self.network.settings.supervision
        if kind not in ("teacher", "2d", "3d") or self.freeze_pose:
            return {}
        confidence = self.batch.confidence if kind == "2d" else None
        joints = self.need("joints_2d") if kind == "2d" else project(self.known_joints, self.K)
        seen = None if confidence is None else confidence > 0
        return known_places(joints / float(self.size[1]), self.need("seeds"), seen)

    @cached_property
    def known_joints(self) -> Tensor:
        """Camera-frame joints (B, 17, 3) of the target: its labels, or pseudo-labels, stored or the teacher's.

        Raises:
            InputError: there is no teacher.
        """
        if self.network.settings.supervision == "3d":
            return self.need("joints_3d")
        if self.batch.pseudo_joints_3d is not None:
            return self.batch.pseudo_joints_3d
        if self.teacher is None:
            raise InputError(
                "system.teacher: no trained system; train one without supervision first, then give its folder with "
                "--system.teacher runs/FIRST (and begin with its weights: --weights runs/FIRST)"
            )
        return flip_averaged_joints(self.teacher, self.target, self.K)

    @property
    def lengths(self) -> Tensor | None:
        """Each person's bone lengths, in the variant that is given them."""
        return self.batch.bone_lengths if self.network.settings.bone_lengths == "given" else None

    @cached_property
    def pose_t(self) -> BodyPose:
        """Predicted pose of the target."""
        return self.network.pose(self.encoding_t, self.lengths)

    @cached_property
    def drawn_t(self) -> tuple[Tensor, PartGeometry]:
        """Part maps of the target's predicted pose, and the geometry that they come from."""
        return self.network.maps(self.pose_t.joints, self.K, self.size)

    @cached_property
    def maps_t(self) -> tuple[Tensor, Labels]:
        """Part maps and labels of the target's predicted pose."""
        maps, geometry = self.drawn_t
        return maps, part_labels(maps, geometry, self.size, self.network.puppet)

    # ------------------------------------------------------------------------------------------ the unpaired pose

    @cached_property
    def pose_z(self) -> BodyPose:
        """The unpaired pose under its camera."""
        camera = self.batch.unpaired_camera
        assert camera is not None
        return BodyPose(self.need("unpaired"), camera)

    @cached_property
    def drawn_z(self) -> tuple[Tensor, PartGeometry]:
        """The same of the unpaired pose."""
        return self.network.maps(self.pose_z.joints, self.pose_z.camera.K, self.size)

    @cached_property
    def maps_z(self) -> tuple[Tensor, Labels]:
        """Part maps and labels of the unpaired pose."""
        maps, geometry = self.drawn_z
        return maps, part_labels(maps, geometry, self.size, self.network.puppet)

    @cached_property
    def decoded(self) -> dict[str, Decoded]:
        """The images that `losses` need, by name (see `IMAGES`), in one pass of the decoder."""
        names = sorted({name for loss in self.losses for name in IMAGES[loss]})
        appearances = [self.appearance_s if name[0] == "s" else self.appearance_t for name in names]
        decoded = self.decode(appearances, [name[1] for name in names])
        return dict(zip(names, decoded, strict=True))

    def decode(self, appearances: Sequence[Appearance], poses: Sequence[str]) -> list[Decoded]:
        """People of each appearance in the target's pose "t" or the unpaired one "z", in one pass of the decoder."""
        vectors = torch.cat([appearance.vectors for appearance in appearances])
        maps = torch.cat([(self.drawn_t if pose == "t" else self.drawn_z)[0] for pose in poses])
        drawn = [self.draw(appearance, pose) for appearance, pose in zip(appearances, poses, strict=True)]
        return self.network.decoder(vectors, maps, joined(drawn)).chunk(len(poses))

    def draw(self, appearance: Appearance, pose: str) -> Drawn | None:
        """An appearance's textures in the target's pose "t" or the unpaired one "z"."""
        body, (maps, geometry) = (self.pose_t, self.drawn_t) if pose == "t" else (self.pose_z, self.drawn_z)
        return self.network.draw(appearance, body.joints, geometry, maps)

    @cached_property
    def encoding_z(self) -> Encoding:
        """E(Î_{a_s}^{p_z}): the decoded person is composited over a background first, since the encoder must see whole images."""
        decoded = self.decoded["sz"]
        if self.network.settings.optimizers == "fused" and self.adapted == "decoder":
            # One backward serves all losses, and L_I^c and L_seg train the appearance through the image above: the
            # energies must not (Algorithm 1 leaves θ_E as it is), so theirs is decoded from a detached one.
            decoded = self.decode([self.appearance_s.detach()], ["z"])[0]
        image = decoded.over(self.need("unpaired_background")) if self.network.settings.composite else decoded.image
        K = self.pose_z.camera.K
        if self.network.settings.optimizers == "per_loss":
            # The appearance reads from the pose path where to look, but sends no gradient back through it.
            return self.network.encoder(image, K, freeze_pose="L_p" not in self.losses)
        if self.adapted == "encoder":
            return self.network.encoder(image.detach(), K)
        return self.encoded_by_frozen(image, K)

    def encoded_by_frozen(self, image: Tensor, K: Tensor, with_appearance: bool = True) -> Encoding:
        """E of decoded images (B, 3, H, W), whose gradients pass through it and leave it as it is."""
        frozen = {name: value.detach() for name, value in self.network.encoder.named_parameters()}
        return functional_call(self.network.encoder, frozen, (image, K), {"with_appearance": with_appearance})

    # ------------------------------------------------------------------------------------------ losses, per sample

    def algorithm_1(self, loss: str) -> dict[str, Tensor]:
        """Terms (B,) of one loss of Algorithm 1 by its name."""
        network, batch = self.network, self.batch
        colour = network.decoder.background
        if loss == "L_I_u":
            saliency = batch.target_saliency if network.settings.saliency else None
            decoded = self.decoded["st"]
            if saliency is not None and decoded.person is not None and decoded.cover is not None:
                behind = batch.target_background
                over = None if behind is None else decoded.over(self.in_other_colours(behind))
                return self.layers(decoded, self.in_other_colours(self.target), saliency, over)
            foreground = self.maps_t[1].foreground
            if network.settings.foreground == "decoded":
                logits = decoded.segmentation.detach().float()
                foreground = 1.0 - logits.softmax(1)[:, -1:]
            return objectives.reconstruction(decoded.image, self.target, saliency, foreground, colour, self.beta)
        labels_z = self.maps_z[1]
        if loss == "L_I_c":
            return objectives.consistency(
                self.decoded["sz"].image, self.decoded["tz"].image, labels_z.foreground, colour
            )
        if loss == "L_seg":
            return {
                "parts": objectives.segmentation(self.decoded["sz"].segmentation, labels_z.parts, labels_z.uncertain)
            }
        if loss == "L_p":
            # The paper's L_p compares poses; crop, heat maps and assignment are ours, and stay out of its literal form.
            return self.pose_distance(self.encoding_z, self.pose_z, places=network.settings.optimizers == "fused")
        if loss == "L_a":
            energy = objectives.appearance_energy(self.encoding_z.appearance, self.encoding_s.appearance)
            return {"appearance": energy}
        raise KeyError(f"no loss {loss!r} in Algorithm 1")

    def layers(self, decoded: Decoded, target: Tensor, mask: Tensor, over: Tensor | None = None) -> dict[str, Tensor]:
        """Terms (B,) of a decoded person's colour and cover against an image and where the person is in it."""
        assert decoded.person is not None
        assert decoded.cover is not None
        terms = objectives.layers(decoded.person, decoded.cover, target, mask, over)
        if self.compare is not None:
            weight = self.network.settings.weights.perceptual
            terms["perceptual"] = weight * self.compare(decoded.person, target, mask)
        if weight := self.network.settings.weights.structure:
            terms["structure"] = weight * objectives.structure(decoded.person, target, mask)
        return terms

    def silhouette(self) -> Tensor:
        """Disagreement (B,) of the predicted pose's silhouette and the saliency."""
        return objectives.silhouette(soft_silhouette(self.maps_t[0]), self.need("target_saliency"))

    def pose_terms(self) -> dict[str, Tensor]:
        """What teaches the pose path directly (B,): rendered puppets, and pseudo-labels of the real images or, in the
        supervised variants, their labels.
        """
        settings = self.network.settings
        terms = self.synthetic_terms() if settings.pretrain.source != "none" else {}
        if settings.supervision in ("teacher", "3d"):
            known = self.pose_distance(self.encoding_t, pose_of_joints(self.known_joints, self.K))
            prefix = "labelled" if settings.supervision == "3d" else "pseudo_labels"
            weight = self.batch.pseudo_weight if settings.supervision == "teacher" else None
            terms |= {f"{prefix}_{name}": v if weight is None else weight * v for name, v in known.items()}
        if settings.supervision == "2d":
            side, labels = float(self.size[1]), self.need("joints_2d")
            for name, pixels in (
                ("labelled_2d", self.pose_t.pixels),
                ("labelled_keypoints", self.encoding_t.keypoints),
            ):
                terms[name] = objectives.joint_distance(pixels / side, labels / side, self.batch.confidence)
            terms |= {f"labelled_{name}": value for name, value in self.place_of_labels(labels / side).items()}
        return terms

    def place_of_labels(self, labels: Tensor) -> dict[str, Tensor]:
        """What 2D labels (B, 17, 2), in units of the image side, tell of crop, heat maps and left/right assignment (B,).

        As `place_distance`, but for depths, of joints that are labelled; a sample with fewer than two counts for nothing.
        """
        confidence, encoding = self.batch.confidence, self.encoding_t
        seen = torch.isfinite(labels).all(-1) if confidence is None else confidence > 0
        place = torch.where(seen[..., None], labels, torch.zeros_like(labels))
        assignment, apart = assignment_of(place, seen)
        crop = crop_around(place, seen)
        in_crop = into_crop(assign_limbs(place, assignment), encoding.crop)
        known = assign_limbs(seen, assignment)[..., None]
        in_crop = torch.where(known, in_crop, torch.full_like(in_crop, -1.0))  # outside the maps, where nothing counts
        terms = {
            "heat": 0.3 * objectives.heatmap_likelihood(encoding.log_heat, in_crop),
            "crop": 0.2 * objectives.crop_distance(encoding.located, crop),
            "left_right": 0.3
            * objectives.assignment_likelihood(encoding.assignment_logits, assignment, apart / crop[:, 2:]),
        }
        enough = seen.sum(1) >= 2
        return {name: torch.where(enough, value, torch.zeros_like(value)) for name, value in terms.items()}

    def synthetic_image(self) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) of the unpaired poses and their part labels (B, H, W): puppets, rendered people, or both."""
        source = self.network.settings.pretrain.source
        if source == "people":
            return self.need("rendered"), self.need("rendered_parts")
        puppets = rendered_puppets(self.network.puppet, self.pose_z, self.batch, self.size)
        if source == "puppet":
            return puppets
        even = self.need("seeds") % 2 == 0
        people = torch.where(even[:, None, None, None], self.need("rendered"), puppets[0])
        return people, torch.where(even[:, None, None], self.need("rendered_parts"), puppets[1])

    def synthetic_terms(self) -> dict[str, Tensor]:
        """Synthetic pre-training's: people are rendered at the unpaired poses, so theirs are known."""
        source = self.network.settings.pretrain.source
        image, labels = self.synthetic_image()
        given = known_places(self.pose_z.pixels / float(self.size[1]), self.need("seeds"))
        # The appearance is of use to a decoder alone.
        decoding = self.network.settings.trains_decoder or source == "puppet"
        encoding = self.network.encoder(image, self.pose_z.camera.K, with_appearance=decoding, **given)
        terms = self.pose_distance(encoding, self.pose_z)
        # Of a part's share in a cell, four samples tell enough; puppets keep all of them, as their results were made.
        side = self.size[1] if source == "puppet" else 2 * encoding.part_logits.shape[-1]
        seen = self.in_crop(labels, encoding.crop, side)
        terms["parts"] = self.network.settings.pretrain.parts * objectives.coarse_parts(encoding.part_logits, seen)
        if self.network.settings.pretrain.projected:
            terms |= self.projected_terms(self.network.settings.pretrain.projected)
        if decoding:
            terms["colours"] = objectives.part_colours(encoding.appearance[..., :COLOUR], image, labels)
        return terms

    def observed_terms(self) -> dict[str, Tensor]:
        """Terms (B,) of the target's own parts: the segmentation learns what the saliency adds to it."""
        maps, geometry = self.drawn_t
        saliency, encoding = self.need("target_saliency"), self.encoding_t
        given = observed_parts(visible_parts(geometry, maps).detach(), encoding.part_logits, encoding.crop)
        assert self.network.decoder.segmenter is not None
        logits = self.network.decoder.segmenter(self.in_other_colours(self.target), given)
        return objectives.found_parts(logits, known_parts(given, saliency).argmax(1), saliency)

    def pair_terms(self) -> dict[str, Tensor]:
        """Terms (B,) of two renderings of one person: the first, decoded in the pose of the second, is the second, and
        the encoder finds its pose there; the parts found in the first, as in the frames of videos (`observed_terms`), are its own.
        """
        source, image, labels = (self.need(name) for name in ("rendered_source", "rendered", "rendered_parts"))
        encoding = self.network.encoder(source, self.need("rendered_source_K").float(), freeze_pose=True)
        source, image = self.in_other_colours(source), self.in_other_colours(image)
        decoded = self.decode([self.network.appearance(source, encoding)], ["z"])[0]
        background = len(self.network.puppet)
        mask = (labels != background)[:, None].to(image.dtype)
        terms = self.layers(decoded, image, mask)
        certain = torch.zeros_like(mask)
        terms["parts"] = 0.2 * objectives.segmentation(decoded.segmentation, labels, certain)
        settings = self.network.settings
        if settings.adaptation and settings.weights.pose:
            whole = decoded.over(self.need("unpaired_background"))
            again = self.encoded_by_frozen(whole, self.pose_z.camera.K, with_appearance=False)
            found = self.pose_distance(again, self.pose_z)
            terms |= {f"pose_{name}": settings.weights.pose * value for name, value in found.items()}
        body, own = self.network.pose(encoding), self.need("rendered_source_parts")
        maps, geometry = self.network.maps(body.joints, body.camera.K, self.size)
        logits = self.network.observed(source, encoding, geometry, maps)
        observed = objectives.found_parts(logits, own, (own != background)[:, None].to(image.dtype))
        return terms | {f"observed_{name}": settings.weights.observed * value for name, value in observed.items()}

    def projected_terms(self, views: int) -> dict[str, Tensor]:
        """Terms (B,) of the pose head alone: the unpaired poses from other sides, as a detector would report them."""
        seeds, side = self.need("seeds"), float(self.size[1])
        truth = other_views(self.pose_z, seeds, views)
        with torch.no_grad():
            places = reported(truth, side, seeds, views)
        vectors, hip, camera = self.network.encoder.pose_of_places(**vars(places), K=truth.camera.K, size=side)
        lengths, frames = bone_lengths(truth.canonical), self.network.settings.frames
        body = BodyPose(forward_kinematics(vectors, hip, lengths, frames=frames), camera)
        terms = objectives.pose_energy(
            truth.canonical, body.canonical, truth.posed, body.posed, truth.pixels / side, body.pixels / side
        )
        return {f"projected_{name}": value.view(-1, views).mean(1) for name, value in terms.items()}

    @staticmethod
    def in_crop(labels: Tensor, crop: Tensor, side: int) -> Tensor:
        """Labels (B, H, W) of the image, cropped, `side` px wide."""
        return crop_images(labels[:, None].float(), crop, mode="nearest", side=side)[:, 0].long()

    def pose_distance(self, encoding: Encoding, truth: BodyPose, places: bool = True) -> dict[str, Tensor]:
        """Terms (B,) between an encoding and a known pose; bone lengths are the known pose's, so directions are compared.

        Args:
            places: the terms of `place_distance` besides.
        """
        side = float(self.size[1])
        body = self.network.pose(encoding, bone_lengths(truth.canonical))
        terms = objectives.pose_energy(
            truth.canonical, body.canonical, truth.posed, body.posed, truth.pixels / side, body.pixels / side
        )
        if not self.network.settings.kinematics:
            del terms["canonical"]  # the ablation has no canonical pose: p is the camera-frame joints
        return terms | self.place_distance(encoding, truth) if places else terms

    def place_distance(self, encoding: Encoding, truth: BodyPose) -> dict[str, Tensor]:
        """Terms (B,) of where things are in the image: crop, limbs as the image shows them, and their left/right assignment."""
        place = truth.pixels / float(self.size[1])
        assignment, apart = assignment_of(place)
        crop = crop_around(place)
        place, depths = assign_limbs(place, assignment), assign_limbs(truth.posed[..., 2], assignment)
        keypoints = assign_limbs(encoding.keypoints / float(self.size[1]), encoding.assignment)
        likelihood = objectives.heatmap_likelihood(encoding.log_heat, into_crop(place, encoding.crop))
        weights = self.network.settings.pretrain
        return {
            "keypoints": 2.0 * objectives.joint_distance(keypoints, place),
            "heat": 0.3 * likelihood,
            "depths": weights.depths
            * (assign_limbs(encoding.keypoint_depths, encoding.assignment) - depths).abs().mean(-1),
            "crop": 0.2 * objectives.crop_distance(encoding.located, crop),
            "left_right": weights.left_right
            * objectives.assignment_likelihood(encoding.assignment_logits, assignment, apart / crop[:, 2:]),
        }
