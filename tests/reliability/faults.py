"""Faults of the machine: a full disk, little shared memory, few open files, a user whom the system does not know, signals.

Each fault runs commands as people do, in processes of their own, and says what came of it.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from selfsup3d.data.saliency.saliency import Saliency
from selfsup3d.data.sampling.clip_store import finish_store, save_clip
from selfsup3d.data.synthetic.cache import prepare

__all__ = ["FAULTS", "Place", "Unavailable"]

ROOT = Path(__file__).parents[2]
RECIPE = """
system: {{kind: martinez, width: 16, blocks: 1}}
data: {{kind: synthetic, preset: tiny-test, size: 32, root: "{cache}"}}
trainer: {{steps: 4, batch_size: 2, workers: 0, images: 0, device: cpu, fit_batches: 1, threads: 1, checkpoint_every: 2}}
"""


class Unavailable(Exception):
    """This machine does not let the fault be made (no right to mount, or to be another user)."""


@dataclass
class Place:
    """A folder with what the commands need.

    Attributes:
        folder: of everything. recipe: a config that trains in seconds. keypoints: of 300 frames. videos: a folder of two.
        clips: a store of 400 clips. images: a folder of two, of which one has as long a name as a file can have.
    """

    folder: Path
    recipe: Path = field(init=False)
    keypoints: Path = field(init=False)
    videos: Path = field(init=False)
    clips: Path = field(init=False)
    images: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        prepare(self.folder / "cache", "tiny-test", 32, ("train", "val"), workers=0, progress=False)
        self.recipe = self.folder / "tiny.yaml"
        self.recipe.write_text(RECIPE.format(cache=self.folder / "cache"))
        self.keypoints = self.folder / "k.json"
        points = np.random.default_rng(0).uniform(10, 90, (300, 17, 3)).round(1)
        self.keypoints.write_text(
            json.dumps([{"image_id": k, "keypoints": p.ravel().tolist()} for k, p in enumerate(points)])
        )
        self.videos, self.images = self.folder / "videos", self.folder / "images"
        noise = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), np.uint8)
        for name in "ab":
            (self.videos / name).mkdir(parents=True)
            for number, frame in enumerate(noise):
                cv2.imwrite(str(self.videos / name / f"{number}.png"), frame)
        self.images.mkdir()
        for name in ("a", "n" * 251):
            cv2.imwrite(str(self.images / "x.png"), noise[0])
            (self.images / "x.png").rename(self.images / f"{name}.png")
        self.clips = self.folder / "clips"
        frames = noise[:3, :16, :16]
        found = Saliency(frames[..., 0], frames[0], True, "background", 0.1)
        names = [f"clip_{number:05d}" for number in range(400)]
        for name in names:
            save_clip(self.clips, name, frames, found)
        finish_store(self.clips, names, {})

    def new(self, name: str) -> Path:
        """A folder that is not there."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code. told: all that it printed.
    """

    code: int
    told: str

    def says(self, code: int, words: str) -> str:
        """The last line with those words, if the command ended as it should.

        Raises:
            AssertionError: another code, a traceback, or other words.
        """
        assert "Traceback" not in self.told, self.told[-3000:]
        assert self.code == code, (self.code, self.told[-3000:])
        assert words in self.told, self.told[-3000:]
        return next(line for line in reversed(self.told.strip().splitlines() or [""]) if words in line)


def command(
    *arguments: Any, wrap: tuple[str, ...] = (), before: Callable[[], None] | None = None, **environment: str
) -> Ended:
    """A command of ours in a process of its own."""
    words = [*wrap, sys.executable, "-m", "selfsup3d", *map(str, arguments)]
    done = subprocess.run(words, cwd=ROOT, preexec_fn=before, env=_environment(environment), capture_output=True, text=True,
                          errors="replace", timeout=1800, check=False)  # fmt: skip
    return Ended(done.returncode, done.stdout + done.stderr)


def script(code: str, *arguments: Any, wrap: tuple[str, ...] = (), before: Callable[[], None] | None = None) -> Ended:
    """A few lines of Python in a process of its own."""
    words = [*wrap, sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(words, cwd=ROOT, preexec_fn=before, env=_environment({}), capture_output=True, text=True,
                          timeout=1800, check=False)  # fmt: skip
    return Ended(done.returncode, done.stdout + done.stderr)


def _environment(more: dict[str, str]) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME", "SELFSUP3D_CACHE")
    }
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": os.environ.get("HOME", "/"),
        **more,
    }


def train(place: Place, output: Path, *flags: Any, **more: Any) -> Ended:
    return command("train", "--config", place.recipe, "--output-dir", output, *flags, **more)


def predict(place: Place, output: Path, *flags: Any, **more: Any) -> Ended:
    return command("predict", "--checkpoint", "lifter", "--input", place.keypoints, "--output", output, "--device", "cpu",
                   "--fps", 20, *flags, **more)  # fmt: skip


@contextmanager
def small_disk(place: Place, size: str = "64k") -> Iterator[Path]:
    """A file system of that size."""
    disk = place.new("disk")
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if done.returncode:
        raise Unavailable(done.stderr.decode().strip())
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


FULL = "No space left on device"


def training_on_a_full_disk(place: Place) -> str:
    with small_disk(place) as disk:
        told = train(place, disk / "run").says(2, FULL)
        assert not [p for p in disk.rglob("*") if p.name.startswith((".partial", "step-"))]
        return told


def predicting_on_a_full_disk(place: Place, *flags: str) -> str:
    with small_disk(place) as disk:
        told = predict(place, disk / "out", "--video", "none", *flags).says(2, FULL)
        assert not [p for p in disk.rglob("*") if p.name.startswith(".partial")]
        return told


def drawing_on_a_full_disk(place: Place) -> str:
    with small_disk(place, "16k") as disk:
        told = predict(place, disk / "out", "--video", "mp4", "--limit", 60).says(2, FULL)
        assert not [p for p in disk.rglob("*") if p.name.startswith(".partial")]
        return told


def preparing_on_a_full_disk(place: Place) -> str:
    with small_disk(place) as disk:
        where = ("--root", place.videos, "--output", disk / "clips", "--size", 64, "--crop", "whole")
        told = command("prepare-data", "--dataset", "videos", *where).says(2, FULL)
        assert not (disk / "clips" / "store.json").exists()
        return told


def rendering_on_a_full_disk(place: Place) -> str:
    with small_disk(place) as disk:
        return train(place, place.new("run"), "--data.root", disk / "cache").says(2, FULL)


def evaluating_on_a_full_disk(place: Place) -> str:
    with small_disk(place, "4k") as disk:
        (disk / "filled").write_bytes(bytes(4096))
        run = place.folder / "whole run"
        if not run.exists():
            train(place, run).says(0, "")
        return command("evaluate", "--checkpoint", run, "--json", disk / "m.json", "--data.root", place.folder / "cache",
                       "--device", "cpu").says(2, FULL)  # fmt: skip


def a_limit_of_file_size(place: Place) -> str:
    """As quotas of file systems meet a process."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    told = predict(place, place.new("out"), "--video", "none", before=limit).says(2, "File too large")
    return told + " | " + train(place, place.new("run"), before=limit).says(2, "File too large")


