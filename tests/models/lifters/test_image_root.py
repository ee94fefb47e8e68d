"""The promises of `test_contracts`, kept by the one head of this folder that takes images."""

from dataclasses import fields, replace

import pytest
import torch

from selfsup3d.builders.systems import build_system
from selfsup3d.config.run import Config
from selfsup3d.io import pretrained
from selfsup3d.structures.batch import Batch, MissingFieldError

CONFIG = Config.model_validate({"system": {"kind": "image_root", "backbone": "resnet10t"}})


@pytest.fixture
def batch():
    torch.manual_seed(0)
    joints = 0.3 * torch.randn(6, 17, 3) + torch.tensor([0.0, 0.0, 4.0])
    K = torch.tensor([[100.0, 0.0, 16.0], [0.0, 100.0, 16.0], [0.0, 0.0, 1.0]]).expand(6, 3, 3)
    return Batch(target=torch.rand(6, 3, 32, 32), joints_3d=joints, K=K)


@pytest.fixture
def system(batch):
    torch.manual_seed(0)
    system = build_system(CONFIG)
    system.fit([batch])
    return system


def test_every_parameter_is_in_one_group_and_trained(system, batch):
    groups = [p for group in system.parameter_groups().values() for p in group]
    assert {id(p) for p in groups} == {id(p) for p in system.parameters()}
    optimizer = torch.optim.Adam(groups, lr=1e-3)
    errors = []
    for _ in range(12):
        (update,) = system.updates(0, 0.0)
        optimizer.zero_grad()
        loss = sum(system.train()(batch, update.name, 0.0).values())
        loss.backward()
        assert all(p.grad is not None for p in groups)
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.7 * errors[0]


def test_predict_looks_at_the_image_and_its_camera_alone(system, batch):
    system.eval()
    bare = replace(batch, **{f.name: None for f in fields(batch) if f.name not in ("target", "K", "skeleton", "meta")})
    full, alone = system.predict(batch), system.predict(bare)
    assert torch.equal(alone.pose, full.pose)
    assert torch.equal(alone.root, full.root)
    assert full.pose.shape == (6, 1, 17, 3)
    assert not full.pose[:, :, 0].any()


def test_labels_that_are_missing_reach_no_loss(system, batch):
    system.eval()
    joints = batch.joints_3d.clone()
    joints[1, 5], joints[2] = float("nan"), float("nan")
    found = []
    for labels in (joints, joints.nan_to_num(7.0)):
        system.zero_grad()
        terms = system(replace(batch, joints_3d=labels), "root", 0.0)
        sum(terms.values()).backward()
        found.append(terms)
        assert all(torch.isfinite(p.grad).all() for p in system.parameters())
    assert found[0]["root"] < found[1]["root"]
    whole = system(batch, "root", 0.0)
    kept = torch.tensor([0, 1, 3, 4, 5])
    torch.testing.assert_close(found[0]["root"] * 6, system(batch[kept], "root", 0.0)["root"] * 5)
    assert found[0]["pose"] < whole["pose"]


def test_saved_and_loaded_it_predicts_alike(system, batch, tmp_path):
    system.train()(batch, "root", 0.0)  # moves running statistics
    pretrained.save_pretrained(tmp_path / "model", system.eval(), CONFIG.to_dict(), "card")
    loaded = pretrained.from_pretrained(tmp_path / "model", lambda values, version: build_system(CONFIG))
    assert torch.equal(loaded.predict(batch).pose, system.predict(batch).pose)
    assert torch.equal(loaded.predict(batch).root, system.predict(batch).root)


def test_missing_fields_are_named(system, batch):
    for name in system.requires:
        with pytest.raises(MissingFieldError, match=name):
            system(replace(batch, **{name: None}), "root", 0.0)
    for name in system.predict_requires:
        with pytest.raises(MissingFieldError, match=name):
            system.predict(replace(batch, **{name: None}))
