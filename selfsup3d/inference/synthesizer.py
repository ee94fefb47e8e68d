"""People, poses and cameras, taken apart and put together anew.

    synthesizer = Synthesizer.from_pretrained("runs/v1")
    person = synthesizer.encode(image)                          # once
    views = synthesizer.novel_view(person, sweep(-90, 90, 7))   # (7, 3, S, S)
    frames = synthesizer.transfer(person, "walk.bvh")           # the motion's poses, streamed

Several images of a person show more of them than one: `Person.merged` makes one person of N. Models whose decoder
corrects part textures draw them finer than they decode: `scale` times the system's size.

Images are (H, W, 3) uint8 RGB arrays of any size, or (N, 3, S, S) float tensors in [0, 1] of the system's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor

from selfsup3d.builders.systems import evaluated, load_system
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import default_intrinsics, orbit_rotation
from selfsup3d.geometry.kinematics import forward_kinematics, inverse_kinematics
from selfsup3d.geometry.rotation import axis_angle_to_matrix, matrix_to_axis_angle, rotation_about
from selfsup3d.inference.motion import Motion, load_motion, seen_motion, with_bones
from selfsup3d.inference.predictor import Predictor
from selfsup3d.inference.windows import cut, whole_frame
from selfsup3d.io.images import is_image
from selfsup3d.io.video import is_video
from selfsup3d.models.part_guided.network import Appearance
from selfsup3d.models.part_guided.pose import BodyPose
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.puppet.textures import PartTextures
from selfsup3d.structures.batch import Batch, Camera, PoseOutput, TensorFields
from selfsup3d.structures.skeleton import joint_index

__all__ = ["Orbit", "Person", "Images", "Synthesizer", "sweep"]

Images = np.ndarray | Tensor

_STEEPEST = math.radians(45.0)  # a camera that is taken to look at people more steeply sees them bent over


@dataclass(frozen=True)
class Person(TensorFields):
    """What N images were taken apart into.

    Attributes:
        appearance: (N, S, C).
        body: pose and camera of each.
        textures: of the parts, where the system draws any.
    """

    appearance: Tensor
    body: BodyPose
    textures: PartTextures | None = None

    def __len__(self) -> int:
        return len(self.appearance)

    def merged(self) -> Person:
        """One person: what N images of theirs show, with the first one's pose."""
        textures = None if self.textures is None else self.textures.merged()
        return Person(self.appearance.mean(0, keepdim=True), self.body[:1], textures)


@dataclass(frozen=True)
class Orbit:
    """A camera that looks at the person.

    Attributes:
        azimuth, elevation: degrees; the viewer walks to the right, and up.
        distance: times the distance in the image.
        origin: what 0, 0 is: "image" = the view that the image was taken from; "body" = in front of the person,
            level with them.
    """

    azimuth: float = 0.0
    elevation: float = 0.0
    distance: float = 1.0
    origin: Literal["image", "body"] = "image"

    def __post_init__(self) -> None:
        finite = all(math.isfinite(v) for v in (self.azimuth, self.elevation, self.distance))
        if not finite or self.distance <= 0:
            raise InputError(f"camera {self}: angles must be finite and the distance more than 0")


def sweep(first: float, last: float, count: int, elevation: float = 0.0, distance: float = 1.0) -> list[Orbit]:
    """`count` cameras at azimuths from `first` to `last` degrees, both ends among them."""
    return [Orbit(float(a), elevation, distance) for a in np.linspace(first, last, count)]


