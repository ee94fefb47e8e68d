"""synth-v1 without a cache: labelled samples drawn as they are asked for, from as many clips as one likes.

For supervised training and for tests. Saliency and backgrounds are properties of a video and come from the cache only.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from selfsup3d.data.synthetic.background import View, render_background
from selfsup3d.data.synthetic.body import People
from selfsup3d.data.synthetic.render import Cameras, render
from selfsup3d.data.synthetic.scene import Scene, make_scene
from selfsup3d.data.synthetic.spec import Preset, preset_named
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.structures.batch import Batch
from selfsup3d.structures.random import RandomStreams

__all__ = ["LiveSource"]


class LiveSource:
    """Renders the samples of a split as they are asked for.

    Args:
        preset: or its name; a preset with a million training clips costs nothing here.
        size: S, pixels a side.
        split: "train", "val" or "test".
        name: of the dataset.
        scenes: how many scenes (with their background) are kept for later samples.
    """

    def __init__(
        self,
        preset: str | Preset = "quickstart",
        size: int = 64,
        split: str = "train",
        name: str = "synthetic",
        scenes: int = 256,
    ) -> None:
        self.name, self.split, self.image_size = name, split, size
        self._preset = preset_named(preset) if isinstance(preset, str) else preset
        self._clips = self._preset.clips(split)
        self._scene = lru_cache(maxsize=scenes)(self._make)
        self._first: np.ndarray | None = None

    def _make(self, clip: int) -> tuple[Scene, View | None]:
        scene = make_scene(self._preset, self.split, clip, self.image_size)
        return scene, self._view(scene, 0) if scene.static else None

    def _view(self, scene: Scene, frame: int) -> View:
        camera = scene.camera
        return render_background(
            scene.background, camera.K[frame], camera.rotation[frame], camera.translation[frame], self.image_size
        )

    def __len__(self) -> int:
        """Frames of the split, each once."""
        return int(self._offsets()[-1])

    def _offsets(self) -> np.ndarray:
        if self._first is None:
            lengths = [len(self._scene(clip)[0]) for clip in range(self._clips)]
            self._first = np.concatenate([[0], np.cumsum(lengths)])
        return self._first

    def batch(self, streams: RandomStreams) -> Batch:
        """Two different frames of a drawn clip for each draw, with the labels of the target."""
        clip = streams.integers(self._clips)
        lengths = np.array([len(self._scene(c)[0]) for c in clip.tolist()])
        target = streams.integers(lengths)
        source = (target + 1 + streams.integers(np.maximum(lengths - 1, 1))) % lengths
        return replace(
            self._render(clip, source, target),
            index=torch.from_numpy(streams.indices.copy()),
            seeds=torch.from_numpy(streams.seeds),
        )

    def frames(self, indices: np.ndarray) -> Batch:
        """Frames (B,) in [0, len(self)), with labels; the source is the frame half a clip away."""
        first = self._offsets()
        clip = np.searchsorted(first, indices, side="right") - 1
        lengths, target = (first[1:] - first[:-1])[clip], indices - first[clip]
        batch = self._render(clip, (target + lengths // 2) % lengths, target)
        return replace(batch, index=torch.from_numpy(np.array(indices, dtype=np.int64)))

    def _render(self, clip: np.ndarray, source: np.ndarray, target: np.ndarray) -> Batch:
        scenes = [self._scene(c) for c in clip.tolist()]
        frame = np.concatenate([source, target])
        both = scenes * 2
        cameras = Cameras(
            *(
                np.stack([getattr(scene.camera, part)[f] for (scene, _), f in zip(both, frame, strict=True)])
                for part in ("K", "rotation", "translation")
            )
        )
        world = np.stack([scene.joints[f] for (scene, _), f in zip(both, frame, strict=True)])
        views = [view or self._view(scene, f) for (scene, view), f in zip(both, frame, strict=True)]
        rows = np.arange(len(both))
        drawn = render(
            People.of([scene.person for scene, _ in both]),
            rows,
            world,
            cameras,
            views,
            rows,
            [scene.background.light for scene, _ in both],
            [scene.background.shadow for scene, _ in both],
        )
        seen = cameras.view(world)
        count = len(clip)
        assert drawn.labels is not None
        images = torch.from_numpy(drawn.image).permute(0, 3, 1, 2).contiguous().float().mul_(1.0 / 255.0)
        joints_3d, joints_2d = _tensor(seen), _tensor(cameras.project(seen))
        return Batch(
            source=images[:count],
            target=images[count:],
            joints_3d=joints_3d[count:],
            joints_2d=joints_2d[count:],
            confidence=torch.ones(count, 17),
            source_joints_3d=joints_3d[:count],
            source_joints_2d=joints_2d[:count],
            bone_lengths=bone_lengths(joints_3d[count:]),
            K=_tensor(cameras.K[count:]),
            part_labels=torch.from_numpy(drawn.labels[count:]).long(),
            meta=tuple(
                {
                    "dataset": self.name,
                    "clip": f"clip_{c:05d}",
                    "person": f"{self.split}-{c}",
                    "action": scene.motion.action,
                    "frame": int(f),
                }
                for c, f, (scene, _) in zip(clip.tolist(), target.tolist(), scenes, strict=True)
            ),
        )


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
