"""Small videos with times, pixel shapes and rotations of their own, written by FFmpeg's libraries."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_timed(
    path: Path,
    frames: np.ndarray,
    times: Sequence[float],
    codec: str = "libx264",
    pixels: Fraction = Fraction(1),
    rate: int = 10,
) -> Path:
    """Frames (T, H, W, 3) uint8 that are shown at `times`, in seconds; `pixels` is their width over their height."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if codec == "libx264":
            stream.options = {"crf": "10", "bf": "0"}
        stream.codec_context.sample_aspect_ratio = pixels
        for image, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def turn_by_header(path: Path) -> None:
    """State a rotation of 90 degrees in an MP4's track header, as telephones held upright do."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # version 0
    one = 0x10000
    values = (0, one, 0, -one, 0, 0, 0, 0, 0x40000000)
    data[matrix : matrix + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in values)
    path.write_bytes(bytes(data))