class Synthesizer:
    """A trained part-guided system, ready to paint: encodes once, decodes in batches, keeps no graph.

    Args:
        system: in evaluation mode, on its device, with a trained decoder or part textures (`with_textures`).
        size: side of its images, px.
        batch_size: images at a time.
        scale: images are decoded `scale` times as large as the system's; what is finer is drawn from the textures.

    Raises:
        InputError: its decoder was never trained, and it draws no textures.
    """

    def __init__(self, system: PartGuided, size: int, batch_size: int = 32, scale: int = 1) -> None:
        if not (system.decoder_is_trained or system.settings.textures):
            raise InputError(
                "the decoder of this model was never trained: it predicts poses, and no images; "
                "with textures it draws the parts of its source as they are"
            )
        self.system, self.size, self.batch_size, self.scale = system, size, batch_size, scale

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        device: torch.device | str = "cpu",
        batch_size: int = 32,
        side: int | None = None,
        textures: bool = False,
    ) -> Self:
        """Of a run, a released model or a checkpoint.

        Args:
            side: least side of the decoded images, px; None = the system's own.
            textures: draw the source's parts, uncorrected, in place of a decoder that has no textures.

        Raises:
            InputError: see `training.build.load_system`; or no part-guided system.
        """
        system, config = load_system(path, device)
        if not isinstance(system, PartGuided):
            raise InputError(f"{path}: a {config.system.kind} cannot paint people; a part_guided system can")
        if textures:
            system = system.with_textures()
        size = int(getattr(evaluated(config), "size", 64))
        return cls(system, size, batch_size, 1 if side is None else -(-side // size))

    @property
    def side(self) -> int:
        """Of the decoded images, px."""
        return self.size * self.scale

    @property
    def device(self) -> torch.device:
        """Of the system."""
        return self.system.bone_lengths.device

    # --------------------------------------------------------------------------------------------------- taking apart

    def images(self, images: Images) -> Tensor:
        """(N, 3, side, side) on the device: arrays are cut to the square that holds the whole of them.

        Raises:
            InputError: another shape or kind.
        """
        if isinstance(images, Tensor):
            batch = images[None] if images.dim() == 3 else images
            sizes = [(3, side, side) for side in dict.fromkeys((self.size, self.side))]
            if batch.dim() != 4 or batch.shape[1:] not in sizes or not batch.is_floating_point():
                expected = " or ".join(f"(N, 3, {side}, {side})" for _, side, _ in sizes)
                raise InputError(f"expected a float tensor {expected}, got {tuple(images.shape)}")
            return resized(batch.to(self.device), self.side)
        array = np.asarray(images)
        array = array[None] if array.ndim == 3 else array
        if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or 0 in array.shape:
            raise InputError(f"expected (H, W, 3) or (N, H, W, 3) uint8, got {np.shape(images)} {array.dtype}")
        crops = np.stack([cut(image, whole_frame(image), self.side) for image in array])
        return torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float() / 255.0

    def intrinsics(self, count: int) -> Tensor:
        """(count, 3, 3) the usual pinhole of images about whose camera nothing is known."""
        return default_intrinsics(self.size).to(self.device).expand(count, 3, 3)

    @torch.inference_mode()
    def encode(self, images: Images, K: Tensor | None = None) -> Person:
        """Appearance, pose and camera of images.

        Args:
            images: see the module's docstring. K: (N, 3, 3) px of the S-pixel images; None = the usual one.
        """
        large = self.images(images)
        K = self.intrinsics(len(large)) if K is None else K.to(self.device)
        found, textures = [], []
        for start in range(0, len(large), self.batch_size):
            rows = slice(start, start + self.batch_size)
            batch = resized(large[rows], self.size)
            encoding, body = self.system.seen(batch, K[rows], large[rows])
            found.append((encoding.appearance, body))
            textures.append(self.system.appearance(batch, encoding, body, large[rows]).textures)
        bodies = BodyPose(
            torch.cat([b.canonical for _, b in found]),
            Camera(
                torch.cat([b.camera.rotation for _, b in found]),
                torch.cat([b.camera.translation for _, b in found]),
                K,
            ),
        )
        return Person(torch.cat([a for a, _ in found]), bodies, PartTextures.joined(textures))

    @torch.inference_mode()
    def pose(self, images: Images, K: Tensor | None = None, decode: bool = False) -> PoseOutput:
        """Poses and cameras of images; with `decode`, part segmentation and reconstruction (`PartGuided.predict`)."""
        batch = resized(self.images(images), self.size)
        K = self.intrinsics(len(batch)) if K is None else K.to(self.device)
        outputs = [
            self.system.predict(Batch(target=part, K=cameras), decode=decode)
            for part, cameras in zip(batch.split(self.batch_size), K.split(self.batch_size), strict=True)
        ]
        return _joined(outputs)

    # ----------------------------------------------------------------------------------------------- putting together

    def paint(self, person: Person, body: BodyPose, background: Tensor | None = None) -> Iterator[Tensor]:
        """Images (3, side, side) in [0, 1] of a person in T poses under their cameras, one by one.

        Args:
            person: one, or one for each pose.
            body: T poses.
            background: (3, side, side) or (3,) to lay them over; None = the system's constant colour.

        Raises:
            InputError: several people, but not one for each pose; a background of another size.
        """
        behind = self._background(background)
        for colour, cover in self.layers(person, body):
            yield (colour + (1.0 - cover) * behind[0]).clamp(0.0, 1.0)

    def layers(self, person: Person, body: BodyPose) -> Iterator[tuple[Tensor, Tensor]]:
        """Colours (3, side, side), weighed by the cover, and cover (1, side, side) of a person in T poses, one by one.

        Args:
            person, body: see `paint`.
        """
        count = len(body.canonical)
        if len(person) not in (1, count):
            raise InputError(f"{len(person)} people cannot take {count} poses; give one, or one for each")
        for start in range(0, count, self.batch_size):
            rows = slice(start, min(start + self.batch_size, count))
            own = person if len(person) == 1 else person[rows]
            part = body[rows]
            vectors = own.appearance.expand(len(part.canonical), -1, -1)
            with torch.inference_mode():
                colour, cover = self.system.decode_large(
                    Appearance(vectors, own.textures), part.joints, part.camera.K, self.size, self.scale
                )
            yield from zip(colour, cover, strict=True)

    @torch.inference_mode()
    def silhouette(self, person: Person) -> np.ndarray:
        """(N, side, side) in [0, 1] where the images are taken to show N people: the puppet in their poses."""
        K = person.body.camera.K * person.body.camera.K.new_tensor([self.scale, self.scale, 1.0])[:, None]
        maps, _ = self.system.maps(person.body.joints, K, (self.side, self.side))
        return maps.sum(1).clamp(max=1.0).cpu().numpy()

    def _background(self, background: Tensor | None) -> Tensor:
        colour = self.system.decoder.background if background is None else background.to(self.device).float()
        if colour.shape == (3,):
            return colour.view(1, 3, 1, 1)
        if colour.shape != (3, self.side, self.side):
            raise InputError(
                f"a background has shape {tuple(colour.shape)}; expected (3,) or (3, {self.side}, {self.side})"
            )
        return colour[None]

    @torch.inference_mode()
    def novel_view(self, image: Images | Person, cameras: Sequence[Orbit], background: Tensor | None = None) -> Tensor:
        """(V, 3, S, S) a person, as V cameras see them.

        Args:
            image: one image, or what it was taken apart into.
            cameras: V of them. background: see `paint`.
        """
        person = self._one(image)
        return torch.stack(list(self.paint(person, self.seen_by(person.body, cameras), background)))

    def seen_by(self, body: BodyPose, cameras: Sequence[Orbit]) -> BodyPose:
        """One pose under V other cameras, which look at its pelvis: it stays at its place in the image.

        They go round the person's upright, not the image's: see `_elevation`.
        """
        if not cameras:
            raise InputError("no camera is given")
        own = body.camera
        known = _elevation(body[:1])
        rotations = []
        for orbit in cameras:
            azimuth, elevation = math.radians(orbit.azimuth), math.radians(orbit.elevation)
            if orbit.origin == "body":
                rotations.append(orbit_rotation(azimuth, elevation).to(own.rotation))
            else:
                turn = rotation_about("x", elevation + known) @ rotation_about("y", azimuth)
                turn = turn @ rotation_about("x", -known)
                rotations.append(turn.to(own.rotation) @ own.rotation[0])
        count = len(cameras)
        distance = torch.tensor([orbit.distance for orbit in cameras]).to(own.translation)
        camera = Camera(torch.stack(rotations), own.translation[:1] * distance[:, None], own.K[:1].expand(count, 3, 3))
        return BodyPose(body.canonical[:1].expand(count, -1, -1), camera)

    def transfer(
        self,
        appearance: Images | Person,
        driving: Images | Person | Motion | str | Path,
        background: Tensor | None = None,
        camera: Literal["driving", "appearance"] = "driving",
    ) -> Iterator[Tensor]:
        """The person of `appearance` in the poses of `driving`, image by image.

        Args:
            appearance: one image, or what it was taken apart into.
            driving: images, a `Motion`, or the file of one (see `motion`). Its limb directions are taken, the bone
                lengths are the system's own.
            background: see `paint`.
            camera: whose view; "driving" keeps the driving person's turns.
        """
        person = self._one(appearance)
        return self.paint(person, self.driven(person.body, driving, camera), background)

    def predictor(self) -> Predictor:
        """Reads the poses of images and videos that drive."""
        system, size = self.system.pose_reader or (self.system, self.size)
        return Predictor(cast(PartGuided, system), size, self.batch_size, parts="none")

    def motion(self, path: str | Path) -> Motion:
        """What a file drives with: an image, a folder of images or a video, whose poses are predicted; predicted
        poses (npz) or motion capture (npz, .bvh, .amc, .c3d).

        Raises:
            InputError: see `prediction.motion.seen_motion` and `load_motion`.
        """
        path = Path(path)
        if path.is_dir() or is_image(path) or is_video(path):
            return seen_motion(self.predictor(), path)
        return load_motion(path)

    @torch.inference_mode()
    def driven(
        self,
        own: BodyPose,
        driving: Images | Person | Motion | str | Path,
        camera: Literal["driving", "appearance"] = "driving",
    ) -> BodyPose:
        """The poses of `driving` on the system's bones, under the driving cameras or that of `own` (one pose)."""
        if isinstance(driving, str | Path):
            driving = self.motion(driving)
        if not isinstance(driving, Motion):
            seen = (driving if isinstance(driving, Person) else self.encode(driving)).body
            driving = Motion(seen.canonical, seen.camera.rotation, seen.camera.translation)
        motion = driving.to(self.device)
        count = len(motion)
        canonical = with_bones(motion.canonical, self.system.bone_lengths.to(self.device))
        place = own.camera.translation[:1].expand(count, 3)
        rotation = own.camera.rotation[:1].expand(count, 3, 3)
        if camera == "driving":
            rotation = motion.rotation
            place = place if motion.translation is None else motion.translation
            place = place if motion.drift is None else place + motion.drift
        return BodyPose(canonical, Camera(rotation, place, own.camera.K[:1].expand(count, 3, 3)))

    @torch.inference_mode()
    def mix(self, appearance: Person, pose: Person, camera: Person, background: Tensor | None = None) -> Tensor:
        """(N, 3, S, S) appearance of A in the pose of B, seen by the camera of C; each one, or N of them.

        Factors between two people come from `interpolate`.
        """
        count = max(len(appearance), len(pose), len(camera))
        for each in (appearance, pose, camera):
            if len(each) not in (1, count):
                raise InputError(f"{len(appearance)}, {len(pose)} and {len(camera)} people cannot be mixed one by one")
        view = camera.body.camera
        body = BodyPose(
            pose.body.canonical.expand(count, -1, -1),
            Camera(view.rotation.expand(count, 3, 3), view.translation.expand(count, 3), view.K.expand(count, 3, 3)),
        )
        return torch.stack(list(self.paint(appearance, body, background)))

    @torch.inference_mode()
    def interpolate(self, a: Person, b: Person, steps: int) -> Person:
        """`steps` people from A to B, both ends among them, each factor on its own shortest way.

        Appearance: straight. Pose: limb directions on the sphere's chord, bone lengths straight (so that bones keep a
        length). Camera: rotation along the geodesic, place straight. Use one factor of the result in `mix`.
        """
        if steps < 2:
            raise InputError(f"a way between two people has 2 steps at least, its ends; got {steps}")
        t = torch.linspace(0.0, 1.0, steps, device=self.device)
        one = t[:, None]
        first, second = (inverse_kinematics(p.body.canonical[:1], recentre=True) for p in (a, b))
        vectors = torch.lerp(first.local_vectors, second.local_vectors, one[..., None])
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
        hips = torch.nn.functional.normalize(torch.lerp(first.hip_angle, second.hip_angle, one), dim=-1)
        canonical = forward_kinematics(vectors, hips, torch.lerp(first.bone_lengths, second.bone_lengths, one))
        own, other = a.body.camera[:1], b.body.camera[:1]
        # The ablation without kinematics has no body frame of its own: what its poses are turned by is the camera's.
        start, end = own.rotation @ first.rotation, other.rotation @ second.rotation
        rotation = axis_angle_to_matrix(matrix_to_axis_angle(end @ start.transpose(-1, -2)) * one) @ start
        camera = Camera(
            rotation, torch.lerp(own.translation, other.translation, one), torch.lerp(own.K, other.K, one[..., None])
        )
        textures = None
        if a.textures is not None and b.textures is not None:
            textures = a.textures[:1].blended(b.textures[:1], t)
        return Person(
            torch.lerp(a.appearance[:1], b.appearance[:1], one[..., None]), BodyPose(canonical, camera), textures
        )

    def _one(self, image: Images | Person) -> Person:
        person = image if isinstance(image, Person) else self.encode(image)
        if len(person) != 1:
            raise InputError(
                f"expected one image of the person, got {len(person)}; make one of them with Person.merged"
            )
        return person


def resized(images: Tensor, side: int) -> Tensor:
    """Images (N, 3, S, S) of another side: averaged where they shrink."""
    if images.shape[-1] == side:
        return images
    how = "area" if side < images.shape[-1] else "bilinear"
    return torch.nn.functional.interpolate(images, (side, side), mode=how)


def _elevation(body: BodyPose) -> float:
    """Radians by which the camera of one pose is taken to look down **[ours]**.

    No image says where up is. The camera is taken to be held without roll, and the way from the ankles to the neck to
    rise upright where the camera sees it foreshortened: on motion capture seen from -10 to 35 degrees this is right to
    3.4 degrees (median; 12.6 if every camera were taken to be level, and then people would lean on the way round).
    """
    x = body.posed[0]
    rise = x[joint_index("neck")] - 0.5 * (x[joint_index("left_ankle")] + x[joint_index("right_ankle")])
    return min(max(math.atan2(-float(rise[2]), -float(rise[1])), -_STEEPEST), _STEEPEST)


def _joined(outputs: list[PoseOutput]) -> PoseOutput:
    """Several outputs as one."""
    first = outputs[0]
    if len(outputs) == 1:
        return first
    names = [name for name, value in vars(first).items() if isinstance(value, Tensor)]
    joined: dict[str, Any] = {name: torch.cat([getattr(output, name) for output in outputs]) for name in names}
    if first.camera is not None:
        cameras = [output.camera for output in outputs if output.camera is not None]
        joined["camera"] = Camera(
            *(torch.cat([getattr(c, name) for c in cameras]) for name in ("rotation", "translation", "K"))
        )
    return replace(first, **joined)
