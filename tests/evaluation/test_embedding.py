import sys

import numpy as np
import pytest

from selfsup3d.evaluation.embedding import embed, principal_components


def blobs(count=60):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(count, 6)) + 8.0 * (np.arange(count) % 2)[:, None]).astype(np.float32)


def test_principal_components_keep_what_varies_most():
    points = principal_components(blobs())
    assert points.shape == (60, 2)
    assert abs(points[::2, 0].mean() - points[1::2, 0].mean()) > 10
    np.testing.assert_allclose(points, principal_components(blobs()))
    assert principal_components(np.ones((5, 1), np.float32)).shape == (5, 2)


def test_without_umap_there_is_pca(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    (title,) = embed(blobs())
    assert title.startswith("PCA")


@pytest.mark.slow
def test_umap_at_several_neighbour_counts():
    pytest.importorskip("umap", reason="umap-learn is not installed (extra analysis)")
    maps = embed(blobs())
    assert list(maps) == ["UMAP, 5 neighbours", "UMAP, 15 neighbours", "UMAP, 50 neighbours"]
    for points in maps.values():
        assert points.shape == (60, 2)
    assert list(embed(blobs(20))) == ["UMAP, 5 neighbours", "UMAP, 15 neighbours"]
