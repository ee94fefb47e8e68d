"""Raw requests to a running page, as no browser would send them."""

import io
import multiprocessing
import os
import signal
import socket
import time

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")
httpx = pytest.importorskip("httpx")

from selfsup3d.demo import door  # noqa: E402
from selfsup3d.demo.answers import Answers  # noqa: E402
from selfsup3d.demo.door import received  # noqa: E402
from selfsup3d.demo.page import build_page, launch_page  # noqa: E402
from selfsup3d.demo.results import Results  # noqa: E402
from selfsup3d.errors import InputError  # noqa: E402

SECRET_COLOUR = (201, 33, 77)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder of uploads, and a picture beside it that nobody uploaded."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "uploads").mkdir()
    Image.new("RGB", (64, 64), SECRET_COLOUR).save(folder / "secret.png")
    return folder


@pytest.fixture(scope="module")
def server(place, images, synthesizer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(place / "uploads"))
        page = build_page(Answers(synthesizer, place / "poses"), images, place / "uploads")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = launch_page(page, "127.0.0.1", port, place / "uploads", block=False)
        with httpx.Client(base_url=address, timeout=60) as client:
            yield client
        page.close()


def png(size=(40, 30)):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def upload(server, name="me.png", content=None, **more):
    return server.post("/gradio_api/upload", files={"files": (name, png() if content is None else content)}, **more)


def look(server, data, name="look"):
    """Everything that a call of a function of the page answers, as text."""
    calls = [(i, d) for i, d in enumerate(server.get("/config").json()["dependencies"]) if d["api_name"] == name]
    number, call = calls[0]
    arguments = [data, "whole"][: len(call["inputs"])]
    body = {"data": arguments, "fn_index": call.get("id", number), "session_hash": os.urandom(5).hex()}
    assert server.post("/gradio_api/queue/join", json=body).status_code == 200
    with server.stream("GET", f"/gradio_api/queue/data?session_hash={body['session_hash']}") as events:
        text = ""
        for line in events.iter_lines():
            text += line
            if '"process_completed"' in line:
                return text
    return text


def test_an_uploaded_image_is_looked_at(server):
    path = upload(server).json()[0]
    text = look(server, {"path": path, "orig_name": "me.png", "meta": {"_type": "gradio.FileData"}})
    assert "joints" in text
    assert "not uploaded here" not in text


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
@pytest.mark.parametrize("way", ["plain", "up", "link", "relative", "uri"])
def test_pictures_that_were_not_uploaded_are_never_given_away(server, place, meta, way, monkeypatch):
    monkeypatch.chdir(place)
    secret = place / "secret.png"
    if way == "link" and not (place / "uploads" / "link.png").exists():
        (place / "uploads" / "link.png").symlink_to(secret)
    path = {
        "plain": str(secret), "up": f"{place}/uploads/../secret.png", "link": f"{place}/uploads/link.png",
        "relative": "secret.png", "uri": f"file://{secret}",
    }[way]  # fmt: skip
    text = look(server, {"path": path, "orig_name": "x.png", **meta})
    assert '"overlay' not in text
    assert 'joints\\\\\\"' not in text
    stored = [p for p in (place / "uploads").rglob("*.*") if p.is_file() and not p.is_symlink()]
    assert secret.read_bytes() not in [p.read_bytes() for p in stored]
    if not meta:
        assert "not uploaded here" in text
    reply = server.get(f"/gradio_api/file={path}")
    assert reply.status_code != 200 or reply.content != secret.read_bytes()


@pytest.mark.parametrize(
    "raw", [5, "x.png", [], {}, {"path": 5}, {"path": "a\0b"}, {"path": None}, {"path": ""}, {"path": "."}]
)
def test_what_is_no_file_is_refused(tmp_path, raw):
    with pytest.raises(InputError, match="not uploaded here"):
        received(raw, tmp_path, [])


