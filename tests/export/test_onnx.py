import json

import pytest
import torch

from selfsup3d.commands.options import export as export_command
from selfsup3d.data.priors.camera_prior import CameraPrior
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.errors import InputError
from selfsup3d.export import onnx as onnx_export
from selfsup3d.export.onnx import (
    TOLERANCE,
    DecoderModule,
    EncoderModule,
    PredictionModule,
    dense_part_maps,
    example_inputs,
    export_onnx,
    export_program,
    onnx_difference,
)
from selfsup3d.geometry.camera import default_intrinsics
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.models.part_guided.backbone import PatchResNet
from selfsup3d.models.part_guided.decoder import Decoder
from selfsup3d.models.part_guided.encoder import Encoder
from selfsup3d.models.part_guided.system import PartGuided
from selfsup3d.puppet.puppet import default_puppet
from selfsup3d.puppet.transform import part_geometry, part_maps
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import H36M_17

SIZE = 32


@pytest.fixture(scope="module")
def system():
    import numpy as np

    torch.manual_seed(0)
    encoder = Encoder(PatchResNet((16, 32), (1, 1)), width=16, hidden=32, channels=8, appearance_width=8)
    system = PartGuided(encoder, Decoder(10, 8, (16, 16, 8))).eval()
    poses = ProceduralPrior(motions=8).sample(RandomStreams(0, 0, np.arange(8)))
    system.bone_lengths.copy_(bone_lengths(poses).mean(0))
    return system


def libraries():
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra: export)")


@pytest.mark.parametrize("kind", [pytest.param(EncoderModule, marks=pytest.mark.slow), DecoderModule])
def test_onnxruntime_gives_what_torch_gives(system, tmp_path, kind):
    libraries()
    module = kind(system).eval()
    export_onnx(module, tmp_path / "m.onnx", SIZE)
    for count in (1, 3):  # exported with 2
        found = onnx_difference(module, tmp_path / "m.onnx", SIZE, count)
        assert set(found) == set(module.outputs)
        assert max(found.values()) <= TOLERANCE


@pytest.mark.slow
def test_the_example_of_the_help_runs_and_the_tensors_are_what_they_say(system, tmp_path, monkeypatch, capsys):
    """The lines that `export --help` prints, on a file of this system."""
    libraries()
    import numpy as np
    import onnx

    export_onnx(EncoderModule(system).eval(), tmp_path / "encoder.onnx", SIZE)
    monkeypatch.chdir(tmp_path)
    text = export_command.__doc__.split("uint8 RGB array of one person):")[1]
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    assert len(lines) == 10
    space = {"crop": np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8)}
    exec("\n".join(lines), space)  # our own docstring
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()] == [*H36M_17.joint_names, "pelvis"]
    pose, K = space["pose"], space["K"]
    np.testing.assert_allclose(pose["joints_3d"][0], pose["canonical"][0] @ pose["rotation"][0].T, atol=1e-5)
    seen = (pose["joints_3d"] + pose["translation"][:, None]) @ K.transpose(0, 2, 1)
    np.testing.assert_allclose(seen[..., :2] / seen[..., 2:], pose["joints_2d"], atol=1e-2)
    model = onnx.load("encoder.onnx")
    assert all(value.doc_string for value in (*model.graph.input, *model.graph.output))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert "metres" in facts["meaning.translation"]
    assert json.loads(facts["default_K"]) == np.asarray(default_intrinsics(SIZE)).tolist()


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14), reason="older versions of torch fix the number"
)
@pytest.mark.parametrize("kinematics", [True, False])
def test_the_exported_encoder_takes_any_number_of_images(system, tmp_path, kinematics):
    """`len` of a tensor would fix the number to that of the example."""
    if not kinematics:
        system = PartGuided(
            Encoder(
                PatchResNet((16, 32), (1, 1)), width=16, hidden=32, channels=8, appearance_width=8, kinematics=False
            ),
            system.decoder,
        )
    module = EncoderModule(system).eval()
    export_program(module, tmp_path / "e.pt2", SIZE)
    loaded = torch.export.load(tmp_path / "e.pt2").module()
    for count in (1, 3):  # exported with 2
        inputs = example_inputs(module, SIZE, count)
        for found, expected in zip(loaded(*inputs), module(*inputs), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_whole_prediction_is_exported_and_loaded_again(system, tmp_path):
    module = PredictionModule(system).eval()
    export_program(module, tmp_path / "p.pt2", SIZE)
    loaded = torch.export.load(tmp_path / "p.pt2").module()
    inputs = example_inputs(module, SIZE, count=5, seed=4)
    from selfsup3d.structures.batch import Batch

    output = system.predict(Batch(target=inputs[0], K=inputs[1]))
    found = dict(zip(module.outputs, loaded(*inputs), strict=True))
    torch.testing.assert_close(found["canonical"], output.canonical[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found["joints_2d"], output.joints_2d[:, 0], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found["image"], output.image, atol=1e-3, rtol=0)
    torch.testing.assert_close(found["segmentation"].softmax(1), output.segmentation, atol=1e-3, rtol=0)


def test_dense_part_maps_are_the_part_maps():
    import numpy as np

    streams = RandomStreams(0, 0, np.arange(6))
    poses = ProceduralPrior(motions=8).sample_upright(streams)
    camera = CameraPrior(SIZE).sample(streams, poses=poses)
    joints = poses.joints @ camera.rotation.transpose(-1, -2) + camera.translation[:, None]
    joints[1, 3] = joints[1, 2] + 1e-3  # a shin seen along itself
    joints[2, 6, 2] = -0.5  # an ankle behind the camera
    puppet = default_puppet()
    geometry = part_geometry(joints, camera.K, puppet)
    assert (geometry.share < 1).any()
    expected = part_maps(geometry, (SIZE, SIZE), puppet)
    torch.testing.assert_close(dense_part_maps(geometry, (SIZE, SIZE)), expected, atol=1e-5, rtol=0)


def test_a_missing_library_names_the_extra(system, tmp_path, monkeypatch):
    def absent(name, *rest):
        raise ImportError(name)

    monkeypatch.setattr(onnx_export.importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"onnx is not installed.*-e '\.\[export\]"):
        export_onnx(EncoderModule(system), tmp_path / "m.onnx", SIZE)
    assert not list(tmp_path.iterdir())
