from __future__ import annotations

from pathlib import Path

import numpy as np

from selfsup3d.data.synthetic.thumbnails import thumbnails

STORED = Path(__file__).parents[3] / "assets" / "synth-v1" / "thumbnails.npz"


def test_images_are_those_stored() -> None:
    """Within one grey level; a sample that another machine's rounding puts across an edge may change a pixel by a few."""
    drawn = thumbnails()
    with np.load(STORED) as stored:
        assert set(stored.files) == set(drawn)
        for key, images in drawn.items():
            assert stored[key].shape == images.shape
            gap = np.abs(stored[key].astype(int) - images)
            assert (gap > 1).mean() < 5e-4, key
            assert gap.max() < 12, key
