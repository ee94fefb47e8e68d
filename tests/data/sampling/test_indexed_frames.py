"""Samples from generated trees: every joint's dot lies, in its colour, where the sample's own K projects the joint."""

import colorsys
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsup3d.data.datasets.backgrounds import Backgrounds
from selfsup3d.data.datasets.h36m.layouts import find_h36m
from selfsup3d.data.datasets.index_build import build_index
from selfsup3d.data.datasets.mpi_inf_3dhp import find_mpi_inf_3dhp
from selfsup3d.data.datasets.threedpw import find_threedpw
from selfsup3d.data.priors.camera_prior import CameraPrior
from selfsup3d.data.sampling.augmentation import Augmentation
from selfsup3d.data.sampling.clip_pairs import PairSource
from selfsup3d.data.sampling.clip_store import ClipStore, finish_store, write_clip
from selfsup3d.data.sampling.indexed_frames import IndexedFrames
from selfsup3d.data.sampling.indexed_poses import IndexedPoses
from selfsup3d.data.sampling.step_dataset import StepStream, TooManyBadSamplesError
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.errors import InputError
from selfsup3d.geometry.camera import project, transform
from selfsup3d.structures.random import RandomStreams
from selfsup3d.structures.skeleton import H36M_17
from tests.data.generators import h36m as generate_h36m
from tests.data.generators import mpi_inf_3dhp as generate_3dhp
from tests.data.generators import threedpw as generate_3dpw
from tests.data.generators import world