def little_shared_memory(place: Place) -> str:
    """/dev/shm of 1 MB, in a namespace of its own; batches of 4 MB."""
    code = """
import sys
from pathlib import Path
import torch
from selfsup3d.training.loop import train
from tests.training.toy import Autoencoder, Noise, config
class Large(Noise):
    def batch(self, streams):
        batch = super().batch(streams)
        object.__setattr__(batch, "source", torch.zeros(len(streams), 3, 400, 400))
        return batch
train(config(Path(sys.argv[1]), workers=1), Autoencoder(), Large())
"""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        raise Unavailable("no right to make a namespace")
    shell = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$0" "$@"'
    return script(code, place.new("run"), wrap=("unshare", "-m", "bash", "-c", shell)).says(
        0, "batches go through pipes"
    )


def few_open_files(place: Place) -> str:
    """400 clips under a limit of 64 open files, read in another order twice."""
    code = """
import sys
import numpy as np
from selfsup3d.data.sampling.clip_pairs import PairSource
from selfsup3d.data.sampling.clip_store import ClipStore
from selfsup3d.structures.random import RandomStreams
store = ClipStore(sys.argv[1])
for memory in ("map", "keep"):
    source = PairSource(store, memory=memory)
    for step in range(20):
        assert source.batch(RandomStreams(0, step, np.arange(32))).target.shape[0] == 32
import os
print(len(store), "clips,", len(os.listdir("/proc/self/fd")), "open files")
"""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    return script(code, place.clips, before=limit).says(0, "400 clips")


