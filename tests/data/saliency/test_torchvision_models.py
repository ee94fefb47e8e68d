import numpy as np
import pytest
import torch

from selfsup3d.data.saliency import torchvision_models as pretrained
from selfsup3d.data.saliency.saliency import video_saliency
from selfsup3d.data.saliency.torchvision_models import DETECTORS, SEGMENTERS, detect_people, detector, find_weights
from selfsup3d.errors import InputError
from selfsup3d.preparation.person_clips import CropSettings, person_clips


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_without_weights_the_message_says_what_to_get():
    with pytest.raises(InputError, match="deeplabv3_resnet101"):
        find_weights(SEGMENTERS)
    with pytest.raises(InputError, match="fasterrcnn"):
        detector()


def test_cached_weights_are_found_and_paths_are_checked(empty_cache, tmp_path):
    empty_cache.mkdir(parents=True)
    name, (_, url) = list(SEGMENTERS.items())[-1]
    (empty_cache / url.rsplit("/", 1)[1]).write_bytes(b"")
    assert find_weights(SEGMENTERS) == (name, empty_cache / url.rsplit("/", 1)[1])
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(InputError, match="must begin"):
        find_weights(DETECTORS, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="no such file"):
        find_weights(DETECTORS, tmp_path / "none.pth")
    with pytest.raises(InputError, match="not the weights"):
        pretrained.segmenter()


def test_saliency_by_a_network_needs_its_weights(toy_clip):
    with pytest.raises(InputError, match="pretrained weights"):
        video_saliency(toy_clip[0][:3], "network")


@pytest.fixture
def segmenter(tmp_path):
    """A file of random weights of the smallest segmenter."""
    torch.manual_seed(0)
    network = SEGMENTERS["lraspp_mobilenet_v3_large"][0](weights=None, weights_backbone=None)
    path = tmp_path / "lraspp_mobilenet_v3_large-random.pth"
    torch.save(network.state_dict(), path)
    return path


def test_plumbing_of_the_segmenter(segmenter, toy_clip):
    frames = toy_clip[0][:6]
    result = video_saliency(frames, "network", weights=segmenter)
    assert result.method == "network"
    assert result.saliency.shape == frames.shape[:3]
    assert result.background.shape == frames.shape[1:]
    moving = video_saliency(frames, "network", static_camera=False, weights=segmenter)
    assert moving.background.shape == frames.shape


def test_other_weights_are_refused(segmenter):
    other = segmenter.with_name("deeplabv3_mobilenet_v3_large-x.pth")
    other.write_bytes(segmenter.read_bytes())
    with pytest.raises(InputError, match="not the weights of deeplabv3_mobilenet_v3_large"):
        pretrained.segmenter(other)


class Finds(torch.nn.Module):
    """Stands for a detector: a person, a dog, and a person it is not sure of."""

    def forward(self, images):
        assert images[0].shape[0] == 3
        return [
            {
                "boxes": torch.tensor([[10.0, 5, 30, 60], [0, 0, 9, 9], [50, 5, 70, 60]]),
                "labels": torch.tensor([1, 18, 1]),
                "scores": torch.tensor([0.9, 0.99, 0.3]),
            }
        ]


def test_only_sure_people_count():
    (boxes,) = detect_people(Finds(), np.zeros((1, 80, 100, 3), np.uint8))
    assert boxes.tolist() == [[10.0, 5.0, 20.0, 55.0]]


def test_detected_people_are_tracked_and_cut_out(tmp_path, monkeypatch, street, save_video):
    """The plumbing, with a detector that sees where the red shirt is."""

    def red(_, frames):
        boxes = []
        for frame in frames:
            y, x = np.nonzero(frame[..., 0].astype(int) - frame[..., 2] > 120)
            w, h = 3 * (np.ptp(x) + 1), 2.6 * (np.ptp(y) + 1)
            boxes.append(np.array([[x.mean() - w / 2, y.mean() - h / 2, w, h]]))
        return boxes

    monkeypatch.setattr("selfsup3d.data.saliency.torchvision_models.detect_people", red)
    monkeypatch.setattr("selfsup3d.data.saliency.torchvision_models.detector", lambda weights: None)
    path = save_video(tmp_path / "a.avi", street(30))
    clips = list(person_clips(path, CropSettings(mode="detector", work=64)))
    assert len(clips) == 1
    assert len(clips[0].frames) >= 25


@pytest.mark.slow
def test_plumbing_of_the_detector(tmp_path):
    network = DETECTORS["fasterrcnn_mobilenet_v3_large_320_fpn"][0](weights=None, weights_backbone=None)
    path = tmp_path / "fasterrcnn_mobilenet_v3_large_320_fpn-random.pth"
    torch.save(network.state_dict(), path)
    boxes = pretrained.detect_people(detector(path), np.zeros((2, 80, 100, 3), np.uint8), least=0.0)
    assert len(boxes) == 2
    assert all(b.shape[1] == 4 for b in boxes)
