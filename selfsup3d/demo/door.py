"""Who may ask the page's server, and what may be sent to it: checked on the raw requests, before gradio sees them.

The server believes neither the names that a request gives files (`received`) nor the name under which it was reached: a
page of another site, also one whose name was turned to this machine's address afterwards (DNS rebinding), gets nothing.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selfsup3d.demo.images import MAX_BYTES, SUFFIXES
from selfsup3d.demo.videos import MAX_VIDEO_BYTES, VIDEO_SUFFIXES
from selfsup3d.errors import InputError
from selfsup3d.io.locks import locked

__all__ = ["Door", "QUOTA", "received", "upload_folder"]

QUOTA = 256 * 2**20
"""Bytes of all uploads and answers together. Beyond it the oldest go, but none that is younger than ten minutes."""
_YOUNG = 600.0  # s
_FRAME = 64 * 2**10  # bytes of a request around its file
_PREFIX = "selfsup3d-demo-"
_API = "/gradio_api/"
_ASKED = {"app_id", "cancel", "heartbeat", "info", "queue", "reset", "startup-events", "upload", "upload_progress"}
"""What the page itself asks below `_API`, besides files."""
_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")
_EBML = b"\x1a\x45\xdf\xa3"  # WebM and Matroska

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def received(raw: object, uploads: Path, examples: Sequence[Path]) -> tuple[Path, str]:
    """The file that a request means, and what to call it.

    Args:
        raw: gradio's record of a file, as the request gives it: path, orig_name.
        uploads: folder that gradio writes uploads into. examples: the shipped images.

    Raises:
        InputError: not a file that was uploaded here, nor an example: links and ".." are followed first.
    """
    path = raw.get("path") if isinstance(raw, dict) else None
    resolved = _resolved(path) if isinstance(path, str) else None
    if resolved is None or not (_inside(resolved, uploads) or resolved in {example.resolve() for example in examples}):
        raise InputError("this file was not uploaded here: upload it again")
    name = raw.get("orig_name") if isinstance(raw, dict) else None
    return resolved, name if isinstance(name, str) and name else resolved.name


def _resolved(path: str) -> Path | None:
    """The file that a path leads to in the end, None = there is none."""
    try:
        return Path(path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # no such file; a zero byte; links in a circle
        return None


def _inside(resolved: Path, uploads: Path) -> bool:
    return resolved.is_file() and resolved.is_relative_to(uploads.resolve())


@contextmanager
def upload_folder() -> Iterator[Path]:
    """A new folder for uploads and results, removed at the end; those that killed servers of this person left behind are
    removed now."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_abandoned(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove a folder that no living server holds."""
    try:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or time.time() - status.st_mtime < 5:
            return  # not ours, or one that is just being made
        with locked(folder):
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{folder}: removed; an earlier server was killed and left it", file=sys.stderr)
    except (InputError, OSError):
        return