def no_open_files_left(place: Place) -> str:
    """A clip that cannot be opened for the limit is not called damaged, and nobody is told to delete it."""
    code = """
import os, sys
from selfsup3d.cli import run
from selfsup3d.data.sampling.clip_store import ClipStore
def main(argv):
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    ClipStore(sys.argv[1])
sys.exit(run(main))
"""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    ended = script(code, place.clips, before=limit)
    assert "delete" not in ended.told
    return ended.says(2, "too many open files")


def an_unknown_user(place: Place) -> str:
    """A user without an entry in the list of users and without a home, as containers run."""
    hidden = 'mount --bind /dev/null /etc/passwd && mount --bind /dev/null /etc/nsswitch.conf && unset HOME && exec "$0" "$@"'
    unknown = ("unshare", "-m", "bash", "-c", hidden)
    if subprocess.run(
        [
            *unknown,
            sys.executable,
            "-c",
            "import os, pwd\ntry: pwd.getpwuid(os.getuid())\nexcept KeyError: raise SystemExit(0)\nraise SystemExit(1)",
        ],
        capture_output=True,
        check=False,
    ).returncode:
        raise Unavailable("no right to hide the list of users")
    output = place.new("nobody")
    nowhere = {"MPLCONFIGDIR": "/nonexistent/x"}
    predict(place, output / "out", "--video", "gif", "--limit", 3, wrap=unknown, **nowhere).says(0, "poses.npz")
    train(place, output / "run", wrap=unknown, **nowhere).says(0, "")
    where = ("--root", place.videos, "--output", output / "clips", "--size", 32, "--crop", "whole")
    command("prepare-data", "--dataset", "videos", *where, wrap=unknown, **nowhere).says(0, "2 clips")
    homeless = place.folder / "homeless.yaml"
    homeless.write_text(place.recipe.read_text().replace(f', root: "{place.folder / "cache"}"', ""))
    told = command("train", "--config", homeless, "--output-dir", output / "other", wrap=unknown, **nowhere).says(
        2, "SELFSUP3D_CACHE"
    )
    return f"predict, train and prepare-data work; without a place for rendered data: {told}"


def an_over_long_name(place: Place) -> str:
    """Two images, one of whose names has all the 255 bytes that a name may have; both are predicted."""
    output = place.new("out")
    command("predict", "--checkpoint", "synth-v1", "--input", place.images, "--output", output, "--device", "cpu").says(
        0, ""
    )
    written = sorted(p.name for p in output.glob("*_overlay.png"))
    assert len(written) == 2, written
    return f"both have their overlay; the longest name has {max(len(n.encode()) for n in written)} bytes"


