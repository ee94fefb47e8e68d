import pytest
import torch

from selfsup3d.structures.batch import Batch, Camera, MissingFieldError


def camera(count: int) -> Camera:
    return Camera(torch.eye(3).expand(count, 3, 3), torch.zeros(count, 3), torch.eye(3).expand(count, 3, 3))


def test_slices_reach_nested_tensors_and_meta():
    batch = Batch(
        target=torch.arange(4.0).view(4, 1, 1, 1), unpaired_camera=camera(4), meta=tuple({"n": i} for i in range(4))
    )
    part = batch[1:3]
    assert len(part) == 2
    assert part.target.flatten().tolist() == [1.0, 2.0]
    assert part.unpaired_camera.rotation.shape == (2, 3, 3)
    assert [m["n"] for m in part.meta] == [1, 2]
    assert [m["n"] for m in batch[torch.tensor([3, 0])].meta] == [3, 0]
    assert [m["n"] for m in batch[torch.tensor([True, False, False, True])].meta] == [0, 3]


def test_missing_fields_are_named_with_what_there_is():
    batch = Batch(target=torch.zeros(1, 3, 2, 2))
    with pytest.raises(MissingFieldError, match=r"lifter needs joints_2d.*target"):
        batch.require(("target", "joints_2d"), by="lifter")
    with pytest.raises(MissingFieldError, match="joints_3d"):
        batch.need("joints_3d", by="test")
    assert batch.need("target", by="test") is batch.target


def test_missing_joints_become_zero_with_confidence_zero():
    joints = torch.ones(1, 17, 2)
    joints[0, 3] = float("nan")
    confidence = torch.ones(1, 17)
    confidence[0, 5] = 0.0
    clean = Batch(joints_2d=joints, confidence=confidence).joints_missing_as_zero()
    assert torch.isfinite(clean.joints_2d).all()
    assert (clean.joints_2d[0, [3, 5]] == 0).all()
    assert clean.confidence[0, [3, 5]].tolist() == [0, 0]
    assert clean.confidence.sum() == 15


def test_map_keeps_what_is_no_tensor():
    batch = Batch(target=torch.zeros(1), meta=({"a": 1},)).detach()
    assert batch.meta == ({"a": 1},)
    assert batch.source is None
