"""The flags of `Parser.motion`, as options of the reader of motion capture."""

from __future__ import annotations

import argparse
from typing import Any

from selfsup3d.data.mocap.convert import MocapOptions

__all__ = ["motion_options"]


def motion_options(args: argparse.Namespace, **further: Any) -> MocapOptions:
    """What the flags say, with `further` options."""
    return MocapOptions(fps=args.source_fps, table=args.table, unit=args.unit, up=args.up, **further)
