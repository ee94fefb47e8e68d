from dataclasses import replace

import pytest
import torch

from selfsup3d.geometry.camera import project
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.models.part_guided.forward_pass import ForwardPass
from selfsup3d.models.part_guided.pose import mean_joints, pose_of_joints
from selfsup3d.models.part_guided.system import ALGORITHM_1, PartGuided
from selfsup3d.puppet.labels import part_labels
from selfsup3d.structures.batch import Batch, MissingFieldError

STAGE_PROGRESS = {"pretrain": 0.0, "decoder": 0.3, "joint": 0.9}
VARIANTS = [
    {},
    {"supervision": "pretrain"},
    {"supervision": "teacher"},
    {"supervision": "2d"},
    {"supervision": "3d"},
    {"supervision": "3d", "bone_lengths": "given"},
    {"supervision": "3d", "pretrain": {"source": "none"}},
    {"kinematics": False},
    {"saliency": False},
    {"adaptation": False},
    {"composite": False},
    {"frames": "gram_schmidt"},
    {"optimizers": "per_loss"},
    {"foreground": "decoded"},
    {"textures": True},
    {"textures": True, "saliency": False, "optimizers": "per_loss"},
]


def snapshot(system: PartGuided) -> dict[str, dict[int, torch.Tensor]]:
    groups = system.parameter_groups()
    return {name: {id(p): p.detach().clone() for p in parameters} for name, parameters in groups.items()}


def fitted(system: PartGuided, batch: Batch) -> PartGuided:
    system.fit([batch])
    return system


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize("stage", list(STAGE_PROGRESS))
def test_every_update_of_every_variant_gives_its_parameters_finite_gradients(make_system, batch, variant, stage, step):
    system = fitted(make_system(**variant), batch)
    progress = STAGE_PROGRESS[stage]
    for update in system.updates(step, progress):
        system.zero_grad()
        terms = system(batch, update.name, progress)
        assert terms
        torch.stack(list(terms.values())).sum().backward()
        groups = {name: list(parameters) for name, parameters in system.parameter_groups().items()}
        for name in update.parameters:
            gradients = [p.grad for p in groups[name] if p.grad is not None]
            assert gradients, f"turn {update.name} reaches no parameter of {name}"
            assert all(torch.isfinite(g).all() for g in gradients)


def test_groups_are_disjoint_and_complete(make_system):
    system = make_system()
    ids = [id(p) for group in system.parameter_groups().values() for p in group]
    assert len(ids) == len(set(ids)) == len(list(system.parameters()))


def test_odd_steps_adapt_the_encoder_and_even_ones_the_decoder(make_system):
    system = make_system(optimizers="per_loss")
    odd, even = system.updates(1, 0.9), system.updates(2, 0.9)
    for turns, groups in ((odd, [("pose", "appearance"), ("appearance",)]), (even, [("decoder",), ("decoder",)])):
        assert [t.parameters for t in turns if t.name.startswith(("L_p", "L_a"))] == groups
    assert {t.optimizer for t in odd} == {*ALGORITHM_1, "pretrain"}
    assert [t.optimizer for t in odd] == [t.optimizer for t in even]


def energy_gradients(system: PartGuided, batch: Batch, adapted: str, loss: str = "L_p") -> dict[str, bool]:
    """Which parameter groups an energy reaches."""
    forward = ForwardPass(system, system.teacher, batch, beta=1.0, freeze_pose=False, adapted=adapted)
    system.zero_grad()
    torch.stack(list(forward.algorithm_1(loss).values())).sum().backward()
    return {
        name: any(p.grad is not None and p.grad.abs().sum() > 0 for p in group)
        for name, group in system.parameter_groups().items()
    }


def test_fused_energies_reach_one_side(make_system, batch):
    system = fitted(make_system(), batch)
    assert energy_gradients(system, batch, "encoder") == {"pose": True, "appearance": False, "decoder": False}
    for loss in ("L_p", "L_a"):
        reached = energy_gradients(system, batch, "decoder", loss)
        assert reached == {"pose": False, "appearance": False, "decoder": True}


