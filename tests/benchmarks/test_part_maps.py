import pytest
import torch

from selfsup3d.benchmarks import part_maps
from selfsup3d.benchmarks.harness import Disagreement, Settings
from selfsup3d.geometry.camera import project


def test_runs_and_compares_with_both_peers():
    pytest.importorskip("kornia")
    result = part_maps.run(Settings(threads=1, seconds=0.1, quick=True))
    assert result.ours_ms > 0
    assert result.peer_ms == min(result.notes["kornia_ms"], result.notes["grid_sample_ms"])
    assert result.ratio == pytest.approx(result.peer_ms / result.ours_ms)
    assert result.max_error < part_maps.TOLERANCE


@pytest.mark.parametrize("strewn", [False, True])
def test_scenes_fill_the_frame(strewn):
    joints, K = part_maps.scene(8, 64, strewn)
    pixels = project(joints, K)
    extent = pixels.amax(1) - pixels.amin(1)
    assert (extent.amax(-1) > (40 if strewn else 24)).all()
    assert ((pixels > -16) & (pixels < 80)).all()
    assert torch.equal(part_maps.scene(8, 64, strewn)[0], joints)


def test_a_wrong_peer_is_not_timed(monkeypatch):
    real = part_maps._drawers

    def mirrored(*arguments):
        drawers = real(*arguments)
        return {"ours": drawers["ours"], "mirrored": lambda geometry: drawers["ours"](geometry).flip(-1)}

    monkeypatch.setattr(part_maps, "_drawers", mirrored)
    with pytest.raises(Disagreement, match="mirrored"):
        part_maps.run(Settings(threads=1, seconds=0.1, quick=True))
