import numpy as np
import pytest
import torch

from selfsup3d.evaluation.baselines import Baselines
from selfsup3d.evaluation.cross_modal import cross_modal_numbers, see, without_joints
from selfsup3d.evaluation.cross_modal_tables import comparison, cross_modal_tables
from selfsup3d.evaluation.evaluator import evaluate
from selfsup3d.evaluation.latent_figures import (
    arithmetic_strips,
    interpolation_strips,
    latent_maps,
    predictions_sheet,
    prior_sheet,
    thumbnails,
)
from selfsup3d.evaluation.protocols import Protocol
from selfsup3d.evaluation.report import markdown, text
from selfsup3d.structures.batch import Batch
from tests.models.cross_modal.catalogue import CASES

FRAMES = 24


class Frames:
    """Frames of the catalogue with actions, as a dataset."""

    name = "toy"

    def __init__(self, images=True, labels=True):
        batch = CASES[0].batch(size=FRAMES)
        meta = tuple({"action": ("walk", "sit", "wave")[k % 3], "person": str(k % 2)} for k in range(FRAMES))
        self.batch = Batch(
            index=torch.arange(FRAMES),
            target=batch.target if images else None,
            joints_2d=batch.joints_2d,
            confidence=batch.confidence,
            joints_3d=batch.joints_3d if labels else None,
            K=batch.K,
            meta=meta,
        )

    def __len__(self):
        return FRAMES

    def frames(self, indices):
        return self.batch[torch.from_numpy(np.asarray(indices))]


def system(name):
    return next(case for case in CASES if case.name == name).fitted().eval()


def numbers(name, **data):
    mean = torch.zeros(17, 3)
    return cross_modal_numbers(
        system(name), Frames(**data), protocol=Protocol(), baselines=Baselines(mean_pose=mean), batch_size=7
    )


@pytest.mark.parametrize("name", ["all pairs", "product", "mixture"])
def test_every_pair_and_criterion_is_measured(name):
    told = numbers(name)
    assert told["frames"] == FRAMES
    poses = {"joints_2d->joints_3d", "image->joints_3d"}
    assert poses | {"joints_2d->image", "image->image"} <= set(told["pairs"])
    assert any("+" in pair for pair in told["pairs"])
    for pair, row in told["pairs"].items():
        assert set(row) == ({"mpjpe", "pa_mpjpe"} if pair.endswith("3d") else {"l1", "psnr"})
    assert set(told["missing_joints"]) == {"0", "1", "2"}
    two_d = told["pairs"]["joints_2d->joints_3d"]["mpjpe"]
    assert told["missing_joints"]["0"]["mpjpe"] == pytest.approx(two_d, abs=1e-2)
    criteria = told["criteria"]
    assert criteria["joint_coherence"]["distance"]["mpjpe"] > 0
    assert set(criteria["cross_coherence"]) == {"image from 2D", "true image", "mean pose"}
    synergy = criteria["synergy"]["joints_3d"]
    better = min(synergy["joints_2d"], synergy["image"])
    assert synergy["gain"] == pytest.approx(better - synergy["both"])
    assert criteria["latent_factorisation"]["units"].keys() == {"joints_2d", "image"}
    titles = [title for title, _, rows in cross_modal_tables(told)]
    assert len(titles) == 6


def test_what_cannot_be_measured_is_left_out_with_a_reason():
    told = numbers("2D to 3D", images=False)
    assert set(told["pairs"]) == {"joints_2d->joints_3d"}
    for name in ("joint_coherence", "cross_coherence", "synergy"):
        assert "reason" in told["criteria"][name]
    assert len(cross_modal_tables(told)) == 3
    without = numbers("all pairs", labels=False)
    assert all(pair.endswith("image") for pair in without["pairs"])
    assert without["missing_joints"] == {}


def test_poses_of_no_scale_have_no_mpjpe():
    told = numbers("re-projection")
    assert set(told["pairs"]["joints_2d->joints_3d"]) == {"pa_mpjpe", "n_mpjpe"}


def test_missing_joints_are_drawn_for_each_frame_and_cost_something():
    batch = Frames().frames(np.arange(FRAMES))
    for count in (0, 1, 2):
        seen = without_joints(batch, count)
        assert ((seen.confidence == 0).sum(1) == count).all()
        assert torch.isnan(seen.joints_2d).all(-1).sum() == count * FRAMES
    again = without_joints(batch[torch.tensor([5, 3])], 2)
    torch.testing.assert_close(again.confidence, without_joints(batch, 2).confidence[[5, 3]])
    assert len({tuple(row.tolist()) for row in without_joints(batch, 1).confidence}) > 5


def test_the_result_file_tells_it_and_the_best_of_s():
    """S stands in the name; the first hypothesis is the mean latent's."""
    vae = system("all pairs")
    once = evaluate(vae, Frames(), progress=False)
    result = evaluate(vae, Frames(), samples=5, progress=False)
    assert result["metrics"]["mpjpe"] == pytest.approx(once["metrics"]["mpjpe"], abs=1e-4)
    assert result["metrics"]["mpjpe_best_of_5"] <= result["metrics"]["mpjpe"]
    assert set(result["per_action"]) == {"walk", "sit", "wave"}
    result["cross_modal"] = numbers("all pairs")
    for written in (text(result), markdown(result)):
        for words in ("MPJPE best of 5 [mm]", "Missing 2D joints", "Synergy", "Latent factorisation", "2D → image"):
            assert words in written


@pytest.mark.parametrize("name", ["all pairs", "2D to 3D", "re-projection"])
def test_images_of_the_latent_space(name, monkeypatch):
    from selfsup3d.evaluation import embedding, latent_figures

    flat = {"PCA": lambda latents: embedding.principal_components(latents)}
    monkeypatch.setattr(latent_figures, "embed", lambda latents: {t: make(latents) for t, make in flat.items()})
    vae, source = system(name), Frames(images=name == "all pairs")
    seen = see(vae, source, np.arange(FRAMES), 10)
    latents = seen.posteriors["joints_2d"].mean
    images = [
        predictions_sheet(vae, source),
        interpolation_strips(vae, latents, rows=2),
        arithmetic_strips(vae, latents, seen.actions, rows=2),
        arithmetic_strips(vae, latents, ("",) * FRAMES, rows=2),
        prior_sheet(vae, 8),
        *latent_maps(latents, seen.actions, thumbnails(seen)).values(),
    ]
    for image in images:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert image.std() > 5
    assert len(latent_maps(latents, seen.actions, None)) == 1
    with_images = interpolation_strips(vae, latents, rows=2).shape[0]
    assert (with_images > 500) == (name == "all pairs"), "a strip of images under each strip of poses"


def test_runs_stand_beside_each_other():
    title, head, rows = comparison({"all": numbers("all pairs"), "poses": numbers("2D to 3D", images=False)})
    assert "mean latent" in title
    assert head[1:4] == ["2D → 3D", "image → 3D", "both → 3D"]
    assert rows[0][0] == "all"
    assert "-" not in rows[0]
    assert rows[1][head.index("2D → 3D")] != "-"
    assert rows[1][head.index("image → 3D")] == "-"
    assert "image → 3D" not in comparison({"poses": numbers("2D to 3D", images=False)})[1]