def test_literal_energies_pass_through_both(make_system, batch):
    system = fitted(make_system(optimizers="per_loss"), batch)
    for adapted in ("encoder", "decoder"):
        assert all(energy_gradients(system, batch, adapted).values())


def test_the_literal_pose_energy_compares_poses_alone(make_system, batch):
    literal, fused = (fitted(make_system(optimizers=kind), batch) for kind in ("per_loss", "fused"))
    named = lambda terms: {name.removeprefix("L_p/") for name in terms if name.startswith("L_p/")}  # noqa: E731
    assert named(literal(batch, "L_p/encoder", 0.9)) == {"canonical", "posed", "pixels"}
    assert named(fused(batch, "joint/encoder", 0.9)) > {"canonical", "posed", "pixels", "heat", "crop", "left_right"}


def test_2d_labels_teach_crop_heat_maps_and_assignment(make_system, batch):
    """Each of the three gives gradient to a network of its own."""
    system = fitted(make_system(supervision="2d", pretrain={"source": "none"}), batch)
    for term, name in (("crop", "localizer"), ("left_right", "left_right"), ("heat", "maps")):
        system.zero_grad()
        system(batch, "joint/encoder", 0.9)[f"known_pose/labelled_{term}"].backward()
        reached = [n for n, p in system.encoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        assert any(name in n for n in reached), f"{term}: {sorted({n.split('.')[0] for n in reached})}"


def test_samples_without_2d_labels_teach_no_place(make_system, batch):
    system = fitted(make_system(supervision="2d"), batch)
    unlabelled = replace(batch, confidence=torch.zeros_like(batch.confidence))
    terms = system(unlabelled, "joint/encoder", 0.9)
    assert all(terms[f"known_pose/labelled_{name}"] == 0 for name in ("crop", "heat", "left_right"))


def test_the_decoders_own_foreground_is_an_option(make_system, batch):
    own, puppet = (fitted(make_system(foreground=kind), batch) for kind in ("decoded", "puppet"))
    name = "L_I_u/foreground"
    found = own(batch, "decoder", 0.3)
    assert found[name] != puppet(batch, "decoder", 0.3)[name]
    decoded = ForwardPass(own, None, batch, beta=1.0, freeze_pose=True, adapted="").decoded["st"]
    mask = 1.0 - decoded.segmentation.softmax(1)[:, -1:]
    difference = (decoded.image - batch.target).abs().mean(1, keepdim=True)
    expected = ((mask * difference).sum((1, 2, 3)) / mask.sum((1, 2, 3))).mean()
    torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)


def test_opposed_predictions_do_not_meet_in_a_point(batch):
    """Mirrored along all axes, a pose and its opposite have the mean 0: the first is kept; near ones are averaged."""
    poses = batch.joints_3d - batch.joints_3d[:, :1]
    assert torch.equal(mean_joints(torch.stack([poses, -poses])), poses)
    moved = poses + 0.01
    torch.testing.assert_close(mean_joints(torch.stack([poses, moved])), poses + 0.005)
    mixed = mean_joints(torch.stack([poses, torch.cat([-poses[:2], moved[2:]])]))
    torch.testing.assert_close(mixed, torch.cat([poses[:2], poses[2:] + 0.005]))
    body = pose_of_joints(mixed + batch.joints_3d[:, :1], batch.K)
    assert torch.isfinite(body.canonical).all()


