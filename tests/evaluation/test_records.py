import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.evaluation.records import Records, load_frames, save_frames


def records(indices, **values):
    return Records({"index": np.array(indices), **values})


def test_pieces_are_put_in_order_and_each_frame_counts_once():
    joined = Records.joined(
        [
            records([4, 2], x=np.array([4.0, 2.0])),
            records([0, 2], x=np.array([0.0, 2.0])),
            records([], x=np.array([])),
        ]
    )
    assert joined.values["index"].tolist() == [0, 2, 4]
    assert joined.values["x"].tolist() == [0.0, 2.0, 4.0]
    assert len(joined) == 3


def test_what_some_pieces_lack_is_nan_or_no_text():
    joined = Records.joined(
        [
            records([0], x=np.array([1.0]), action=np.array(["walk"])),
            records([1], y=np.ones((1, 2, 3))),
        ]
    )
    assert np.isnan(joined.values["x"][1])
    assert joined.values["action"].tolist() == ["walk", ""]
    assert np.isnan(joined.values["y"][0]).all()
    assert joined.tensor("y").shape == (2, 2, 3)


def test_reasons_are_collected_and_rows_can_be_chosen():
    joined = Records.joined(
        [Records({"index": np.array([0])}, {"a": "x"}), Records({"index": np.array([1])}, {"b": "y"})]
    )
    assert joined.reasons == {"a": "x", "b": "y"}
    assert joined.where(np.array([False, True])).values["index"].tolist() == [1]


def test_nothing_and_contradictions_are_refused():
    with pytest.raises(ValueError, match="no frame"):
        Records.joined([])
    with pytest.raises(ValueError, match="x has shape"):
        Records.joined([records([0], x=np.ones((1, 2))), records([1], x=np.ones((1, 3)))])


def test_per_frame_files_hold_no_pickles(tmp_path):
    frames = {"index": np.arange(2), "person": np.array(["a", "b"]), "mpjpe": np.array([1.0, np.nan])}
    save_frames(tmp_path / "frames.npz", frames)
    with np.load(tmp_path / "frames.npz", allow_pickle=False) as data:
        assert set(data.files) == {"index", "person", "mpjpe"}
    loaded = load_frames(tmp_path / "frames.npz")
    assert loaded["person"].tolist() == ["a", "b"]
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(InputError, match="no `index`"):
        load_frames(tmp_path / "other.npz")
    with pytest.raises(InputError, match=r"missing\.npz"):
        load_frames(tmp_path / "missing.npz")
