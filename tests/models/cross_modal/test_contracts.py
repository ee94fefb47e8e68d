"""What every cross-modal VAE promises, tested over all of them at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup3d.builders.cross_modal import build_cross_modal
from selfsup3d.io import pretrained
from selfsup3d.structures.batch import MissingFieldError
from tests.models.cross_modal.catalogue import CASES, Case

cases = pytest.mark.parametrize("case", CASES, ids=str)


def total(terms):
    return sum(value for name, value in terms.items() if not name.startswith("_"))


@cases
def test_groups_are_disjoint_and_every_parameter_is_trained(case: Case):
    system = case.fitted().train()
    groups = {name: list(parameters) for name, parameters in system.parameter_groups().items()}
    counted = [id(p) for parameters in groups.values() for p in parameters]
    assert len(counted) == len(set(counted))
    assert set(counted) == {id(p) for p in system.parameters()}
    reached = set()
    for update in system.updates(0, 0.5):
        system.zero_grad(set_to_none=True)
        total(system(case.batch(), update.name, 0.5)).backward()
        reached |= {id(p) for group in update.parameters for p in groups[group] if p.grad is not None}
    names = {id(p): name for name, p in system.named_parameters()}
    assert not sorted(names[i] for i in set(counted) - reached)


@cases
def test_a_step_changes_the_parameters_of_its_update_only(case: Case):
    system = case.fitted().train()
    groups = {name: list(parameters) for name, parameters in system.parameter_groups().items()}
    for update in system.updates(0, 0.0):
        before = {id(p): p.detach().clone() for p in system.parameters()}
        own = [p for group in update.parameters for p in groups[group]]
        system.zero_grad(set_to_none=True)
        total(system(case.batch(), update.name, 0.5)).backward()
        torch.optim.SGD(own, lr=1e-2).step()
        changed = {id(p) for p in system.parameters() if not torch.equal(p, before[id(p)])}
        assert changed
        assert changed <= {id(p) for p in own}


@cases
def test_predict_reads_its_own_modalities_alone(case: Case):
    system = case.fitted().eval()
    if "joints_3d" not in system.targets:
        pytest.skip("decodes no pose")
    batch = case.batch()
    kept = {*system.predict_requires, "confidence", "K", "seeds", "index"}
    emptied = {name: None for name in ("target", "joints_2d", "joints_3d", "unpaired") if name not in kept}
    full, alone = system.predict(batch, samples=3), system.predict(replace(batch, **emptied), samples=3)
    assert torch.equal(full.pose, alone.pose)
    assert "joints_3d" not in system.predict_requires
    assert full.pose.shape == (12, 3, 17, 3)
    assert not full.pose[:, :, 0].any(), "the root is kept, at zero"
    assert torch.equal(system.predict(batch).pose[:, 0], full.pose[:, 0]), "the first hypothesis is the mean's"
    assert full.latent.shape == (12, 8)
    assert full.unit == ("head=1" if case.name == "re-projection" else "m")


@cases
def test_what_stands_at_a_missing_joint_is_never_seen(case: Case):
    system = case.fitted().eval()
    batch = case.batch()
    confidence = batch.confidence.clone()
    confidence[:, 13] = 0.0
    found = []
    for value in (0.0, 1e5, float("nan")):
        joints = batch.joints_2d.clone()
        joints[:, 13] = value
        seen = replace(batch, joints_2d=joints, confidence=None if value != value else confidence)
        found.append(system.predict(seen).pose)
        system.zero_grad(set_to_none=True)
        for update in system.updates(0, 0.5):
            loss = total(system(seen, update.name, 0.5))
            loss.backward()
            assert torch.isfinite(loss)
        assert all(torch.isfinite(p.grad).all() for p in system.parameters() if p.grad is not None)
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


@cases
def test_labels_that_are_missing_reach_no_loss(case: Case):
    system = case.fitted().train()
    batch = case.batch()
    labels = batch.joints_3d.clone()
    labels[:3] = float("nan")
    labels[5, 4] = float("nan")
    for update in system.updates(0, 0.5):
        loss = total(system(replace(batch, joints_3d=labels), update.name, 0.5))
        loss.backward()
        assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in system.parameters() if p.grad is not None)


@cases
def test_saved_and_loaded_it_predicts_alike_from_raw_pixels(case: Case, tmp_path):
    system = case.fitted().train()
    for update in system.updates(0, 0.5):
        system(case.batch(), update.name, 0.5)  # moves running statistics
    system.eval()
    pretrained.save_pretrained(tmp_path / "model", system, case.config().to_dict(), "card")
    loaded = pretrained.from_pretrained(tmp_path / "model", lambda values, version: build_cross_modal(case.config()))
    batch = case.batch(step=5)
    assert torch.equal(loaded.predict(batch, 2).pose, system.predict(batch, 2).pose)


@cases
def test_losses_are_means_over_samples(case: Case):
    system = case.fitted().eval()
    batch = case.batch(size=16)
    assert system.updates(7, 0.5) == system.updates(7, 0.5)
    for update in system.updates(0, 0.5):
        whole = system(batch, update.name, 0.5)
        halves = [system(batch[part], update.name, 0.5) for part in (slice(0, 8), slice(8, 16))]
        for name, value in whole.items():
            torch.testing.assert_close(0.5 * (halves[0][name] + halves[1][name]), value, atol=1e-4, rtol=1e-3)


@cases
def test_missing_fields_are_named(case: Case):
    system = case.fitted()
    update = system.updates(0, 0.0)[0]
    for name in system.requires:
        with pytest.raises(MissingFieldError, match=name):
            system(replace(case.batch(), **{name: None}), update.name, 0.0)
    for name in system.predict_requires:
        with pytest.raises(MissingFieldError, match=name):
            system.predict(replace(case.batch(), **{name: None}))


@cases
def test_panels_are_images(case: Case):
    panels = case.fitted().eval().panels(case.batch(size=2))
    assert panels
    for image in panels.values():
        assert image.shape[:2] == (2, 3)
        assert 0.0 <= image.min() <= image.max() <= 1.0


@cases
def test_a_few_steps_on_one_batch_lower_the_loss_below_the_mean_pose(case: Case):
    """The mean pose has a standardised error of 1; re-projection starts from a pose of no extent."""
    system = case.fitted().train()
    groups = {name: list(parameters) for name, parameters in system.parameter_groups().items()}
    optimizers = {name: torch.optim.Adam(parameters, lr=3e-3) for name, parameters in groups.items()}
    batch = case.batch(size=8)
    losses = []
    for _ in range(60):
        for update in system.updates(0, 0.5):
            system.zero_grad(set_to_none=True)
            terms = system(batch, update.name, 0.5)
            total(terms).backward()
            for group in update.parameters:
                optimizers[group].step()
        losses.append({name: float(value.detach()) for name, value in terms.items() if "_to_" in name})
    for name, value in losses[-1].items():
        if name.endswith("_to_features"):
            continue  # the critic's features grow as it learns
        assert value < 0.6 * losses[0][name] or value < 0.1, name


def test_draws_depend_on_the_sample_alone():
    system = CASES[0].fitted().eval()
    batch = CASES[0].batch(size=6)
    order = torch.tensor([3, 1, 5])
    torch.testing.assert_close(system.predict(batch[order], 4).pose, system.predict(batch, 4).pose[order])
    numbered = replace(batch, seeds=None, index=torch.from_numpy(np.arange(6)))
    assert torch.isfinite(system.predict(numbered, 2).pose).all()
