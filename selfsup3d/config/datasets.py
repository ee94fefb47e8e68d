"""Settings of the image datasets: synth-v1, own videos, Human3.6M, MPI-INF-3DHP, shards. (3DPW is never trained on.)"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfsup3d.config.base import Count, Positive, Section
from selfsup3d.config.choices import Annotation, Keypoints

__all__ = [
    "H36mConfig",
    "IndexedConfig",
    "MpiInf3dhpConfig",
    "PeopleConfig",
    "ShardsConfig",
    "SyntheticConfig",
    "VideosConfig",
]


class SyntheticConfig(Section):
    """The embedded benchmark synth-v1: rendered people, nothing to download."""

    kind: Literal["synthetic"] = "synthetic"
    """Which data."""
    preset: str = "quickstart"
    """How many clips: quickstart, v1 (the benchmark), v1-moving, tiny-test."""
    size: Literal[16, 32, 64, 96, 128, 256] = 64
    """Image side in pixels."""
    root: Path | None = None
    """Folder of the rendered cache; none = $SELFSUP3D_CACHE or ~/.cache/selfsup3d."""
    prior: Path | None = None
    """Motion-capture npz that gives the unpaired poses; none = the procedural prior."""
    backgrounds: Path | None = None
    """Folder of images without people to stand behind rendered people; none = procedural backgrounds alone."""
    camera_widen: Positive = 1.0
    """The camera prior's ranges, relative to the benchmark's own."""
    augment: bool = True
    """Mirror, crop and recolour training samples."""
    weight: Positive = 1.0
    """Share of samples within a mixture."""


class PeopleConfig(Section):
    """Rendered 3D people in tight crops, nothing to download: synthetic pre-training for real images."""

    kind: Literal["people"] = "people"
    """Which data."""
    size: Literal[32, 64, 96, 128, 256] = 96
    """Image side in pixels."""
    prior: Path | None = None
    """Motion-capture npz that gives 60 % of the poses; none = procedural poses alone."""
    backgrounds: Path | None = None
    """Folder of images without people to stand behind rendered people; none = procedural backgrounds alone."""
    pool: Count = 16_000
    """Rendered people kept in memory at a time, of each worker (82 kB each)."""
    reuse: Positive = 5.0
    """Images made of each before the pool is renewed."""
    weight: Positive = 1.0
    """Share of samples within a mixture."""


class VideosConfig(Section):
    """A folder of your own videos or frame folders, one person in each."""

    kind: Literal["videos"] = "videos"
    """Which data."""
    root: Path | None = None
    """The folder (required): of videos, or of clips that selfsup3d prepare-data has made of them."""
    cache: Path | None = None
    """Folder for the prepared clips; none = $SELFSUP3D_CACHE or ~/.cache/selfsup3d."""
    prior: Path | None = None
    """Motion-capture npz that gives the unpaired poses; none = the procedural prior."""
    backgrounds: Path | None = None
    """Folder of images without people to stand behind rendered people; none = procedural backgrounds alone."""
    size: Annotated[int, Field(ge=16, le=512)] = 64
    """Image side in pixels."""
    camera_widen: Positive = 1.0
    """The camera prior's ranges, relative to synth-v1's."""
    augment: bool = True
    """Mirror, crop and recolour training samples."""
    weight: Positive = 1.0
    """Share of samples within a mixture."""


class IndexedConfig(Section):
    """What all indexed datasets have in common. Lifters take their joints, image models their crops."""

    kind: str
    """Which dataset: "h36m" and the like."""
    root: Path | None = None
    """The dataset's folder (required)."""
    index: Path | None = None
    """Index that selfsup3d prepare-data wrote; none = built at first use, below $SELFSUP3D_CACHE or ~/.cache/selfsup3d."""
    backgrounds: Path | None = None
    """Folder of the backgrounds; none = beside the cached index, fitted at first use."""
    size: Annotated[int, Field(ge=16, le=512)] = 128
    """Image side in pixels."""
    every: Count = 1
    """Train on every n-th frame of a recording."""
    evaluate_every: Count = 64
    """Validate on every n-th frame during training."""
    validation: tuple[str, ...] = ()
    """Subjects held out of training to choose settings; none = the test subjects, thinned out."""
    crop: Literal["box", "cube"] = "box"
    """Crops around the person's box, or around a cube of 2.2 m (needs 3D)."""
    pair: Literal["person", "take"] = "person"
    """The other frame of a pair: any of the same person, or of the same recording."""
    balance: Literal["person", "take", "frame"] = "person"
    """What training samples are drawn evenly over first."""
    given_masks: bool = False
    """Take the dataset's own person masks for the saliency, where it has them (they are not label-free)."""
    frames: Count = 1
    """Frames of a lifter's sample, odd; the middle one's pose is wanted."""
    keypoints: Keypoints = "projected"
    """2D joints from the ground truth, or the dataset's detections."""
    prior: Path | None = None
    """Motion-capture npz that gives the unpaired poses; none = the procedural prior (lifters: other frames' poses)."""
    camera_widen: Positive = 1.0
    """The camera prior's ranges, relative to synth-v1's."""
    augment: bool = True
    """Mirror, crop and recolour training samples."""
    weight: Positive = 1.0
    """Share of samples within a mixture."""

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.frames % 2 == 0:
            raise ValueError(f"frames must be odd, so that there is a middle one; it is {self.frames}")
        return self


class H36mConfig(IndexedConfig):
    """Human3.6M, in any of the layouts it is distributed and passed round in."""

    kind: Literal["h36m"] = "h36m"
    """Which data."""
    every: Count = 5
    """Train on every n-th frame of a recording (50 a second)."""
    cameras: Path | None = None
    """Camera file (metadata.xml, cameras.h5, h36m_dataset.py or cameras.json); none = looked for beside the data."""
    detections: Path | None = None
    """data_2d_h36m_*.npz whose 2D joints are `keypoints: detected`."""


class MpiInf3dhpConfig(IndexedConfig):
    """MPI-INF-3DHP: trained on S1-S8, evaluated on TS1-TS6."""

    kind: Literal["mpi_inf_3dhp"] = "mpi_inf_3dhp"
    """Which data."""
    every: Count = 5
    """Train on every n-th frame of a recording (25 or 50 a second)."""
    evaluate_every: Count = 16
    """Validate on every n-th frame during training."""
    annotation: Annotation = "metric"
    """The person's own joints, or scaled to one height as most published results are."""
    views: tuple[Annotated[int, Field(ge=0, le=13)], ...] = (0, 1, 2, 4, 5, 6, 7, 8)
    """Numbers of the training cameras."""


class ShardsConfig(Section):
    """WebDataset shards of crops that selfsup3d prepare-data --shards wrote: collections too large for one disk."""

    kind: Literal["shards"] = "shards"
    """Which data."""
    root: Path | None = None
    """Folder of the shards (required)."""
    size: Annotated[int, Field(ge=16, le=512)] = 128
    """Image side in pixels; not above the shards' own."""
    prior: Path | None = None
    """Motion-capture npz that gives the unpaired poses; none = the procedural prior."""
    camera_widen: Positive = 1.0
    """The camera prior's ranges, relative to synth-v1's."""
    augment: bool = True
    """Mirror, crop and recolour training samples."""
    weight: Positive = 1.0
    """Share of samples within a mixture."""
