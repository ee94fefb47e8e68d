import pytest
import torch
import torchvision
from torchmetrics.functional.classification import multiclass_jaccard_index
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from selfsup3d.errors import InputError
from selfsup3d.evaluation.images import Lpips, find_lpips, iou, label_overlap, masked_psnr, masked_ssim


@pytest.fixture
def images():
    g = torch.Generator().manual_seed(0)
    target = torch.rand(3, 3, 32, 24, generator=g)
    image = (target + 0.1 * torch.randn(3, 3, 32, 24, generator=g)).clamp(0, 1)
    return image, target


def test_psnr_over_everything_is_torchmetrics(images):
    image, target = images
    found = masked_psnr(image, target, torch.ones(3, 1, 32, 24))
    for i in range(3):
        expected = peak_signal_noise_ratio(image[i : i + 1], target[i : i + 1], data_range=1.0)
        assert found[i].item() == pytest.approx(expected.item(), rel=1e-5)


def test_ssim_over_everything_is_torchmetrics(images):
    image, target = images
    mask = torch.zeros(3, 1, 32, 24)
    mask[..., 5:-5, 5:-5] = 1.0  # where no window leaves the image; the libraries pad differently
    _, full = structural_similarity_index_measure(
        image * mask + 0.5 * (1 - mask), target * mask + 0.5 * (1 - mask), data_range=1.0, return_full_image=True
    )
    expected = full[..., 5:-5, 5:-5].mean((1, 2, 3))
    torch.testing.assert_close(masked_ssim(image, target, mask), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("metric", [masked_psnr, masked_ssim])
def test_outside_the_mask_nothing_counts(metric, images):
    image, target = images
    mask = torch.zeros(3, 1, 32, 24)
    mask[:, :, 8:20, 6:18] = 1.0
    spoiled = torch.where(mask > 0, image, torch.rand(3, 3, 32, 24))
    torch.testing.assert_close(metric(spoiled, target, mask), metric(image, target, mask))
    inside = image.clone()
    inside[:, :, 10, 10] = 1 - inside[:, :, 10, 10]
    assert (metric(inside, target, mask) != metric(image, target, mask)).all()


@pytest.mark.parametrize("metric", [masked_psnr, masked_ssim])
def test_empty_masks_are_nan_and_equal_images_are_perfect(metric, images):
    _, target = images
    assert torch.isnan(metric(target, target, torch.zeros(3, 1, 32, 24))).all()
    best = metric(target, target, torch.ones(3, 1, 32, 24))
    assert best.tolist() == pytest.approx([100.0] * 3 if metric is masked_psnr else [1.0] * 3, rel=1e-4)


def test_shapes_are_checked(images):
    image, target = images
    with pytest.raises(ValueError, match=r"\(3, 32, 24\)"):
        masked_psnr(image, target, torch.ones(3, 32, 24))


def test_part_iou_summed_over_frames_is_torchmetrics():
    g = torch.Generator().manual_seed(1)
    pred, target = torch.randint(0, 6, (4, 12, 12), generator=g), torch.randint(0, 6, (4, 12, 12), generator=g)
    counts = label_overlap(pred, target, 5).sum(0).double()
    expected = multiclass_jaccard_index(pred, target, 6, average="none")
    torch.testing.assert_close((counts[:5, 0] / counts[:5, 1]).float(), expected[:5])
    person = ((pred != 5) & (target != 5)).sum() / ((pred != 5) | (target != 5)).sum()
    assert (counts[5, 0] / counts[5, 1]).item() == pytest.approx(float(person))
    assert iou((pred != 5)[:, None].float(), (target != 5)[:, None].float()).sum(0).tolist() == counts[5].tolist()


def test_lpips_is_absent_without_weights_and_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def no_network(*args, **kwargs):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    assert find_lpips() is None
    with pytest.raises(InputError, match=r"missing\.pth"):
        find_lpips(tmp_path / "missing.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not torchvision's alex weights"):
        find_lpips(tmp_path / "other.pth")


def test_lpips_from_a_file_is_the_lpips_package_on_the_same_weights(tmp_path, monkeypatch, images):
    import lpips

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    torch.manual_seed(0)
    backbone = torchvision.models.alexnet(weights=None)  # random: the plumbing is tested, no number is reported
    (tmp_path / "checkpoints").mkdir()
    torch.save(backbone.state_dict(), tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth")
    mine = find_lpips()
    reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    for own, layer in ((n, n.split(".")) for n in reference.net.state_dict()):
        reference.net.state_dict()[own].copy_(backbone.state_dict()[f"features.{layer[1]}.{layer[2]}"])
    image, target = (torch.nn.functional.interpolate(p, (64, 64)) for p in images)
    mask = torch.ones(3, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(mine(image, target, mask), reference(image, target, normalize=True).flatten())
    assert torch.isnan(mine(image, target, torch.zeros_like(mask))).all()
    assert isinstance(mine, Lpips)
    assert not any(p.requires_grad for p in mine.parameters())
