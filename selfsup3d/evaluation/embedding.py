"""Latents in the plane: UMAP where it is installed (extra `analysis`), else principal components."""

from __future__ import annotations

import warnings

import numpy as np

__all__ = ["NEIGHBOURS", "embed", "principal_components"]

NEIGHBOURS = (5, 15, 50)
"""UMAP's neighbour counts: few show local structure, many the whole."""


def principal_components(latents: np.ndarray) -> np.ndarray:
    """(N, 2) the two directions of largest variance of latents (N, D), signs fixed by their largest entry."""
    centred = latents - latents.mean(0)
    _, _, directions = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    directions = directions[:2]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    plane = centred @ (directions * np.where(largest < 0, -1.0, 1.0)).T
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))


def embed(latents: np.ndarray, neighbours: tuple[int, ...] = NEIGHBOURS) -> dict[str, np.ndarray]:
    """Title -> (N, 2): a UMAP (McInnes et al. 2018) for each neighbour count that N allows; without it, one PCA."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import umap
    except ImportError:
        return {"PCA (umap-learn is not installed)": principal_components(latents)}
    maps: dict[str, np.ndarray] = {}
    for count in neighbours:
        if count < len(latents):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a fixed seed means one thread, which it warns of
                maps[f"UMAP, {count} neighbours"] = umap.UMAP(n_neighbors=count, random_state=0).fit_transform(latents)
    return maps or {"PCA (too few frames for UMAP)": principal_components(latents)}