def test_examples_are_accepted_and_names_are_text(tmp_path, images):
    assert received({"path": str(images[0]), "orig_name": 5}, tmp_path, images) == (images[0].resolve(), "image-0.png")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:7860"}, 200),
        ({"host": "[::1]:7860"}, 200),
        ({"host": "192.168.1.7"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "localhost@evil.example"}, 403),
        ({"host": ""}, 403),
        ({"host": "localhost", "origin": "http://localhost"}, 200),
        ({"host": "localhost", "origin": "http://evil.example"}, 403),
        ({"host": "localhost", "origin": "null"}, 403),
    ],
)
def test_only_this_machines_own_names_and_pages_are_answered(server, headers, status):
    reply = server.get("/config", headers=headers)
    assert reply.status_code == status
    if status == 403:
        assert reply.text.startswith(("Open the page under", "Requests of other sites"))


@pytest.mark.parametrize(
    "path", ["/gradio_api/file=http://127.0.0.1:1/x", "/gradio_api/file=HTTPS%3A//a/x", "/gradio_api/proxy=http://a/"]
)
def test_the_server_fetches_nothing_for_others(server, path):
    assert server.get(path).status_code == 404


@pytest.mark.parametrize("path", [".gradio/cached_examples/x.png", "secret.png", "/etc/hostname", "/proc/self/environ"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_files_are_given_only_from_the_folder_of_uploads(server, place, path, method, monkeypatch):
    monkeypatch.chdir(place)
    (place / ".gradio" / "cached_examples").mkdir(parents=True, exist_ok=True)
    (place / ".gradio" / "cached_examples" / "x.png").write_bytes(png())
    for asked in (path, path.replace("/", "%2F"), str(place / path), f"{place}/uploads/../{path}"):
        assert server.request(method, f"/gradio_api/file={asked}").status_code == 404
    assert server.get(f"/gradio_api/file={upload(server).json()[0]}").content == png()


@pytest.mark.parametrize("route", ["process_recording", "component_server"])
def test_nothing_is_sent_past_the_checks_of_uploads(server, route):
    reply = server.post(f"/gradio_api/{route}", files={"video": ("a.mp4", b"#EXTM3U\nfile:///etc/hostname")})
    assert reply.status_code == 404


def test_the_page_gets_what_it_asks_for(server):
    for path in ("/", "/config", "/theme.css", "/gradio_api/info", "/gradio_api/startup-events", "/gradio_api/app_id"):
        assert server.get(path).status_code == 200


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("a.png", b"hello", 415),
        ("a.svg", b"<svg onload='x'/>", 415),
        ("a.html", png(), 415),
        ("a.png", b"#?RADIANCE\n" + bytes(99), 415),
        ("a.jpg", b"\xff\xd8\xff" + bytes(99), 200),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(10 * 2**20 + 70_000), 413),
        ("a.mp4", b"\0\0\0\x18ftypisom" + bytes(99), 415),
    ],
)
def test_the_type_and_size_of_an_upload_are_checked_at_the_door(server, place, name, content, status):
    before = {p for p in (place / "uploads").rglob("*") if p.is_file()}
    assert upload(server, name, content).status_code == status
    if status != 200:
        assert {p for p in (place / "uploads").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("a.mp4", b"\0\0\0\x18ftypisom" + bytes(11 * 2**20), 200),
        ("a.webm", b"\x1a\x45\xdf\xa3" + bytes(99), 200),
        ("a.mp4", b"<script>" + bytes(99), 415),
        ("a.html", b"\0\0\0\x18ftypisom" + bytes(99), 415),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(10 * 2**20 + 1), 413),
        ("a.mp4", b"\0\0\0\x18ftypisom" + bytes(40 * 2**20 + 70_000), 413),
    ],
)
def test_with_a_video_tab_short_videos_are_let_in_besides(tmp_path, name, content, status):
    from starlette.responses import PlainTextResponse
    from starlette.testclient import TestClient

    guarded = door.Door(PlainTextResponse("let in"), tmp_path, videos=tmp_path / "motions")
    reply = TestClient(guarded, base_url="http://localhost").post("/upload", files={"files": (name, content)})
    assert reply.status_code == status


