"""Files that answers leave for download: the newest few of each open page."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

__all__ = ["Results"]

_KEPT = 4  # results of one open page
_PAGES = 512  # pages whose results are kept; those that were opened first go first


class Results:
    """A folder of results, apart by page.

    Args:
        folder: made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, page: str) -> Path:
        """A new folder for one answer's files; the page's oldest ones go."""
        mine = self._of(page)
        if not mine.exists():
            _keep_newest(self.folder, _PAGES - 1)
            mine.mkdir(parents=True)
        _keep_newest(mine, _KEPT - 1)
        return Path(tempfile.mkdtemp(prefix="pose-", dir=mine))

    def forget(self, page: str) -> None:
        """Remove a page's files: it was closed."""
        shutil.rmtree(self._of(page), ignore_errors=True)

    def _of(self, page: str) -> Path:
        return self.folder / hashlib.sha256(page.encode()).hexdigest()[:16]  # the name came with a request


def _keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest folders in a folder."""
    entries = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime) if folder.is_dir() else []
    for entry in entries[: max(0, len(entries) - count)]:
        shutil.rmtree(entry, ignore_errors=True)
