"""What all commands share: their parser of options, and exit codes in place of tracebacks.

Exit codes: 0 success; 1 the run failed (the message says how to go on); 2 bad input, whose first line on stderr says
what is wrong and where; 130 interrupted. Nothing heavy is imported here: help and slips are answered at once.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from selfsup3d.config.choices import UP_AXES
from selfsup3d.errors import InputError, RunFailedError
from selfsup3d.io.names import printable_streams
from selfsup3d.io.resources import locate_model, shipped_models

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # options of mallopt(3)

__all__ = ["Parser", "image_size", "keep_freed_memory", "refuse_overwrite", "run", "set_environment"]


class Parser(argparse.ArgumentParser):
    """The parser of a command: options that several commands have, numbers with bounds, and complaints that are
    InputErrors, so that `run` prints them like all others.

    `description` is the command's docstring.
    """

    def __init__(self, description: str | None) -> None:
        super().__init__(
            prog=_program(),
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._bounds: list[tuple[str, str, float, float, float]] = []

    def checkpoint(self, required: bool = True) -> None:
        """`--checkpoint`: a Path or the name of a shipped model; that something is there is checked."""
        names = ", ".join(shipped_models()) or "none"
        self.add_argument(
            "--checkpoint", type=Path, required=required,
            help=f"a run, a model's folder, a checkpoint, or a shipped model by name ({names})",
        )  # fmt: skip

    def output(self) -> None:
        """`--output`, a folder, and `--overwrite`; see `refuse_overwrite`."""
        self.add_argument("--output", type=Path, required=True, help="folder to write into")
        self.add_argument("--overwrite", action="store_true", help="replace files in --output")

    def device(self, *choices: str) -> None:
        """`--device`; without choices any that torch knows (`inference.device.pick_device` checks it)."""
        name = "auto (the GPU where there is one), cpu" + ("" if choices else ", cuda, cuda:1 ...")
        self.add_argument("--device", choices=choices or None, default="auto", help=name, metavar="DEVICE")

    def background(self, default: str) -> None:
        """`--background` of what is rendered: a word or the file of an image."""
        self.add_argument(
            "--background", default=default,
            help="constant, transparent (PNG, WebM), #rrggbb, background, or an image's file; the background of one image is a guess: the person found "
            "in it is filled in from the surroundings, and what was missed of them stays; a video by a still camera "
            f"shows its background (default: {default})",
        )  # fmt: skip

    def synthesis(self) -> None:
        """Flags of commands that make images of people."""
        self.add_argument("--poses", type=Path, help="another model, whose poses are drawn; default: the model's own")
        self.number("--scale", int, least=1, help="images are so many times the model's size; default: 256 px at least")
        self.add_argument(
            "--textures", action="store_true",
            help="draw the source's parts as they are, where the model's decoder draws none (models of poses alone)",
        )  # fmt: skip

    def motion(self, group: argparse._ArgumentGroup | None = None) -> None:
        """Flags of commands that read motion capture: what its files do not say, or say wrong."""
        add = (group or self).add_argument
        add("--up", choices=UP_AXES, help="axis that points up in the files (--up=-z); default: they say")
        self.number("--unit", float, above=0, group=group, help="metres of one unit of the files; default: they say")
        add("--table", type=Path, help="YAML joint table for BVH of an unknown kind")
        self.number(
            "--source-fps", float, above=0, group=group,
            help="true rate of the files, where they do not say or say wrong",
        )  # fmt: skip

    def number(
        self,
        flag: str,
        kind: Callable[[str], float],
        *,
        least: float = -math.inf,
        above: float = -math.inf,
        most: float = math.inf,
        group: argparse._ArgumentGroup | None = None,
        **more: Any,
    ) -> None:
        """A finite number of the given kind, `above < number`, `least <= number <= most`."""
        action = (group or self).add_argument(flag, type=kind, **more)
        self._bounds.append((flag, action.dest, least, above, most))

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # the base class has overloads
        """The options.

        Raises:
            InputError: an unknown or missing option, a value out of its bounds, a checkpoint that is not there.
        """
        parsed = super().parse_args(args, namespace)
        for flag, name, least, above, most in self._bounds:
            value = getattr(parsed, name)
            if value is None:
                continue
            if not math.isfinite(value) and above == -math.inf:
                self.error(f"{flag} {value}: must be finite")
            if not above < value < math.inf:
                self.error(f"{flag} {value}: must be more than {above:g}")
            if value < least:
                self.error(f"{flag} {value}: must be at least {least:g}")
            if value > most:
                self.error(f"{flag} {value}: must be at most {most:g}")
        if getattr(parsed, "checkpoint", None) is not None:
            locate_model(parsed.checkpoint)
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise InputError(f"{message} (see --help)")


def _program() -> str:
    """As the command was started: `selfsup3d predict`, or the file of the script."""
    started = Path(sys.argv[0])
    console = started.name == "__main__.py" or started.suffix != ".py"
    return f"selfsup3d {sys.argv[1]}" if console and len(sys.argv) > 1 else started.name


def image_size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT in pixels, as a type of argparse."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected WIDTHxHEIGHT in pixels, such as 1280x720")
    return int(found[1]), int(found[2])


def refuse_overwrite(paths: Iterable[Path], overwrite: bool) -> None:
    """Call before any work is done, with every file that will be written.

    Raises:
        InputError: one of them stands there already, and `overwrite` is not given.
    """
    standing = [path for path in paths if path.exists()]
    if standing and not overwrite:
        more = f" (and {len(standing) - 1} more)" if len(standing) > 1 else ""
        raise InputError(f"{standing[0]}{more} exists already; choose another --output, or add --overwrite")


def set_environment() -> None:
    """What libraries read once, when they are imported; call before. Values that are set already stay."""
    # Threads that spin while they wait slow their neighbours down, and themselves when a neighbour has the other core; but
    # small networks wait so often that GNU's OpenMP, which can, spins shortly before a thread falls asleep.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # What OpenCV and FFmpeg say of damaged files would come before our own message, which names the file.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")


def keep_freed_memory() -> None:
    """Make GNU's allocator keep what is freed for the next tensor; other allocators, and one that is set up already, stay.

    By default it gives large blocks back to the system, which hands them out again page by page and filled with zeros: a
    fifth of a small training step on a CPU. The largest need stays as it is.
    """
    if not sys.platform.startswith("linux") or any(
        name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ
    ):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, 1 << 30)
        set_option(_M_TRIM_THRESHOLD, 2**31 - 1)


def run(main: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Call `main(argv)` and return the exit code; bad input is printed as a message, never as a traceback.

    Use as `sys.exit(run(main))`. Errors that are not the person's keep their traceback.
    """
    set_environment()
    with printable_streams():  # names of files may hold a terminal's commands
        return _run(main, list(sys.argv[1:] if argv is None else argv))


def _run(main: Callable[[list[str]], int | None], argv: list[str]) -> int:
    try:
        return main(argv) or 0
    except InputError as error:
        return _complain(str(error), 2)
    except (FloatingPointError, RunFailedError) as error:
        return _complain(str(error), 1)
    except MemoryError:
        return _complain("out of memory: give smaller batches, fewer workers or smaller files", 1)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename is not None else ""
        return _complain(str(InputError(f"{place}{error.strerror or error}")), 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except SystemExit as error:  # --help
        return error.code if isinstance(error.code, int) else int(error.code is not None)


def _complain(message: str, code: int) -> int:
    if os.environ.get("RANK", "0") == "0":  # every process of a run fails alike; one message is enough
        print(message, file=sys.stderr, flush=True)
    return code