class Door:
    """ASGI middleware.

    Args:
        app: the server. uploads: its folder. videos: folder of the results made of videos; None = no video is let in.
    """

    def __init__(self, app: Any, uploads: Path, videos: Path | None = None) -> None:
        self.app, self.uploads, self.videos = app, uploads, videos
        self._shipped = set(uploads.rglob("*"))  # gradio's copies of the examples
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own}.local", socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request here, or let the server do it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._stranger(headers) or self._elsewhere(scope["path"])
        body = b""
        if refusal is None and scope["path"].endswith("/queue/join"):
            self._make_room(0)  # for the answer
        if refusal is None and scope["type"] == "http" and scope["path"].rstrip("/").endswith("/upload"):
            most = MAX_VIDEO_BYTES if self.videos else MAX_BYTES
            if not self._make_room(most):
                refusal = 507, "Too much was uploaded just now: try again in ten minutes."
            if refusal is None:
                body, refusal = await _read(receive, most)
            if refusal is None:
                refusal = await _kind(scope, body, self.videos is not None)
            receive = _again(body, receive)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        await self.app(scope, receive, send)

    def _stranger(self, headers: dict[str, str]) -> tuple[int, str] | None:
        """Whether the request was made for another name than this machine's, or by another site's page."""
        host = headers.get("host", "")
        name = _hostname(host)
        if name is None or not (_is_address(name) or name in self._names):
            return 403, "Open the page under this machine's own name or address."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "Requests of other sites' pages are not answered."
        return None

    def _elsewhere(self, path: str) -> tuple[int, str] | None:
        """Whether gradio is asked for more than the page needs. It would fetch addresses (/file=http..., /proxy=...), show
        pictures below the working folder (.gradio/cached_examples), and take films past the checks of uploads."""
        name = path.removeprefix(_API) if path.startswith(_API) else ""
        if name.startswith("file="):
            file = _resolved(os.path.abspath(name.removeprefix("file=")))  # as gradio reads it
            known = file is not None and _inside(file, self.uploads)
        else:
            known = not name or name.split("/")[0] in _ASKED
        return None if known else (404, "Not found.")

    def _make_room(self, coming: int) -> bool:
        """Remove the oldest images and videos beyond the quota; whether so many bytes more have room. The films that open
        pages show stay: gradio's copies of results."""
        shown = {(path.name, size) for _, size, path in _found(self.videos)} if self.videos is not None else set()
        came = [entry for entry in _found(self.uploads) if entry[2] not in self._shipped]
        files = sorted(came, key=lambda entry: entry[0])
        total = sum(size for _, size, _ in files) + coming
        for modified, size, path in files:
            if total <= QUOTA or time.time() - modified < _YOUNG:
                break
            if path.suffix.lower() not in (*SUFFIXES, *VIDEO_SUFFIXES):
                continue  # poses: people's results, and small
            if (path.name, size) in shown:
                continue
            path.unlink(missing_ok=True)
            total -= size
        return total <= QUOTA


def _found(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Time, bytes and path of the files below a folder."""
    for path in folder.rglob("*"):
        with suppress(OSError):  # others remove files too
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                yield status.st_mtime, status.st_size, path


def _hostname(host: str) -> str | None:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname if host and not set(host) & set("/@?#\\") else None
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _read(receive: Receive, limit: int) -> tuple[bytes, tuple[int, str] | None]:
    """The body of a request, up to the size of an upload."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return b"", (400, "The upload was cut off.")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit + _FRAME:
            return b"", (413, f"The file is larger than {limit // 2**20} MB: make it smaller first.")
    return bytes(body), None


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read once more."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return waiting.pop() if waiting else await receive()

    return replay


async def _kind(scope: Scope, body: bytes, videos: bool) -> tuple[int, str] | None:
    """Whether the upload holds anything but images, and videos where they are let in, of the kinds that are read, by name
    and by beginning."""
    from starlette.datastructures import UploadFile
    from starlette.requests import Request

    try:
        async with Request(scope, _again(body, _nothing)).form(max_files=8, max_fields=8) as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            for file in files:
                head = await file.read(12)
                suffix = Path(file.filename or "").suffix.lower()
                if suffix in SUFFIXES and _is_image(head):
                    if (file.size or 0) > MAX_BYTES:
                        return 413, f"The image is larger than {MAX_BYTES // 2**20} MB: make it smaller first."
                elif not (videos and suffix in VIDEO_SUFFIXES and _is_video(head)):
                    also = ", or an MP4, MOV, WebM, MKV or AVI video" if videos else ""
                    return 415, f"This is not an image that can be read: send a PNG, JPEG, WebP or BMP file{also}."
    except Exception:  # starlette's parser tells of broken forms in several ways
        return 400, "The upload is broken: send it again."
    return None if files else (400, "No file was sent.")


def _is_image(head: bytes) -> bool:
    return head.startswith(_BEGINNINGS) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def _is_video(head: bytes) -> bool:
    return (
        head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")
        or head[:4] == _EBML
        or (head[:4] == b"RIFF" and head[8:] == b"AVI ")
    )


async def _nothing() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


async def _answer(send: Send, status: int, text: str) -> None:
    content = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
