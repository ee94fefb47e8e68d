"""Which rows the sheet shows."""

import cv2
import numpy as np
import pytest

from selfsup3d.data.datasets.index_build import build_index
from selfsup3d.data.datasets.mpi_inf_3dhp import find_mpi_inf_3dhp
from selfsup3d.preparation.index_sheet import check_sheet, chosen_rows
from tests.data.generators import mpi_inf_3dhp as generate

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    root = tmp_path_factory.mktemp("3dhp")
    generate.write_train_sequence(root, frames=4, cameras=(0, 5), images="frames", scale=0.1)
    return build_index(find_mpi_inf_3dhp(root), progress=False).index


@pytest.mark.parametrize("count", [1, 3, 6])
def test_rows_have_images_where_some_takes_have(index, count, tmp_path):
    assert len({take.image for take in index.takes}) > 2  # most cameras have none
    rows = chosen_rows(index, count)
    assert len(rows) == len(set(rows.tolist())) == count
    assert all(index.takes[take].image for take in index.take[rows])
    assert len(set(index.take[rows].tolist())) == min(count, 2)
    sheet = cv2.imread(str(check_sheet(tmp_path / "s.png", index, count)))
    assert sheet.shape[0] > count * 192


def test_without_images_all_takes_are_drawn_from(index):
    part = index.select(np.flatnonzero(np.array([not index.takes[t].image for t in index.take])))
    rows = chosen_rows(part, 4)
    assert len(set(part.take[rows].tolist())) == 4
