import pytest
import torch

from selfsup3d.config.trainer import TrainerConfig
from selfsup3d.errors import InputError
from selfsup3d.training import device
from selfsup3d.training.device import any_process, cpu_has_bf16, make_accelerator


def test_auto_precision_is_bf16_where_the_cpu_has_it(monkeypatch):
    for has, precision in ((True, "bf16"), (False, "no")):
        monkeypatch.setattr(device, "cpu_has_bf16", lambda has=has: has)
        assert make_accelerator(TrainerConfig(device="cpu")).mixed_precision == precision


def test_auto_precision_is_float32_on_cpus_for_depthwise_networks(monkeypatch):
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: True)
    plain, depthwise = torch.nn.Conv2d(8, 8, 3), torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, groups=8))
    settings = TrainerConfig(device="cpu")
    assert make_accelerator(settings, plain).mixed_precision == "bf16"
    assert make_accelerator(settings, depthwise).mixed_precision == "no"
    assert make_accelerator(TrainerConfig(device="cpu", mixed_precision="bf16"), depthwise).mixed_precision == "bf16"


def test_one_process_may_run_with_several_precisions():
    for precision in ("no", "bf16", "no"):
        assert make_accelerator(TrainerConfig(device="cpu", mixed_precision=precision)).mixed_precision == precision


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_fp16_without_a_gpu_is_refused():
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        make_accelerator(TrainerConfig(mixed_precision="fp16"))


@pytest.mark.parametrize(("words", "has"), [("sse avx2", False), ("avx512_bf16", True), ("amx_bf16", True)])
def test_bf16_is_read_from_the_flags(monkeypatch, tmp_path, words, has):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor : 0\nflags\t\t: fpu {words}\n")
    monkeypatch.setattr(device, "Path", lambda _: path)
    assert cpu_has_bf16() is has
    path.unlink()
    assert cpu_has_bf16() is False


def test_threads_are_set_as_configured():
    before = torch.get_num_threads()
    try:
        make_accelerator(TrainerConfig(device="cpu", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "all"),
        ({"OMP_NUM_THREADS": "1"}, 0),
        ({"OMP_NUM_THREADS": "3"}, 0),
        ({"ACCELERATE_MIXED_PRECISION": "no", "OMP_NUM_THREADS": "1"}, "all"),
        ({"ACCELERATE_MIXED_PRECISION": "no", "OMP_NUM_THREADS": "3"}, 0),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}, "half"),
        ({"LOCAL_WORLD_SIZE": "1000"}, 1),
    ],
)
def test_launchers_default_of_one_thread_is_not_believed(monkeypatch, environment, expected):
    for name in ("OMP_NUM_THREADS", "ACCELERATE_MIXED_PRECISION", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cores = device._cores()
    assert device._threads(1) == {"all": cores, "half": max(1, cores // 2)}.get(expected, expected)


def test_one_process_agrees_with_itself():
    accelerator = make_accelerator(TrainerConfig(device="cpu"))
    assert any_process(accelerator, True)
    assert not any_process(accelerator, False)


@pytest.mark.parametrize(("quota", "cores"), [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 3), (None, 3)])
def test_cores_are_physical_ones_within_the_quota(monkeypatch, tmp_path, quota, cores):
    """Six logical CPUs on three cores, two threads each."""
    for cpu in range(6):
        folder = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 3},{cpu % 3 + 3}\n")
    if quota is not None:
        (tmp_path / "fs/cgroup").mkdir(parents=True)
        (tmp_path / "fs/cgroup/cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert device._cores(tmp_path) == cores


def test_cores_without_topology_are_the_logical_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert device._cores(tmp_path) == 2
