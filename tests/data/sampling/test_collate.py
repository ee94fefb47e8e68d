import pytest
import torch

from selfsup3d.data.sampling.collate import concatenate
from selfsup3d.structures.batch import Batch, Camera


def _batch(count: int, start: int, **more) -> Batch:
    camera = Camera(torch.eye(3).repeat(count, 1, 1), torch.zeros(count, 3), torch.eye(3).repeat(count, 1, 1))
    return Batch(
        index=torch.arange(start, start + count),
        target=torch.full((count, 3, 4, 4), float(start)),
        unpaired_camera=camera,
        meta=tuple({"frame": i} for i in range(start, start + count)),
        **more,
    )


def test_concatenate_keeps_order_cameras_and_meta():
    batch = concatenate([_batch(2, 0), _batch(3, 2)])
    assert batch.index.tolist() == [0, 1, 2, 3, 4]
    assert batch.unpaired_camera.rotation.shape == (5, 3, 3)
    assert [m["frame"] for m in batch.meta] == [0, 1, 2, 3, 4]
    assert batch.target[:, 0, 0, 0].tolist() == [0, 0, 2, 2, 2]


def test_a_field_that_one_batch_lacks_is_dropped():
    labelled = _batch(2, 0, joints_2d=torch.zeros(2, 17, 2))
    assert concatenate([labelled, _batch(2, 2)]).joints_2d is None
    assert concatenate([labelled, labelled]).joints_2d.shape == (4, 17, 2)


def test_nothing_to_concatenate():
    with pytest.raises(ValueError, match="no batches"):
        concatenate([])
