"""What every lifter promises, tested over all of them at once."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from selfsup3d.builders.lifters import LIFTERS, build_lifter
from selfsup3d.config.lifters import LIFTER_CONFIGS
from selfsup3d.io import pretrained
from selfsup3d.models.lifters.base import Lifter
from selfsup3d.models.system import System
from selfsup3d.structures.batch import MissingFieldError
from selfsup3d.structures.joint_formats import FOREIGN
from tests.models.lifters.catalogue import CASES, Case

cases = pytest.mark.parametrize("case", CASES, ids=str)
PROGRESS = (0.0, 0.99)  # the flow of ElePose comes first, its lifter later


def state(system):
    return {name: value.clone() for name, value in system.state_dict().items()}


def test_every_kind_of_lifter_is_here():
    kinds = {config.model_fields["kind"].default for config in LIFTER_CONFIGS}
    assert kinds == set(LIFTERS)
    assert kinds - {"image_root"} == {case.system["kind"] for case in CASES}


@cases
def test_an_update_gives_gradients_to_its_own_parameters_and_all_are_trained(case: Case):
    system = case.fitted().train()
    groups = {name: list(parameters) for name, parameters in system.parameter_groups().items()}
    counted = [id(p) for parameters in groups.values() for p in parameters]
    assert len(counted) == len(set(counted)), "groups overlap"
    assert set(counted) == {id(p) for p in system.parameters()}, "a parameter is in no group"
    reached = set()
    for progress in PROGRESS:
        for update in system.updates(3, progress):
            system.zero_grad(set_to_none=True)
            terms = system(case.batch(), update.name, progress)
            sum(v for k, v in terms.items() if not k.startswith("_")).backward()
            own = [p for group in update.parameters for p in groups[group]]
            assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in own), f"{update.name} trains nothing"
            reached |= {id(p) for p in own if p.grad is not None}
    names = {id(p): name for name, p in system.named_parameters()}
    assert not sorted(names[i] for i in set(counted) - reached), "never gets a gradient"


@cases
def test_a_step_changes_the_parameters_of_its_update_only(case: Case):
    system = case.fitted().train()
    groups = {name: list(parameters) for name, parameters in system.parameter_groups().items()}
    for progress in PROGRESS:
        for update in system.updates(0, progress):
            before = {id(p): p.detach().clone() for p in system.parameters()}
            own = [p for group in update.parameters for p in groups[group]]
            system.zero_grad(set_to_none=True)
            terms = system(case.batch(), update.name, progress)
            sum(v for k, v in terms.items() if not k.startswith("_")).backward()
            torch.optim.SGD(own, lr=1e-3).step()
            changed = {id(p) for p in system.parameters() if not torch.equal(p, before[id(p)])}
            assert changed
            assert changed <= {id(p) for p in own}


@cases
def test_predict_uses_the_keypoints_and_their_camera_alone(case: Case):
    system = case.fitted().eval()
    batch = case.batch()
    bare = replace(batch, **{f.name: None for f in fields(batch) if f.name not in ("joints_2d", "confidence", "K",
                                                                                 "skeleton", "meta")})  # fmt: skip
    full, alone = system.predict(batch), system.predict(bare)
    torch.testing.assert_close(alone.pose, full.pose)
    assert full.pose.shape == (16, 1, 17, 3)
    assert not full.pose[:, :, 0].any(), "the root is kept, at zero"
    lies = replace(batch, joints_3d=torch.full_like(batch.joints_3d, 7.0))
    torch.testing.assert_close(system.predict(lies).pose, full.pose)


@cases
def test_what_stands_at_a_missing_joint_is_never_seen(case: Case):
    system = case.fitted().eval()
    batch = case.batch()
    confidence = batch.confidence.clone()
    confidence[..., 13] = 0.0
    confidence[:4, ..., 0] = 0.0
    found = []
    for value in (0.0, 1e5, float("nan")):
        joints = batch.joints_2d.clone()
        joints[confidence == 0] = value
        given = None if value != value else confidence  # NaN alone marks a joint as missing, too
        found.append(system.predict(replace(batch, joints_2d=joints, confidence=given)).pose)
    assert torch.isfinite(found[0]).all()
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


@cases
def test_nan_in_missing_joints_reaches_no_loss_or_gradient(case: Case):
    system = case.fitted().train()
    batch = case.batch()
    joints = batch.joints_2d.clone()
    joints[:5, ..., 13, :] = float("nan")
    confidence = torch.isfinite(joints).all(-1).float()
    for progress in PROGRESS:
        for update in system.updates(0, progress):
            system.zero_grad(set_to_none=True)
            terms = system(replace(batch, joints_2d=joints, confidence=confidence), update.name, progress)
            total = sum(v for k, v in terms.items() if not k.startswith("_"))
            total.backward()
            assert torch.isfinite(total)
            assert all(torch.isfinite(p.grad).all() for p in system.parameters() if p.grad is not None)


@cases
def test_saved_and_loaded_it_lifts_raw_pixels_alike(case: Case, tmp_path):
    system = case.fitted().train()
    for progress in PROGRESS:
        for update in system.updates(0, progress):
            system(case.batch(), update.name, progress)  # moves running statistics
    system.eval()
    config = case.config().to_dict()
    pretrained.save_pretrained(tmp_path / "model", system, config, "card")
    loaded = pretrained.from_pretrained(tmp_path / "model", lambda values, version: build_lifter(case.config()))
    assert isinstance(loaded, System)
    batch = case.batch(step=5)
    assert torch.equal(loaded.predict(batch).pose, system.predict(batch).pose)
    statistics = [name for name in system.state_dict() if name.startswith("normalizer.")]
    assert len(statistics) >= 9 or not isinstance(system, Lifter)  # what is no `Lifter` collects none


@cases
def test_the_declared_unit_is_true(case: Case):
    """Metres are metres and heads are heads within a factor of two, after a few steps on one batch."""
    if case.system["kind"] == "repnet":
        pytest.skip("its critic sets the unit, which takes thousands of steps: see test_repnet")
    system = case.fitted(size=64).train()
    groups = {name: list(parameters) for name, parameters in system.parameter_groups().items()}
    optimizers = {name: torch.optim.Adam(parameters, lr=4e-3) for name, parameters in groups.items()}
    batch = case.batch(size=64)
    steps = 60
    for step in range(steps):
        # Over so few steps a falling BatchNorm momentum would leave the running statistics near their start.
        progress = step / steps if "flow" in groups else 0.0
        for update in system.updates(step, progress):
            system.zero_grad(set_to_none=True)
            terms = system(batch, update.name, progress)
            sum(v for k, v in terms.items() if not k.startswith("_")).backward()
            for group in update.parameters:
                optimizers[group].step()
    system.eval()
    output = system.predict(batch)
    assert output.unit in ("m", "head=1", "relative")
    true = (batch.joints_3d[:, 10] - batch.joints_3d[:, 0]).norm(dim=-1).nanmedian()
    found = output.pose[:, 0, 10].norm(dim=-1).median()
    if output.unit == "m":
        assert 0.5 < found / true < 2.0
    if output.unit == "head=1":
        assert 0.5 < found < 2.0


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
def test_updates_depend_on_the_step_alone_and_losses_are_means_over_samples(case: Case):
    """Two halves of a batch average to the whole, where no BatchNorm or running statistic is in between."""
    system = case.fitted().eval()
    batch = case.batch(size=16)
    assert system.updates(7, 0.5) == system.updates(7, 0.5)
    for update in system.updates(0, 0.99):
        before = state(system)
        whole = system(batch, update.name, 0.99)
        system.load_state_dict(before)
        halves = []
        for part in (slice(0, 8), slice(8, 16)):
            halves.append(system(batch[part], update.name, 0.99))
            system.load_state_dict(before)
        for name, value in whole.items():
            # ElePose pairs neighbours of a batch, and GANs rest by the whole batch's accuracy.
            if (
                not name.startswith("_")
                and name != "pairs"
                and not (case.system["kind"] == "adversarial_depth" and value == 0)
            ):
                mean = 0.5 * (halves[0][name] + halves[1][name])
                torch.testing.assert_close(mean, value, atol=2e-3, rtol=2e-2)


@cases
def test_keypoints_of_any_tabled_skeleton_are_lifted(case: Case):
    system = case.fitted().eval()
    rng = np.random.default_rng(0)
    for skeleton in FOREIGN.values():
        joints = rng.uniform(300, 700, (2, len(skeleton), 2)).astype(np.float32)
        ours, confidence = skeleton.convert(joints)
        batch = replace(
            case.batch(size=2), joints_2d=torch.from_numpy(ours), confidence=torch.from_numpy(confidence), K=None
        )
        assert torch.isfinite(system.predict(batch).pose).all(), skeleton.name
