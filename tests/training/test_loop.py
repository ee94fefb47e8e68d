"""The loop on a tiny real system: what changes, what does not, and that interruptions leave no trace."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from selfsup3d.errors import InputError
from selfsup3d.models.system import Update
from selfsup3d.structures.random import RandomStreams
from selfsup3d.training.loop import train
from tests.training.toy import Autoencoder, Noise, config


def final(folder, name="training.safetensors"):
    """Tensors of the newest checkpoint."""
    return load_file(sorted((folder / "checkpoints").glob("step-*"))[-1] / name)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


class Interrupted(Noise):
    """Sends this process a signal while it makes the samples of a step."""

    def __init__(self, step, number=signal.SIGTERM):
        super().__init__()
        self.step, self.number = step, number

    def batch(self, streams):
        if streams.step == self.step:
            signal.raise_signal(self.number)  # handled at once: two in a row would else count as one
        return super().batch(streams)


@pytest.mark.parametrize(
    ("mode", "optimizer", "more"),
    [
        ("two", "adamw", {}),
        ("two", "adagrad", {"dropout": 0.5}),
        ("shared", "sgd", {"norm": True}),
        ("fused", "adam", {"dropout": 0.2, "norm": True}),
        ("fused", "rmsprop", {}),
    ],
)
def test_resumed_run_equals_uninterrupted_one_bit_for_bit(tmp_path, mode, optimizer, more):
    settings = {"optimizer": {"kind": optimizer, "lr": 0.01, "momentum": 0.5}}
    whole = train(config(tmp_path / "whole", **settings), Autoencoder(mode, **more), Noise())
    assert whole.stopped is None
    assert whole.step == 8

    first = train(config(tmp_path / "cut", **settings), Autoencoder(mode, **more), Interrupted(4))
    assert first.stopped == "SIGTERM"
    assert first.step == 5
    second = train(config(tmp_path / "cut", resume="auto", **settings), Autoencoder(mode, **more), Interrupted(4))
    assert second.stopped is None

    for name in ("training.safetensors", "model.safetensors", "optimizers.safetensors"):
        assert_same(final(tmp_path / "whole", name), final(tmp_path / "cut", name))
    logs = [(tmp_path / run / "scalars.jsonl").read_text().splitlines() for run in ("whole", "cut")]
    lines = [[{k: v for k, v in json.loads(x).items() if k != "samples_per_second"} for x in log] for log in logs]
    assert lines[0] == lines[1]


@pytest.fixture
def _interruptible():
    """Ctrl-C as Python has it: shells start what they run in the background without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_second_interrupt_is_not_swallowed(tmp_path):
    class Impatient(Interrupted):
        def batch(self, streams):
            batch = super().batch(streams)
            return super().batch(streams) if streams.step == self.step else batch

    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path), Autoencoder(), Impatient(2, signal.SIGINT))


