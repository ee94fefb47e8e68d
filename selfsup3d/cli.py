"""What launch scripts share: a config from a file and flags, and exit codes in place of tracebacks.

Exit codes: 0 success; 1 the run failed (the message says how to go on); 2 bad input, whose first line on stderr says
what is wrong and where; 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import cv2
import tyro
from pydantic import BaseModel

from selfsup3d.config.load import load_config, nearest, validate
from selfsup3d.config.run import Config
from selfsup3d.data.mocap.convert import MocapOptions
from selfsup3d.data.mocap.recording import UP_AXES
from selfsup3d.errors import InputError

__all__ = ["Parser", "add_motion_flags", "image_size", "motion_options", "parse_config", "refuse_overwrite", "run"]


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are InputErrors, so that `run` prints them like all others."""

    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise InputError(f"{message} (see --help)")


def image_size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT in pixels, as a type of argparse."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected WIDTHxHEIGHT in pixels, such as 1280x720")
    return int(found[1]), int(found[2])


def add_motion_flags(parser: Any) -> None:
    """Flags of every command that reads motion capture: what its files do not say, or say wrong."""
    parser.add_argument("--up", choices=UP_AXES, help="axis that points up in the files (--up=-z); default: they say")
    parser.add_argument("--unit", type=float, help="metres of one unit of the files; default: they say")
    parser.add_argument("--table", type=Path, help="YAML joint table for BVH of an unknown kind")
    parser.add_argument("--source-fps", type=float, help="true rate of the files, where they do not say or say wrong")


def motion_options(args: argparse.Namespace, **further: Any) -> MocapOptions:
    """What `add_motion_flags` was given, with `further` options.

    Raises:
        InputError: a unit or rate that is not above 0.
    """
    for name in ("unit", "source_fps"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"--{name.replace('_', '-')} {value:g}: must be more than 0")
    return MocapOptions(fps=args.source_fps, table=args.table, unit=args.unit, up=args.up, **further)


def refuse_overwrite(paths: Sequence[Path], overwrite: bool) -> None:
    """Call before any work is done, with every file that will be written.

    Raises:
        InputError: one of them stands there already, and `overwrite` is not given.
    """
    standing = [path for path in paths if path.exists()]
    if standing and not overwrite:
        more = f" (and {len(standing) - 1} more)" if len(standing) > 1 else ""
        raise InputError(f"{standing[0]}{more} exists already; choose another --output, or add --overwrite")


def run(main: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Call `main(argv)` and return the exit code; bad input is printed as a message, never as a traceback.

    Use as `sys.exit(run(main))`. Errors that are not the person's keep their traceback.
    """
    _quiet_decoders()
    try:
        return main(list(sys.argv[1:] if argv is None else argv)) or 0
    except InputError as error:
        return _complain(str(error), 2)
    except FloatingPointError as error:
        return _complain(str(error), 1)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename is not None else ""
        return _complain(f"{place}{error.strerror or error}", 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except SystemExit as error:  # --help
        return error.code if isinstance(error.code, int) else int(error.code is not None)


def parse_config(argv: Sequence[str], description: str) -> Config:
    """The config that `--config FILE` and dotted flags (`--trainer.steps 200`) describe.

    Raises:
        InputError: no --config, a wrong file (see `config_file.load_config`), an unknown flag or a wrong value.
        SystemExit: --help, after it is printed with the file's values as defaults.
    """
    path, rest = _split_config(argv)
    wants_help = any(flag in rest for flag in ("-h", "--help"))
    if path is None and not wants_help:
        raise InputError("--config FILE is missing, e.g. --config configs/quickstart.yaml (see --help)")
    base = Config() if path is None else load_config(path)
    with _flag_errors():
        parsed: tuple[Config, list[str]] = tyro.cli(
            Config,
            args=rest,
            default=base,
            description=f"{description}\n\n--config FILE names the YAML file that the defaults below come from.",
            config=(tyro.conf.AvoidSubcommands,),
            return_unknown_args=True,
        )
    config, unknown = parsed
    if unknown:
        raise InputError(_unknown_flag(unknown[0], base))
    # Flags are checked one section at a time; a last look at the whole catches what depends on several.
    return validate(config.model_dump(), "flags")


def _split_config(argv: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Take `--config FILE` or `--config=FILE` out of the arguments."""
    path: Path | None = None
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        name, given, value = argument.partition("=")
        if name != "--config":
            rest.append(argument)
            continue
        value = value if given else next(arguments, "")
        if not value or value.startswith("--"):
            raise InputError("--config needs a file, e.g. --config configs/quickstart.yaml")
        path = Path(value)
    return path, rest


def _unknown_flag(flag: str, config: Config) -> str:
    if not flag.startswith("-"):
        return f"unexpected argument {flag!r}; flags look like --trainer.steps 200 (see --help)"
    name = flag.split("=")[0]
    valid = [f"--{dotted.replace('_', '-')}" for dotted in _dotted("", config)]
    return f"{name}: unknown flag{nearest(name.replace('_', '-'), ['--config', *valid])} (see --help)"


def _dotted(prefix: str, value: Any) -> Iterator[str]:
    """Dotted names of every setting below `value`."""
    if isinstance(value, BaseModel):
        items = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, (tuple, list)) and any(isinstance(item, BaseModel) for item in value):
        items = [(str(i), item) for i, item in enumerate(value)]
    else:
        yield prefix
        return
    for name, item in items:
        yield from _dotted(f"{prefix}.{name}" if prefix else name, item)


@contextlib.contextmanager
def _flag_errors() -> Iterator[None]:
    """Update tyro's framed error, printed before it exits, into an InputError of a few plain lines."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            yield
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise InputError(_plain(printed.getvalue())) from None


def _plain(box: str) -> str:
    """The text of a framed message, joined to one line: '--trainer.steps: invalid literal ...'."""
    lines = [re.sub(r"[│╭╮╰╯─]+", " ", re.sub(r"\x1b\[[0-9;]*m", "", line)).strip() for line in box.splitlines()]
    lines = [line for line in lines[1:] if line]  # the first line is the frame's title
    ends = ("Argument helptext", "For full helptext", "For further information")
    body: list[str] = []
    for line in lines:
        if line.startswith(ends):
            break
        body.append(line)
    text = re.sub(r"\s+", " ", " ".join(body)).removeprefix("Error parsing ")
    found = re.match(r"(?P<place>[\w.-]+): \d+ validation errors? for \w+ (?P<what>.*)", text)
    if found:  # pydantic's own report of a section: "key what is wrong [type=..., input_value=...]"
        what = re.sub(r" \[type=.*", "", found["what"])
        given = re.search(r"input_value=([^{]*?), input_type", text)
        key, whole, rest = what.partition("Value error, ")
        if not whole:
            key, _, rest = what.partition(" ")
        place = ".".join(part.strip().replace("_", "-") for part in (found["place"].lstrip("-"), key) if part.strip())
        text = f"--{place}: {rest}" + (f" (got {given[1]})" if given else "")
    return text or "wrong flags (see --help)"


def _quiet_decoders() -> None:
    """What OpenCV and FFmpeg say of damaged files would come before our own message, which names the file."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _complain(message: str, code: int) -> int:
    if os.environ.get("RANK", "0") == "0":  # every process of a run fails alike; one message is enough
        print(message, file=sys.stderr, flush=True)
    return code