def test_a_per_loss_update_decodes_only_the_images_of_its_loss(make_system, batch):
    system = fitted(make_system(optimizers="per_loss"), batch)
    decoded = []
    system.decoder.register_forward_hook(lambda _, __, out: decoded.append(len(out.image) // len(batch)))
    terms = {}
    for update in system.updates(1, 0.9):
        terms |= system(batch, update.name, 0.9)
    assert dict(zip((t.name for t in system.updates(1, 0.9) if t.name != "pretrain"), decoded, strict=True)) == {
        "L_p/encoder": 1,
        "L_a/encoder": 1,
        "L_I_u": 1,
        "L_I_c": 2,
        "L_seg": 1,
    }
    beta = system.beta_at(0.9)
    forward = ForwardPass(
        system, system.teacher, batch, beta, freeze_pose=False, adapted="encoder"
    )  # all images in one pass
    for loss in ALGORITHM_1:
        for name, value in forward.algorithm_1(loss).items():
            alone = terms[f"{loss}/{name}"]
            torch.testing.assert_close(alone, value.mean(), rtol=1e-4, atol=1e-5)
    assert decoded[-1] == 3


def test_the_pose_of_the_source_keeps_no_graph(make_system, batch):
    forward = ForwardPass(fitted(make_system(), batch), None, batch, beta=1.0, freeze_pose=False, adapted="encoder")
    assert not forward.encoding_s.local_vectors.requires_grad
    assert forward.encoding_s.appearance.requires_grad
    assert forward.encoding_t.local_vectors.requires_grad


def test_losses_are_means_over_samples(make_system, batch):
    system = fitted(make_system(), batch)
    whole = system(batch, "joint/encoder", 0.9)
    halves = [system(part, "joint/encoder", 0.9) for part in (batch[:2], batch[2:])]
    for name, value in whole.items():
        torch.testing.assert_close(value, (halves[0][name] + halves[1][name]) / 2, msg=name)


def test_no_label_reaches_the_unsupervised_losses(make_system, batch):
    system = fitted(make_system(), batch)
    poisoned = Batch(**{**vars(batch), "joints_3d": None, "joints_2d": None, "bone_lengths": None, "confidence": None})
    for update in ("pretrain", "decoder", "joint/encoder"):
        progress = STAGE_PROGRESS[update.partition("/")[0]]
        first, second = system(batch, update, progress), system(poisoned, update, progress)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_predict_uses_no_label_and_declares_metres(make_system, batch):
    system = fitted(make_system(), batch).eval()
    plain = system.predict(Batch(target=batch.target, K=batch.K))
    full = system.predict(batch)
    assert torch.equal(plain.pose, full.pose)
    assert plain.unit == "m"
    assert plain.pose.shape == (4, 1, 17, 3)
    assert (plain.pose[:, :, 0] == 0).all()
    torch.testing.assert_close(plain.segmentation.sum(1), torch.ones(4, 32, 32))


def test_predicted_bones_have_the_fitted_lengths(make_system, batch):
    system = fitted(make_system(), batch).eval()
    pose = system.predict(batch).canonical[:, 0]
    torch.testing.assert_close(bone_lengths(pose), system.bone_lengths.expand(4, -1), atol=1e-5, rtol=0)


def test_without_kinematics_no_canonical_pose_is_claimed(make_system, batch):
    output = fitted(make_system(kinematics=False), batch).eval().predict(batch)
    assert output.canonical is None
    torch.testing.assert_close(
        project(output.pose[:, 0] + output.root, batch.K), output.joints_2d[:, 0], atol=1e-3, rtol=1e-4
    )


def test_missing_fields_are_named(make_system, batch):
    system = make_system(supervision="3d")
    with pytest.raises(MissingFieldError, match="joints_3d"):
        system(Batch(**{**vars(batch), "joints_3d": None}), "pretrain", 0.0)


def test_joints_that_were_not_labelled_change_nothing(make_system, batch):
    system = fitted(make_system(supervision="2d"), batch)
    confidence = batch.confidence.clone()
    confidence[0, 3] = confidence[1] = 0.0
    hidden = [batch.joints_2d.masked_fill((confidence == 0)[..., None], value) for value in (torch.nan, 0.0, -3.0 * 32)]
    results = [system(replace(batch, joints_2d=j, confidence=confidence), "joint/encoder", 0.9) for j in hidden]
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)
    assert all(torch.isfinite(value) for value in results[0].values())


def test_panels_show_one_image_each(make_system, batch):
    panels = fitted(make_system(), batch).eval().panels(batch)
    assert {tuple(p.shape) for p in panels.values()} == {(4, 3, 32, 32)}


def test_stages_follow_their_fractions(make_system):
    system = make_system(stages=(0.5, 0.25, 0.25))
    assert [system.stage(p) for p in (0.0, 0.49, 0.5, 0.74, 0.75, 1.0)] == ["pretrain"] * 2 + ["decoder"] * 2 + [
        "joint"
    ] * 2


def test_where_no_stage_paints_the_puppet_is_the_segmentation(make_system, batch):
    system = fitted(make_system(supervision="teacher", stages=(1.0, 0.0, 0.0)), batch).eval()
    assert "target_saliency" not in system.requires
    output = system.predict(batch)
    body = system.pose(system.encode(batch.target, batch.K))
    maps, geometry = system.maps(body.joints, batch.K, (32, 32))
    assert output.image is None
    assert (output.segmentation.argmax(1) == part_labels(maps, geometry, (32, 32), system.puppet).parts).all()
    assert fitted(make_system(), batch).eval().predict(batch).image is not None


def test_the_decoder_stage_leaves_the_pose_path_frozen(make_system, batch):
    system = fitted(make_system(), batch)
    system.zero_grad()
    torch.stack(list(system(batch, "decoder", 0.3).values())).sum().backward()
    assert all(p.grad is None for p in system.encoder.pose_parameters())


def test_supervision_overfits_a_few_samples(make_system, batch):
    torch.manual_seed(0)
    system = fitted(make_system(supervision="3d", pretrain={"source": "none"}, bone_lengths="given"), batch)
    batch = replace(batch, bone_lengths=bone_lengths(batch.joints_3d))
    optimizer = torch.optim.Adam(system.encoder.parameters(), lr=3e-3)

    def error() -> float:
        relative = batch.joints_3d - batch.joints_3d[:, :1]
        return (system.predict(batch).pose[:, 0] - relative).norm(dim=-1).mean().item()

    before = error()
    for step in range(150):
        optimizer.zero_grad()
        batch = replace(batch, seeds=torch.arange(len(batch)) + step * len(batch))  # crops a little off, each time anew
        sum(system(batch, "pretrain", 0.0).values()).backward()
        optimizer.step()
    assert error() < 0.35 * before


def test_rendered_people_are_learned_from_where_they_are_the_source(make_system, batch):
    """Images, not only shapes: other people in the same poses give other losses, and puppets stay puppets."""
    rendered = replace(batch, rendered=batch.target, rendered_parts=torch.full((4, *batch.target.shape[-2:]), 10))
    other = replace(rendered, rendered=1.0 - batch.target)

    def loss(source: str, samples: Batch) -> torch.Tensor:
        system = fitted(make_system(pretrain={"source": source}), batch)
        return torch.stack(list(system.losses(samples, "pretrain", 0.0).values())).sum()

    assert loss("people", rendered) != loss("people", other)
    assert loss("both", rendered) != loss("both", other)
    assert loss("puppet", rendered) == loss("puppet", other)
    with pytest.raises(MissingFieldError, match="rendered"):
        make_system(pretrain={"source": "people"})(batch, "pretrain", 0.0)


def test_without_a_decoder_rendered_people_leave_the_appearance_alone(make_system, batch):
    system = fitted(make_system(pretrain={"source": "people"}, supervision="pretrain"), batch)
    samples = replace(batch, rendered=batch.target, rendered_parts=torch.full((4, *batch.target.shape[-2:]), 10))
    torch.stack(list(system.losses(samples, "pretrain", 0.0).values())).sum().backward()
    assert all(p.grad is None for p in system.encoder.appearance.parameters())
    assert any(p.grad is not None for p in system.encoder.backbone.parameters())