class Abandoned(Noise):
    """At a step its process gets another parent."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.monkeypatch = monkeypatch

    def batch(self, streams):
        if streams.step == 2:
            another = os.getppid() + 1  # whatever it was: in a container it may be 1 already
            self.monkeypatch.setattr(os, "getppid", lambda: another)
        return super().batch(streams)


@pytest.mark.parametrize("launched", [True, False])
def test_the_end_of_the_launcher_stops_the_run(tmp_path, monkeypatch, launched):
    """Whoever was started from a shell lives on without it."""
    for name in ("ACCELERATE_MIXED_PRECISION", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    if launched:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    result = train(config(tmp_path, fit_batches=1), Autoencoder(), Abandoned(monkeypatch))
    assert (result.step, result.stopped) == ((3, "the end of its launcher") if launched else (8, None))


def test_a_closed_terminal_saves_as_sigterm_does(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have used nohup
    try:
        result = train(config(tmp_path), Autoencoder(), Interrupted(2, signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (result.step, result.stopped) == (3, "SIGHUP")
    assert (tmp_path / "checkpoints" / "step-00000003").is_dir()


def test_nohup_outlives_its_terminal(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        result = train(config(tmp_path), Autoencoder(), Interrupted(2, signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (result.step, result.stopped) == (8, None)


def test_handlers_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    train(config(tmp_path, steps=1), Autoencoder(), Noise())
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


class Recording(Autoencoder):
    """Takes one update, whose name is also the group that it updates."""

    def __init__(self, group):
        super().__init__()
        self.group = group

    def updates(self, step, progress):
        return [Update("encode", (self.group,), "one")]


@pytest.mark.parametrize("kind", ["adamw", "adam", "adagrad", "rmsprop", "sgd"])
@pytest.mark.parametrize("group", ["encoder", "decoder"])
def test_only_the_parameters_of_the_update_change(tmp_path, kind, group):
    system = Recording(group)
    before = {name: value.clone() for name, value in system.state_dict().items()}
    optimizer = {"kind": kind, "lr": 0.01, "weight_decay": 0.1, "warmup": 0.0}
    train(config(tmp_path, steps=2, optimizer=optimizer), system, Noise())
    for name, value in system.state_dict().items():
        if name.split(".")[0] in (group, "mean"):
            assert not torch.equal(value, before[name]), name
        else:
            assert torch.equal(value, before[name]), name
    assert all(p.requires_grad for p in system.parameters())


def test_accumulated_batches_equal_one_big_batch(tmp_path):
    one = {"optimizer": {"kind": "sgd", "lr": 0.1, "warmup": 0.0}}
    train(config(tmp_path / "big", batch_size=8, **one), Autoencoder(), Noise())
    train(config(tmp_path / "small", batch_size=2, accumulation=4, **one), Autoencoder(), Noise())
    big, small = final(tmp_path / "big"), final(tmp_path / "small")
    for name in big:
        torch.testing.assert_close(small[name], big[name], rtol=1e-5, atol=1e-7)


def test_workers_do_not_change_the_result(tmp_path):
    for workers in (0, 2):
        train(config(tmp_path / str(workers), workers=workers), Autoencoder(), Noise())
    assert_same(final(tmp_path / "0"), final(tmp_path / "2"))


def test_seed_changes_the_result(tmp_path):
    for seed in (0, 1):
        train(config(tmp_path / str(seed), seed=seed), Autoencoder(), Noise())
    assert not torch.equal(final(tmp_path / "0")["decoder.weight"], final(tmp_path / "1")["decoder.weight"])


def test_it_learns(tmp_path):
    run = config(tmp_path, steps=150, log_every=10, checkpoint_every=150)
    train(run, Autoencoder("fused"), Noise())
    lines = [json.loads(line) for line in (tmp_path / "scalars.jsonl").read_text().splitlines()]
    assert lines[-1]["loss/all/image"] < 0.7 * lines[0]["loss/all/image"]
    assert lines[-1]["lr/main"] < lines[1]["lr/main"]


def test_averaged_weights_are_returned_and_stored(tmp_path):
    result = train(config(tmp_path, ema=0.5), Autoencoder(), Noise())
    averaged, trained = final(tmp_path, "model.safetensors"), final(tmp_path)
    assert_same(averaged, dict(result.system.state_dict()))
    assert not torch.equal(averaged["decoder.weight"], trained["decoder.weight"])
    assert not result.system.training


def test_without_averaging_one_set_of_weights_is_kept(tmp_path):
    system = Autoencoder()
    result = train(config(tmp_path, ema=0.0), system, Noise())
    assert result.system is system
    assert not list(tmp_path.glob("checkpoints/*/training.safetensors"))
    again = train(config(tmp_path, ema=0.0, resume="auto"), Autoencoder(), Noise())
    assert_same(dict(again.system.state_dict()), dict(system.state_dict()))


def test_start_from_released_weights(tmp_path):
    train(config(tmp_path / "a"), Autoencoder(), Noise())
    system = Autoencoder()
    run = config(tmp_path / "b", weights=tmp_path / "a", optimizer={"lr": 1e-12}, ema=0.0)
    train(run, system, Noise())
    for name, value in final(tmp_path / "a", "model.safetensors").items():
        torch.testing.assert_close(system.state_dict()[name], value, rtol=1e-5, atol=1e-7)


def test_fresh_tensors_begin_at_random(tmp_path):
    train(config(tmp_path / "a"), Autoencoder(), Noise())
    system = Autoencoder()
    name, *others = system.state_dict()
    before = system.state_dict()[name].clone()
    train(config(tmp_path / "b", weights=tmp_path / "a", fresh=(name,), optimizer={"lr": 1e-12}, ema=0.0),
          system, Noise())  # fmt: skip
    torch.testing.assert_close(system.state_dict()[name], before, rtol=1e-5, atol=1e-7)
    given = final(tmp_path / "a", "model.safetensors")
    assert all(torch.allclose(system.state_dict()[other], given[other], atol=1e-6) for other in others)
    with pytest.raises(InputError, match=r"fresh: no tensor is called 'nothing.\*'"):
        train(config(tmp_path / "c", weights=tmp_path / "a", fresh=("nothing.*",)), Autoencoder(), Noise())


def test_longer_run_goes_on_from_a_finished_one(tmp_path):
    train(config(tmp_path, steps=4), Autoencoder(), Noise())
    assert train(config(tmp_path, steps=6, resume="auto"), Autoencoder(), Noise()).step == 6
    assert train(config(tmp_path, steps=6, resume="auto"), Autoencoder(), Noise()).step == 6


def test_a_run_cannot_be_resumed_beyond_its_end(tmp_path):
    train(config(tmp_path, steps=4), Autoencoder(), Noise())
    with pytest.raises(InputError, match=r"trainer.steps is 3, but .*step-00000004 is at step 4 already"):
        train(config(tmp_path, steps=3, resume="auto"), Autoencoder(), Noise())


class Unfitted(Autoencoder):
    """Collects no statistics, which the broken sample would spoil."""

    def fit(self, batches):
        pass


def test_bad_step_is_named_skipped_and_leaves_the_state(tmp_path, capsys):
    broken = Noise({(0, 2)})
    system = Unfitted(norm=True)
    before = {name: value.clone() for name, value in system.state_dict().items()}
    train(config(tmp_path, steps=1, fit_batches=1), system, broken)
    told = capsys.readouterr().err
    assert "step 0, update 'encode': input 'target' is not finite in sample 2 (dataset noise, file image2.png)" in told
    for name, value in system.state_dict().items():
        if name != "mean":
            assert torch.equal(value, before[name]), name


def test_too_many_bad_steps_stop_the_run_with_the_last_good_state(tmp_path):
    broken = Noise({(step, 0) for step in (5, 6, 7)})
    with pytest.raises(FloatingPointError, match=r"stopped at step 7: 3 steps had NaN or Inf.*max_bad_steps is 2"):
        train(config(tmp_path, max_bad_steps=2), Autoencoder(), broken)
    train(config(tmp_path / "good", steps=8, checkpoint_every=5), Autoencoder(), Noise({(s, 0) for s in (5, 6, 7)}))
    kept = load_file(tmp_path / "checkpoints" / "step-00000007" / "training.safetensors")
    assert all(torch.isfinite(value).all() for value in kept.values())
    assert_same(kept, load_file(tmp_path / "good" / "checkpoints" / "step-00000005" / "training.safetensors"))


class Exploding(Autoencoder):
    """One loss term is infinite for bright images."""

    def losses(self, batch, update, progress):
        terms = super().losses(batch, update, progress)
        brightness = batch.target.mean((1, 2, 3))
        terms["bright"] = torch.where(brightness == brightness.max(), float("inf"), brightness).mean()
        return terms


def test_bad_loss_term_is_named_with_its_sample(tmp_path, capsys):
    train(config(tmp_path, steps=1), Exploding(), Noise())
    assert "step 0, update 'encode': loss term 'bright' is inf in sample 0 (dataset noise" in capsys.readouterr().err


class Cornered(Autoencoder):
    """A finite loss with an infinite gradient: the square root at zero, for one sample."""

    def losses(self, batch, update, progress):
        terms = super().losses(batch, update, progress)
        zero = (self.encoder[0].weight * 0.0).abs().sum()
        terms["corner"] = (zero + (batch.index != 2).float()).sqrt().mean()
        return terms


def test_bad_gradient_is_named_with_its_term_and_sample(tmp_path, capsys):
    train(config(tmp_path, steps=1), Cornered(), Noise())
    told = "step 0, update 'encode': the gradient of encoder.0.weight is not finite, though every loss term is: "
    where = "it comes from loss term 'corner' in sample 2 (dataset noise, file image2.png); the step is skipped"
    assert told + where in capsys.readouterr().err


class Entangled(Autoencoder):
    """An infinite gradient that no sample has alone: of what several have in common."""

    def losses(self, batch, update, progress):
        zero = (self.encoder[0].weight * 0.0).abs().sum()
        return super().losses(batch, update, progress) | {"corner": (zero + (len(batch) == 1)).sqrt()}


def test_bad_gradient_of_no_sample_alone(tmp_path, capsys):
    train(config(tmp_path, steps=1), Entangled(), Noise())
    assert "though every loss term is: it comes from no loss term of a sample alone" in capsys.readouterr().err


def test_missing_field_is_an_error_that_names_it(tmp_path):
    class Needy(Autoencoder):
        requires = ("target", "joints_3d")

    with pytest.raises(ValueError, match="Needy needs joints_3d"):
        train(config(tmp_path), Needy(), Noise())


class Unreadable(Noise):
    def batch(self, streams):
        if (streams.indices >= 20).any():
            raise InputError("videos/a.mp4: damaged after frame 3")
        return super().batch(streams)


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_bad_samples_end_the_run_with_a_clean_message(tmp_path, workers):
    with pytest.raises(InputError) as caught:
        train(config(tmp_path, max_bad_samples=3, workers=workers), Autoencoder(), Unreadable())
    assert str(caught.value).startswith("noise: 4 samples could not be read")
    assert "videos/a.mp4" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_images_and_evaluations_are_logged(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    calls = []

    def evaluate(system):
        calls.append(system.training)
        return {"mpjpe": 1.5}

    run = config(tmp_path, image_every=4, evaluate_every=4)
    train(run, Autoencoder(), Noise(), images=Noise().batch(RandomStreams(0, 0, np.arange(3))), evaluate=evaluate)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Images("panels")] == [4, 8]
    assert [(e.step, e.value) for e in events.Scalars("val/mpjpe")] == [(4, 1.5)]
    assert len(events.Scalars("loss/encode/image")) == 8
    assert calls == [False]


def test_evaluation_in_between_leaves_the_run_as_it_is(tmp_path):
    def evaluate(system):
        torch.rand(100)
        return {}

    for name, every in (("with", 2), ("without", 0)):
        train(config(tmp_path / name, evaluate_every=every), Autoencoder(dropout=0.5), Noise(), evaluate=evaluate)
    assert_same(final(tmp_path / "with"), final(tmp_path / "without"))


@pytest.mark.parametrize("settings", [{"mixed_precision": "bf16"}, {"channels_last": True}, {"deterministic": True}])
def test_options_run(tmp_path, settings):
    try:
        result = train(config(tmp_path, steps=2, **settings), Autoencoder(), Noise())
    finally:
        torch.use_deterministic_algorithms(False)
    assert result.step == 2
    assert all(p.dtype == torch.float32 for p in result.system.parameters())


def test_deterministic_mode_gives_the_same_bits_again(tmp_path):
    try:
        for name in "ab":
            train(config(tmp_path / name, deterministic=True), Autoencoder(dropout=0.3), Noise())
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)
    for tensors in ("training.safetensors", "optimizers.safetensors"):
        assert_same(final(tmp_path / "a", tensors), final(tmp_path / "b", tensors))


def test_bf16_resumes_bit_for_bit(tmp_path):
    settings = {"mixed_precision": "bf16"}
    train(config(tmp_path / "whole", **settings), Autoencoder(), Noise())
    train(config(tmp_path / "cut", **settings), Autoencoder(), Interrupted(4))
    train(config(tmp_path / "cut", resume="auto", **settings), Autoencoder(), Noise())
    assert_same(final(tmp_path / "whole"), final(tmp_path / "cut"))


def test_an_update_without_a_loss_raises(tmp_path):
    class Silent(Autoencoder):
        def losses(self, batch, update, progress):
            return {"_seen": batch.target.mean()}

    with pytest.raises(ValueError, match="update 'encode' has no loss term to optimise"):
        train(config(tmp_path), Silent(), Noise())


@pytest.mark.slow
def test_compiled_networks_train_alike(tmp_path):
    for name, compiled in (("plain", False), ("compiled", True)):
        train(config(tmp_path / name, steps=3, compile=compiled), Autoencoder(), Noise())
    plain, compiled = final(tmp_path / "plain"), final(tmp_path / "compiled")
    assert plain.keys() == compiled.keys()
    for name in plain:
        torch.testing.assert_close(compiled[name], plain[name], rtol=1e-3, atol=1e-4)
