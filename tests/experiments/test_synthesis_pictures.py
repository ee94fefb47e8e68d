import numpy as np

from selfsup3d.builders.systems import build_system
from selfsup3d.config.run import Config
from selfsup3d.evaluation.reference_2d import Reference2D
from selfsup3d.experiments.clip_pictures import without_head
from selfsup3d.experiments.synthesis_pictures import clip_row
from selfsup3d.inference.synthesizer import Synthesizer
from selfsup3d.structures.skeleton import joint_index


def joints(head):
    """(17, 2) px of somebody with a torso of 20 px and the head there."""
    pixels = np.zeros((17, 2), np.float32)
    pixels[joint_index("neck")] = (0, 20)
    pixels[[joint_index("nose"), joint_index("head")]] = head
    return pixels


def test_heads_are_blurred_and_nothing_else():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    found = without_head(image, joints((40, 30)))
    rows, columns = np.nonzero((found != image).any(-1))
    assert found[26:35, 36:45].std() < 0.5 * image[26:35, 36:45].std()
    assert np.hypot(rows - 30, columns - 40).max() < 10
    assert (without_head(image, np.full((17, 2), np.nan)) == image).all()


def test_a_clip_is_a_row_of_frames_and_drawn_people_without_heads():
    system = build_system(Config()).eval().with_textures()
    system.bone_lengths.fill_(0.25)
    images = np.random.default_rng(1).integers(0, 255, (8, 64, 64, 3), np.uint8)
    reference = Reference2D(np.stack([joints((40, 30))] * 8), np.ones((8, 17), np.float32))
    row = clip_row("a clip", images, reference, {"a": Synthesizer(system, 64)})
    assert len({tile.shape for tile in row}) == 1
    assert len(row) == 4
    assert (row[0] != row[1]).any()