def escape_codes_in_names(place: Place) -> str:
    """A folder whose name clears the terminal, with a file that is damaged, in predict and prepare-data."""
    evil = place.new("evil\x1b[2J\x1b]0;owned\x07\u202e")
    (evil / "v").mkdir(parents=True)
    shutil.copy(place.keypoints, evil / "k\x1b[31m.json")
    (evil / "broken\x1b[31m.avi").write_bytes(b"RIFF\0\0\0\0AVI " + bytes(99))
    for number in range(9):
        shutil.copy(place.videos / "a" / f"{number}.png", evil / "v")
    told = [
        command(
            "predict", "--checkpoint", "lifter", "--input", evil / "k\x1b[31m.json", "--output", evil / "o", "--fps", 9
        ),
        command("predict", "--checkpoint", "lifter", "--input", evil / "none.json", "--output", evil / "p"),
        command("prepare-data", "--dataset", "videos", "--root", evil, "--output", evil / "c", "--size", 32),
        command("prepare-data", "--dataset", "prepared", "--root", evil, "--verify"),
    ]
    for ended in told:
        assert "Traceback" not in ended.told, ended.told[-3000:]
        assert not {"\x1b", "\x07", "\u202e"} & set(ended.told.replace("\x1b[A", "")), ended.told
        assert "\\x1b" in ended.told, ended.told
    return f"{len(told)} commands, exit codes {', '.join(str(e.code) for e in told)}; every code is printed as text"


def a_killed_worker(place: Place) -> str:
    code = """
import sys
from pathlib import Path
from selfsup3d.cli import run
from selfsup3d.training.loop import train
from tests.training.test_loading import Deadly
from tests.training.toy import Autoencoder, config
settings = {"steps": 20, "workers": 1, "checkpoint_every": 20}
sys.exit(run(lambda argv: train(config(Path(sys.argv[1]), **settings), Autoencoder(), Deadly(12)) and 0))
"""
    return script(code, place.new("run")).says(1, "is saved: --resume auto goes on")


def signals(place: Place) -> str:
    """SIGTERM, SIGHUP and SIGINT in the middle of a run: the state is saved, and the run can be resumed to its end."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        output = place.new("run")
        words = [sys.executable, "-m", "selfsup3d", "train", "--config", str(place.recipe), "--output-dir", str(output),
                 "--trainer.steps", "100000", "--trainer.checkpoint-every", "100000"]  # fmt: skip
        process = subprocess.Popen(
            words, cwd=ROOT, env=_environment({}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # these tests may run under nohup
        )  # fmt: skip
        log = output / "scalars.jsonl"
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.05)
        process.send_signal(number)
        told = process.communicate(timeout=600)[0].decode()
        assert "Traceback" not in told, told[-3000:]
        assert "--resume auto" in told, told[-3000:]
        (saved,) = (output / "checkpoints").glob("step-*")
        step = int(saved.name.split("-")[1])
        train(place, output, "--resume", "auto", "--trainer.steps", step + 2).says(0, "")
    return "each saves and says how to go on; resumed runs end well"


FAULTS: dict[str, Callable[[Place], str]] = {
    "full disk: train": training_on_a_full_disk,
    "full disk: predict": predicting_on_a_full_disk,
    "full disk: predict with exports": lambda place: predicting_on_a_full_disk(place, "--bvh", "--trc"),
    "full disk: predict with a video": drawing_on_a_full_disk,
    "full disk: prepare-data": preparing_on_a_full_disk,
    "full disk: rendering": rendering_on_a_full_disk,
    "full disk: evaluate --json": evaluating_on_a_full_disk,
    "limit of file size: predict, train": a_limit_of_file_size,
    "/dev/shm of 1 MB, batches of 4 MB": little_shared_memory,
    "64 open files, 400 clips": few_open_files,
    "no open file left": no_open_files_left,
    "user without an entry and a home": an_unknown_user,
    "name of 255 bytes": an_over_long_name,
    "escape codes in names": escape_codes_in_names,
    "data worker killed": a_killed_worker,
    "SIGTERM, SIGHUP, SIGINT": signals,
}
