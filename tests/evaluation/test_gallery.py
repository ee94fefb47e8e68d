import numpy as np
import pytest

from selfsup3d.evaluation.gallery import error_sheet, panels, ranked_rows
from tests.evaluation.fakes import KnownErrors, Painter, Source


def test_typical_frames_run_from_the_best_to_the_worst_and_the_unmeasured_are_left_out():
    errors = np.array([5.0, np.nan, 1.0, 9.0, 3.0, 7.0])
    rows = ranked_rows(errors, 3)
    assert rows["typical"].tolist() == [2, 0, 3]
    assert rows["worst"].tolist() == [3, 5, 0]
    assert ranked_rows(errors, 99)["worst"].tolist() == [3, 5, 0, 4, 2]
    assert len(ranked_rows(np.full(4, np.nan), 2)["typical"]) == 2


def test_the_worst_frames_are_of_many_people():
    errors = np.array([9.0, 8.0, 7.0, 6.0, 1.0, 2.0])
    people = np.array(["a", "a", "a", "a", "b", "c"])
    assert ranked_rows(errors, 3, people)["worst"].tolist() == [0, 5, 4]
    assert ranked_rows(errors, 4, people)["worst"].tolist() == [0, 1, 5, 4]


def test_sheets_show_what_system_and_data_have(source, noise):
    batch = source.frames(np.arange(3))
    system = Painter(source, noise).eval()
    columns = panels(system, batch, system.predict(batch))
    assert list(columns) == [
        "source", "target", "found", "true", "parts", "reconstruction", "novel view", "true novel view",
        "transfer", "true transfer", "3D front", "3D side",
    ]  # fmt: skip
    assert {len(images) for images in columns.values()} == {3}
    lean = Source(without=("part_labels", "second_view", "transfer", "joints_3d", "joints_2d", "source"))
    batch = lean.frames(np.arange(3))
    system = KnownErrors(lean, noise, segmentation=False, unit="relative")
    assert list(panels(system, batch, system.predict(batch))) == ["target", "found", "3D front", "3D side"]


@pytest.mark.parametrize("unit", ["m", "relative"])
def test_an_error_sheet_has_a_row_for_each_frame(source, noise, unit):
    image = error_sheet(KnownErrors(source, noise, unit=unit), source, np.array([4, 2]), {4: 12.0}, "cpu")
    assert image.dtype == np.uint8
    assert image.shape[0] == 18 + 2 + 2 * 162
    assert source.asked[-1] == [4, 2]


def test_rows_say_of_which_kind_they_are(source, noise):
    system, rows = KnownErrors(source, noise), np.array([4, 2])
    plain = error_sheet(system, source, rows, {4: 12.0, 2: 13.0}, "cpu")
    told = error_sheet(system, source, rows, {4: 12.0, 2: 13.0}, "cpu", ["best", "worst"])
    changed = (plain != told).any(-1).any(1)
    assert plain.shape == told.shape
    assert changed[20:181].any()
    assert changed[182:].any()
    with pytest.raises(ValueError, match="zip"):
        error_sheet(system, source, rows, {}, "cpu", ["best"])