def test_broken_forms_are_refused(server):
    reply = server.post(
        "/gradio_api/upload", content=b"--x\r\nbroken", headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert reply.status_code == 400
    assert server.post("/gradio_api/upload").status_code == 400


def test_uploads_have_a_quota(server, place, images, monkeypatch):
    """The oldest make room; young ones stay, and the next upload has to wait."""
    old = place / "uploads" / "old.png"
    old.write_bytes(bytes(1000))
    os.utime(old, (0, 0))
    shipped = {path.name for path in images}
    total = sum(p.stat().st_size for p in (place / "uploads").rglob("*") if p.is_file() and p.name not in shipped)
    monkeypatch.setattr(door, "QUOTA", total + door.MAX_BYTES - 1)
    assert upload(server).status_code == 200
    assert not old.exists()
    monkeypatch.setattr(door, "QUOTA", door.MAX_BYTES + 10)
    assert upload(server).status_code == 507


def test_shipped_images_are_no_uploads(tmp_path, monkeypatch):
    """Gradio's copies of them are as old as their files, and stay."""
    (tmp_path / "shipped.png").write_bytes(bytes(1000))
    guarded = door.Door(None, tmp_path)
    for name in ("shipped.png", "old.png"):
        (tmp_path / name).write_bytes(bytes(1000))
        os.utime(tmp_path / name, (0, 0))
    monkeypatch.setattr(door, "QUOTA", 999)
    assert guarded._make_room(0)
    assert [path.name for path in tmp_path.iterdir()] == ["shipped.png"]


def test_the_film_of_an_open_page_stays(tmp_path, monkeypatch):
    results = Results(tmp_path / "motions")
    (tmp_path / "uploads").mkdir()
    guarded = door.Door(None, tmp_path / "uploads", results.folder)
    (results.place("me") / "overlay.mp4").write_bytes(bytes(500))
    for name, size in (("overlay.mp4", 500), ("other.mp4", 500), ("longer/overlay.mp4", 501)):
        path = tmp_path / "uploads" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (0, 0))
    monkeypatch.setattr(door, "QUOTA", 0)
    assert not guarded._make_room(0)
    assert [path.name for path in (tmp_path / "uploads").rglob("*.mp4")] == ["overlay.mp4"]
    assert (tmp_path / "uploads" / "overlay.mp4").exists()
    results.forget("me")
    assert guarded._make_room(0)


def test_answers_make_room_too(server, place, monkeypatch):
    old = place / "uploads" / "old answer.webp"
    old.write_bytes(bytes(1000))
    os.utime(old, (0, 0))
    monkeypatch.setattr(door, "QUOTA", 0)
    assert "not uploaded here" in look(server, {"path": "nowhere"})
    assert not old.exists()


def test_results_belong_to_a_page_and_go_when_it_is_closed(answers, images):
    mine = answers.look(images[0], "whole", page="me").files
    for number in range(6):
        answers.look(images[0], "whole", page=f"other {number}")
    assert all(path.exists() for path in mine)
    answers.forget("me")
    assert not any(path.exists() for path in mine)


def hold(pipe):
    """A server's life, in a process of its own."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with door.upload_folder() as folder:
            (folder / "x.png").touch()
            pipe.send(folder)
            time.sleep(600)
    except KeyboardInterrupt:
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_uploads_that_a_killed_server_left_are_removed_by_the_next(tmp_path, monkeypatch, number):
    monkeypatch.setattr(door.tempfile, "tempdir", str(tmp_path))
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    first = context.Process(target=hold, args=(there,))
    first.start()
    folder = here.recv()
    os.utime(folder, (0, 0))
    with door.upload_folder():
        assert (folder / "x.png").exists()  # the first one lives
    os.kill(first.pid, number)
    first.join()
    assert folder.exists() == (number == signal.SIGKILL)
    if folder.exists():
        os.utime(folder, (0, 0))
    with door.upload_folder() as next_one:
        assert list(tmp_path.iterdir()) == [next_one]
    assert not list(tmp_path.iterdir())


def test_foreign_links_in_the_temporary_folder_are_left_alone(tmp_path, monkeypatch):
    target = tmp_path / "precious"
    target.mkdir()
    (target / "file").touch()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    (temporary / "selfsup3d-demo-x").symlink_to(target)
    monkeypatch.setattr(door.tempfile, "tempdir", str(temporary))
    with door.upload_folder():
        pass
    assert (target / "file").exists()
