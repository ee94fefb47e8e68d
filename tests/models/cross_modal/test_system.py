"""Settings that contradict each other, what is shared, adversarial updates, and the traps of an earlier implementation."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from selfsup3d.config.cross_modal import AdversaryConfig, CrossModalConfig
from selfsup3d.config.run import Config
from selfsup3d.evaluation.measure import measure
from selfsup3d.evaluation.protocols import Protocol
from selfsup3d.models.cross_modal.system import CrossModalVAE
from tests.models.cross_modal.catalogue import CASES, SMALL, Case, pairs

TINY = {"latent": 4, "width": 8, "blocks": 1, "image_norm": "group"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pairs": ()}, "needs pairs"),
        ({"fusion": "poe"}, "needs encoders and decoders"),
        ({"fusion": "moe", "encoders": ("sound",), "decoders": ("image",)}, "joints_2d"),
        ({"predict_from": ("image",)}, "predict_from"),
        ({"pairs": ("joints_3d->joints_3d",), "predict_from": ("joints_3d",)}, "predict_from"),
        ({"supervision": "reprojection", "pairs": ("image->joints_3d",)}, "reprojection needs"),
        ({"adversary": AdversaryConfig(judges="image")}, "needs a decoder of image"),
        ({"adversary": AdversaryConfig(judges="joints_2d")}, "judges re-projected"),
        ({"supervision": "reprojection", "adversary": AdversaryConfig(judges="joints_3d")}, "judges re-projected"),
    ],
)
def test_contradicting_settings_raise(settings, words):
    with pytest.raises(ValueError, match=words):
        CrossModalVAE(CrossModalConfig(**settings, **TINY), 16)


@pytest.mark.parametrize(
    "values",
    [
        {"fusion": "poe"},
        {"encoders": ["image"]},
        {"beta": {"ramp": 1.0}},
        {"beta": {"hold": 0.9}},
        {"beta": {"reach": 1.0}},
        {"adversary": {"smoothing": 1.2}},
    ],
)
def test_contradicting_configs_raise(values):
    with pytest.raises(ValidationError):
        Config.model_validate({"system": SMALL | values})


def test_smoothed_labels_above_one_raise():
    """The cross entropy of an earlier implementation's label 1.2 has no minimum."""
    with pytest.raises(ValueError, match="smoothing"):
        AdversaryConfig(judges="joints_3d", smoothing=1.2)


def test_all_pairs_share_one_set_of_encoders_and_decoders():
    system = next(case for case in CASES if case.name == "all pairs").build()
    assert set(system.encoders) == {"image", "joints_2d"}
    assert set(system.decoders) == {"image", "joints_3d"}
    terms = system(CASES[0].batch(), "vae", 0.5)
    assert {name for name in terms if "_to_" in name} == {
        "image_to_image",
        "image_to_joints_3d",
        "joints_2d_to_joints_3d",
        "joints_2d_to_image",
    }


def test_beta_is_logged_and_weighs_the_divergence():
    case = Case("annealed", {"beta": {"schedule": "annealed", "maximum": 0.5}})
    system = case.fitted()
    early, late = (system(case.batch(), "vae", progress) for progress in (0.0, 0.9))
    assert early["_beta"] == 0.0
    assert early["kl_joints_2d"] == 0.0
    assert late["_beta"] == pytest.approx(0.5)
    torch.testing.assert_close(late["kl_joints_2d"], 0.5 * late["_nats_joints_2d"] / 48)


@pytest.mark.parametrize("name", ["critic of poses", "hybrid", "re-projection"])
def test_adversarial_gradients_reach_encoders_only_without_labels(name):
    case = next(case for case in CASES if case.name == name)
    system = case.fitted().train()
    system(case.batch(), "vae", 0.0)["adversarial"].backward()
    reached = any(p.grad is not None and p.grad.abs().sum() > 0 for p in system.encoders.parameters())
    assert reached == (name == "re-projection")
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in system.decoders.parameters())


@pytest.mark.parametrize("name", ["critic of poses", "hybrid", "re-projection"])
def test_a_critic_learns_to_tell(name):
    case = next(case for case in CASES if case.name == name)
    system = case.fitted().train()
    optimizer = torch.optim.Adam(system.adversary.parameters(), lr=3e-3)
    batch = case.batch(size=32)
    for _ in range(60):
        optimizer.zero_grad()
        terms = system(batch, "critic", 0.0)
        terms["adversarial"].backward()
        optimizer.step()
    assert terms["_accuracy"] > 0.9