for package in ("h5py", "cdflib", "scipy"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Root by dataset: H3.6M as images and as videos, 3DHP, 3DPW."""
    roots = {name: tmp_path_factory.mktemp(name) for name in ("h36m", "h36m_video", "3dhp", "3dpw")}
    generate_h36m.fetch(
        roots["h36m"], generate_h36m.Scene(subjects=("S1", "S9"), trials=("Walking 1",), frames=12, speed=5)
    )
    scene = generate_h36m.Scene(subjects=("S1",), trials=("Walking 1",), frames=6)
    generate_h36m.official(roots["h36m_video"], scene, masks=True)
    generate_3dhp.write_train_sequence(roots["3dhp"], cameras=(0,), frames=8, images="frames", scale=0.5)
    generate_3dhp.write_test_sequence(roots["3dhp"], 1, frames=4, size=(1024, 1024))
    generate_3dpw.write_sequence(roots["3dpw"], frames=5, size=(540, 960))
    return roots


@pytest.fixture(scope="module")
def indices(trees):
    found = {
        "h36m": find_h36m(trees["h36m"]),
        "h36m_video": find_h36m(trees["h36m_video"]),
        "3dhp": find_mpi_inf_3dhp(trees["3dhp"], cameras=(0,)),
        "3dpw": find_threedpw(trees["3dpw"]),
    }
    return {name: build_index(tree, progress=False).index for name, tree in found.items()}


@pytest.fixture(scope="module")
def still(indices):
    """Two cameras of H3.6M: backgrounds take a second each."""
    index = indices["h36m"]
    return index.select(np.isin(index.of_takes("camera"), ["54138969", "55011271"]))


@pytest.fixture(scope="module")
def backgrounds(tmp_path_factory):
    """A folder of small backgrounds that the tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfsup3d.data.datasets.backgrounds._LONGER_SIDE", 250)
        yield tmp_path_factory.mktemp("backgrounds")


def hue(rgb):
    return colorsys.rgb_to_hsv(*(float(c) for c in rgb))


def check_dots(batch, most=0.9):
    """Share of seen joints whose dot is found, by hue, within 3 px of the projection of joints_3d by K."""
    pixels = project(batch.joints_3d.nan_to_num(1.0), batch.K)
    size, hits, looked = batch.target.shape[-1], 0, 0
    for b in range(len(batch)):
        image = batch.target[b].permute(1, 2, 0).numpy()
        for joint in range(17):
            x, y = pixels[b, joint].tolist()
            if not torch.isfinite(batch.joints_3d[b, joint]).all() or not (4 <= x < size - 4 and 4 <= y < size - 4):
                continue
            patch = image[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].reshape(-1, 3)
            wanted = hue([c / 255 for c in world.colour(joint)])[0]
            found = [hue(p) for p in patch]
            near = [min(abs(h - wanted), 1 - abs(h - wanted)) for h, s, v in found if s > 0.45 and v > 0.4]
            hits, looked = hits + bool(near and min(near) < 0.035), looked + 1
    assert looked > 8 * len(batch)
    assert hits / looked > most, f"{hits} of {looked}"


@pytest.mark.parametrize("crop", ["box", "cube"])
@pytest.mark.parametrize("name", ["h36m", "h36m_video", "3dhp", "3dpw"])
def test_joints_lie_on_the_image(indices, name, crop):
    source = IndexedFrames(indices[name], 192, crop=crop)
    batch = source.frames(np.linspace(0, len(source) - 1, 8).round().astype(int))
    check_dots(batch, 0.8)  # dots cover one another
    known = torch.isfinite(batch.joints_3d).all(-1)
    off = (project(batch.joints_3d.nan_to_num(1.0), batch.K) - batch.joints_2d)[known].abs().max()
    assert off < (2.5 if name.startswith("h36m") else 0.02)  # lens distortion stays in 2D
    assert (batch.K[:, :2, 2] == 96).all()
    assert [m["dataset"] for m in batch.meta] == [indices[name].dataset] * 8


def test_mirrored_or_swapped_joints_would_be_noticed(indices):
    source = IndexedFrames(indices["h36m"], 192)
    batch = source.frames(np.arange(8))
    with pytest.raises(AssertionError):
        check_dots(replace(batch, joints_3d=batch.joints_3d[:, list(H36M_17.flip_order)]), 0.8)


def test_root_relative_errors_are_those_of_the_real_camera(indices):
    index = indices["h36m"]
    batch = IndexedFrames(index, 64).frames(np.arange(5))
    real = torch.from_numpy(index.joints_3d[:5])
    ours = batch.joints_3d
    distances = lambda j: torch.cdist(j, j)  # noqa: E731
    torch.testing.assert_close(distances(ours), distances(real), atol=1e-4, rtol=0)
    torch.testing.assert_close(ours[:, 0].norm(dim=-1), real[:, 0].norm(dim=-1), atol=1e-4, rtol=0)


def unsupervised(index, folder, **more):
    return IndexedFrames(
        index,
        64,
        backgrounds=Backgrounds(folder, index),
        pose_prior=ProceduralPrior(),
        camera_prior=CameraPrior(64),
        **more,
    )


def streams(step=0, count=6):
    return RandomStreams(7, step, np.arange(count))


def test_unsupervised_samples_have_what_pairs_have_and_no_label(still, backgrounds, tmp_path, toy_clip):
    source = unsupervised(still, backgrounds, augmentation=Augmentation())
    batch = source.batch(streams())
    for label in ("joints_3d", "joints_2d", "confidence", "part_labels", "bone_lengths", "source_joints_3d"):
        assert getattr(batch, label) is None, label
    write_clip(tmp_path / "store", "clip_00000", toy_clip[0])
    finish_store(tmp_path / "store", ["clip_00000"], {})
    pairs = PairSource(ClipStore(tmp_path / "store"), ProceduralPrior(), CameraPrior(64)).batch(streams())
    for name, value in vars(pairs).items():
        if isinstance(value, torch.Tensor):
            assert getattr(batch, name) is not None, name
            assert getattr(batch, name).shape == value.shape, name
            assert getattr(batch, name).dtype == value.dtype, name


def test_saliency_finds_the_person_and_backgrounds_do_not(still, backgrounds):
    source = unsupervised(still, backgrounds)
    batch = source.frames(np.arange(len(source))[::5])
    found = project(batch.joints_3d, batch.K).round().long().clamp(0, 63)
    inside = [batch.target_saliency[b, 0, y, x] for b in range(len(batch)) for x, y in found[b, :9].tolist()]
    assert np.mean([float(v) for v in inside]) > 0.8
    assert 0.02 < float(batch.target_saliency.mean()) < 0.3
    saturation = batch.target_background.amax(1) - batch.target_background.amin(1)
    bright = batch.target.amax(1) - batch.target.amin(1)
    assert float((saturation > 0.6).float().mean()) < 0.1 * float(
        (bright > 0.6).float().mean()
    )  # dots of people are gone
    assert len(list(backgrounds.rglob("*.npz"))) == 4  # one for each person and camera


def test_given_masks_stand_in_for_saliency(indices, backgrounds, tmp_path):
    index = indices["h36m_video"].select(np.arange(6))
    source = IndexedFrames(index, 64, backgrounds=Backgrounds(tmp_path, index), given_masks=True)
    batch = source.frames(np.arange(6))
    found = project(batch.joints_3d, batch.K).round().long().clamp(0, 63)
    inside = [batch.target_saliency[b, 0, y, x] for b in range(len(batch)) for x, y in found[b, :9].tolist()]
    assert np.mean([float(v) for v in inside]) > 0.9
    assert float(batch.target_saliency[..., :2, :2].max()) < 0.1


@pytest.mark.parametrize("pair", ["person", "take"])
def test_pairs_are_of_one_person(indices, tmp_path, pair):
    index = indices["h36m"]
    source = IndexedFrames(index, 32, labels=True, pair=pair)
    again = streams(count=64)
    target = source._rows.target(again)
    other = source._rows.of_same_person(again, target) if pair == "person" else source._within_take(again, target)
    people = index.of_takes("person")
    assert (people[target] == people[other]).all()
    assert set(people[target]) == {"S1", "S9"}
    if pair == "take":
        assert (index.take[target] == index.take[other]).all()
    batch = source.batch(streams())
    assert batch.bone_lengths.shape == (6, 17)
    assert batch.target_saliency is None


def test_samples_depend_on_their_number_alone(still, backgrounds):
    source = unsupervised(still, backgrounds, augmentation=Augmentation())
    whole = source.batch(RandomStreams(7, 3, np.arange(6)))
    part = source.batch(RandomStreams(7, 3, np.array([4, 1])))
    torch.testing.assert_close(part.target, whole.target[[4, 1]])
    torch.testing.assert_close(part.unpaired_background, whole.unpaired_background[[4, 1]])


def test_unreadable_images_are_replaced_in_training_and_skipped_in_evaluation(trees, tmp_path):
    shutil.copytree(trees["h36m"], tmp_path / "h36m")
    index = build_index(find_h36m(tmp_path / "h36m"), progress=False).index
    folder = tmp_path / "h36m/processed/S1/Walking-1/imageSequence/54138969"
    for number in (1, 2):
        (folder / f"img_{number:06d}.jpg").unlink()
    (folder / "img_000003.jpg").write_bytes(b"\xff\xd8\xff")
    source = IndexedFrames(index, 32)
    batch = source.frames(np.arange(6))
    unknown = torch.isnan(batch.joints_3d).all((1, 2))
    assert unknown.tolist() == [True, True, True, False, False, False]
    strict = IndexedFrames(index, 32, max_unreadable=2)
    with pytest.raises(InputError, match=r"3 images cannot be read \(limit 2\); the first: .*img_000001\.jpg"):
        strict.frames(np.arange(6))
    stream = StepStream(source, seed=0, batch_size=64)
    assert len(stream[0][0]) == 64
    assert stream.bad_samples > 0
    shutil.rmtree(tmp_path / "h36m/processed/S1/Walking-1/imageSequence")
    with pytest.raises(TooManyBadSamplesError, match="could not be read"):
        StepStream(source, seed=0, batch_size=64, bad_sample_limit=5)[0]


def test_a_damaged_recording_without_background_is_skipped_in_evaluation(tmp_path):
    scene = generate_h36m.Scene(subjects=("S1",), trials=("Walking",), frames=6, speed=5)
    generate_h36m.official(tmp_path, scene)
    (tmp_path / "S1/Videos/Walking.55011271.mp4").write_bytes(b"")
    index = build_index(find_h36m(tmp_path), progress=False).index
    backgrounds = Backgrounds(tmp_path / "backgrounds", index)
    source = IndexedFrames(index, 32, backgrounds=backgrounds)
    batch = source.frames(np.array([0, 6, 7]))
    assert torch.isnan(batch.joints_3d).all((1, 2)).tolist() == [False, True, True]
    assert batch.target_saliency[1:].max() == 0
    fits = []
    backgrounds.fit = fits.append
    source.frames(np.array([8, 9]))
    assert fits == []  # it is not read again for each frame
    with pytest.raises(InputError, match="55011271"):
        source.batch(RandomStreams(0, 0, np.arange(64)))


def test_wrong_wishes_are_told(indices, tmp_path):
    with pytest.raises(InputError, match="moves, so it has no background background"):
        IndexedFrames(indices["3dpw"], 32, backgrounds=Backgrounds(tmp_path, indices["3dpw"]))
    with pytest.raises(InputError, match="no detected 2D joints"):
        IndexedFrames(indices["h36m"], 32, keypoints="detected")
    with pytest.raises(InputError, match="odd"):
        IndexedPoses(indices["h36m"], frames_per_sample=2)


# ---- lifters ----


def test_lifter_samples_are_in_full_pixels(indices):
    source = IndexedPoses(indices["3dpw"])
    batch = source.frames(np.arange(len(source)))
    known = torch.isfinite(batch.joints_3d).all(-1)
    off = (project(batch.joints_3d.nan_to_num(1.0), batch.K) - batch.joints_2d)[known].abs().max()
    assert off < 0.02
    assert batch.bbox[0].tolist() == [0, 0, 540, 960]
    detected = IndexedPoses(indices["3dpw"], keypoints="detected").frames(np.arange(len(source)))
    seen = (detected.confidence > 0) & (batch.confidence > 0)
    assert 2 < (detected.joints_2d - batch.joints_2d)[seen].norm(dim=-1).max() < 60
    assert (detected.confidence[:, 7] == 0).all()  # detectors mark no spine


def test_windows_stay_within_a_take(indices):
    index = indices["h36m"]
    source = IndexedPoses(index, frames_per_sample=5)
    rows = np.array([0, 5, 11])  # takes hold 12 frames
    batch = source.frames(rows)
    assert batch.joints_2d.shape == (3, 5, 17, 2)
    expected = index.joints_2d[[0, 0, 0, 1, 2]]
    np.testing.assert_allclose(batch.joints_2d[0], expected)
    np.testing.assert_allclose(batch.joints_2d[1], index.joints_2d[3:8])
    np.testing.assert_allclose(batch.joints_2d[2], index.joints_2d[[9, 10, 11, 11, 11]])
    np.testing.assert_allclose(batch.joints_3d, index.joints_3d[rows])


def test_unpaired_poses_of_lifters_are_other_rows_with_their_cameras(indices):
    batch = IndexedPoses(indices["h36m"]).batch(streams(count=20))
    camera = batch.unpaired_camera
    seen = transform(batch.unpaired, camera.rotation, camera.translation)
    assert float(batch.unpaired[:, 0].abs().max()) < 1e-5
    assert float(batch.unpaired[:, 8, 2].min()) > 0.3  # the neck is up
    assert float(seen[..., 2].min()) > 2
    prior = IndexedPoses(indices["h36m"], pose_prior=ProceduralPrior(), camera_prior=CameraPrior(1000))
    assert prior.batch(streams()).unpaired.shape == (6, 17, 3)


def test_frames_give_each_row_once(indices):
    index = indices["h36m"]
    source = IndexedPoses(index)
    batch = source.frames(np.arange(len(source)))
    np.testing.assert_array_equal(batch.joints_3d.numpy(), index.joints_3d)
    assert batch.index.tolist() == list(range(len(index)))
