"""What a preparation kept and dropped, as JSON and as a sheet of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from selfsup3d.io.files import atomic_path, write_json

__all__ = ["describe", "write_report"]

_CELL = 96  # pixels of an image in the sheet
_COLUMNS = 8
_MOST_ROWS = 60


def write_report(store: str | Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write STORE/report.json and, where anything was kept, STORE/report.png.

    Args:
        store: folder of the clips.
        records: of each video: name, error, kept (clip, frames, first, last, ...), dropped (reason, first, last).
    """
    store = Path(store)
    videos = [{k: v for k, v in record.items() if k not in ("key", "stamp")} for record in records]
    write_json(store / "report.json", {"summary": describe(records), "videos": videos})
    kept = [(str(record["name"]), clip) for record in records for clip in record["kept"]]
    if not kept:
        (store / "report.png").unlink(missing_ok=True)
        return
    chosen = [kept[i] for i in np.unique(np.linspace(0, len(kept) - 1, _MOST_ROWS).astype(int))]
    sheet = np.concatenate([_row(store / clip["clip"], f"{name}  {_title(clip)}") for name, clip in chosen])
    good, data = cv2.imencode(".png", sheet[..., ::-1])
    assert good
    with atomic_path(store / "report.png") as temporary:
        temporary.write_bytes(data.tobytes())


def describe(records: Sequence[Mapping[str, Any]]) -> str:
    """One paragraph of plain text: how much was kept, and what was dropped for which reason."""
    kept = [clip for record in records for clip in record["kept"]]
    seconds = sum(float(clip.get("seconds", 0.0)) for clip in kept)
    lines = [f"{len(records)} videos: {len(kept)} clips, {sum(c['frames'] for c in kept)} frames ({seconds:.0f} s)"]
    reasons = Counter(str(d["reason"]).split(":")[0] for r in records for d in r["dropped"])
    lines += [f"  dropped {count} x {reason}" for reason, count in reasons.most_common()]
    lines += [f"  not readable: {record['error']}" for record in records if record["error"]]
    return "\n".join(lines)


def _title(clip: Mapping[str, Any]) -> str:
    static = clip.get("static_frames_dropped", 0)
    return (
        f"{clip['clip']}  frames {clip['first']}-{clip['last']}, {clip['frames']} kept"
        f"{f', {static} static' if static else ''}, {clip.get('crop_pixels', 0):.0f} px, {clip['saliency']}"
    )


def _row(folder: Path, title: str) -> np.ndarray:
    """Images of a clip spread over its time, what is not person darkened, and the background at the end."""
    frames, saliency, background = (
        np.load(folder / f"{part}.npy", mmap_mode="r") for part in ("frames", "saliency", "background")
    )
    cells = []
    for k in np.linspace(0, len(frames) - 1, _COLUMNS).astype(int):
        weight = 0.35 + 0.65 * saliency[k][..., None].astype(np.float32) / 255.0
        cells.append(_cell((frames[k] * weight).astype(np.uint8)))
    cells.append(_cell(np.asarray(background if background.ndim == 3 else background[0])))
    strip = np.concatenate(cells, axis=1)
    head = np.full((16, strip.shape[1], 3), 255, dtype=np.uint8)
    plain = title.encode("ascii", "replace").decode()  # OpenCV's letters are ASCII
    cv2.putText(head, plain, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([head, strip])


def _cell(image: np.ndarray) -> np.ndarray:
    interpolation = cv2.INTER_AREA if image.shape[0] > _CELL else cv2.INTER_NEAREST
    return cv2.resize(image, (_CELL, _CELL), interpolation=interpolation)