def test_hybrid_replaces_pixels_by_features():
    case = next(case for case in CASES if case.name == "hybrid")
    terms = case.fitted()(case.batch(), "vae", 0.0)
    assert terms["image_to_image"] == 0.0
    assert terms["image_to_features"] > 0.0


def test_reprojection_never_reads_a_3d_label():
    case = next(case for case in CASES if case.name == "re-projection")
    system = case.fitted()
    bare = replace(case.batch(), joints_3d=None, unpaired=None, unpaired_camera=None)
    unlabelled = case.build()
    unlabelled.fit([replace(case.batch(100 + step, 32), joints_3d=None) for step in range(4)])
    for update in ("critic", "vae"):
        torch.testing.assert_close(system(bare, update, 0.5), unlabelled(bare, update, 0.5))
    assert "joints_3d" not in system.requires


def test_keypoints_and_their_pose_stay_one_when_weights_are_averaged():
    import copy

    system = next(case for case in CASES if case.name == "re-projection").build()
    twin = copy.deepcopy(system)
    assert twin.modalities["joints_3d"].shared[0] is twin.modalities["joints_2d"]
    assert twin.adversary.others[0] is twin.modalities["joints_3d"]


def test_mirror_images_are_not_forgiven_and_the_root_is_not_averaged_in():
    case = Case("2D to 3D")
    pose = case.fitted().eval().predict(case.batch()).pose[:, 0].double()
    truth = pose.clone()
    truth[..., 0] *= -1  # the mirror image
    found = measure(pose, truth, torch.ones(12, 17).bool(), Protocol().flags)
    assert found.frame["pa_mpjpe"].min() > 1.0
    moved = pose.clone()
    moved[:, 1:] += 0.1
    found = measure(moved, pose, torch.ones(12, 17).bool(), Protocol().flags)
    expected = torch.full((12,), 100 * 3**0.5, dtype=torch.float64)
    torch.testing.assert_close(found.frame["mpjpe"], expected)


def test_several_encoders_predict_together():
    case = Case("poe", {"pairs": [], "fusion": "poe", "encoders": ["joints_2d", "image"],
                        "decoders": ["joints_3d"], "predict_from": ["joints_2d", "image"]})  # fmt: skip
    system = case.fitted().eval()
    assert system.predict_requires == ("joints_2d", "target")
    batch = case.batch()
    alone = [system.predict_with(batch, (name,)).pose for name in ("joints_2d", "image")]
    together = system.predict(batch).pose
    assert not torch.allclose(together, alone[0])
    assert not torch.allclose(together, alone[1])


def test_samples_of_a_mixture_alternate_between_its_experts():
    case = next(case for case in CASES if case.name == "mixture")
    system = case.fitted().eval()
    batch = case.batch()
    z = system.streams(batch, ("joints_2d", "image"), 3)
    noise = system._noise(batch)
    for s, name in ((1, "joints_2d"), (2, "image")):
        expert = system.posterior(batch, (name,), alone=True)
        torch.testing.assert_close(z[:, s], expert.sample(noise(2000 + s - 1)))


def test_images_of_poses_that_have_none_are_refused():
    from selfsup3d.builders.systems import build_system
    from selfsup3d.errors import InputError

    config = Config.model_validate({"system": SMALL | pairs("image->joints_3d"), "data": {"kind": "projected"}})
    with pytest.raises(InputError, match="no images"):
        build_system(config)
    wrong = Config.model_validate({"system": SMALL | {"pairs": ["2d->3d"]}})
    with pytest.raises(InputError, match="'2d->3d' is no pair"):
        build_system(wrong)
    unknown = Config.model_validate({"system": SMALL | pairs("image->joints_3d") | {"backbone": "resnet1"}})
    with pytest.raises(InputError, match="resnet1"):
        build_system(unknown)


def test_decoders_see_all_their_views_at_once_and_no_prior_in_their_statistics():
    """With BatchNorm, what training normalises together prediction must not normalise apart."""
    case = Case("bn", pairs("image->joints_3d", "joints_2d->joints_3d", norm="batch",
                            adversary={"judges": "joints_3d", "width": 8, "blocks": 1}))  # fmt: skip
    system = case.fitted().train()
    decoder = system.decoders["joints_3d"]
    sizes = []
    decoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    system(case.batch(size=12), "vae", 0.0)
    assert sizes == [24, 36], "two views; then, for the critic, with draws from the prior"
    norm = next(m for m in decoder.modules() if isinstance(m, torch.nn.BatchNorm1d))
    before = norm.running_mean.clone()
    system(case.batch(size=12), "critic", 0.0)
    torch.testing.assert_close(norm.running_mean, before)
