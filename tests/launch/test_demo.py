"""The demo's script, and its page in a real browser."""

import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from selfsup3d.builders.systems import build_system
from selfsup3d.cli import run
from selfsup3d.config.run import Config
from selfsup3d.data.synthetic.prior import ProceduralPrior
from selfsup3d.geometry.kinematics import bone_lengths
from selfsup3d.io import pretrained

SCRIPT = Path(__file__).parents[2] / "launch" / "demo.py"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]  # fmt: skip
PATIENCE = 60_000  # ms: machines that run tests are busy


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained model in a folder."""
    config = Config()
    system = build_system(config)
    system.bone_lengths.copy_(bone_lengths(torch.from_numpy(ProceduralPrior(2).poses)).mean(0))
    nn.init.normal_(system.decoder.to_image.weight, std=0.05)  # as if it were trained
    folder = tmp_path_factory.mktemp("model")
    pretrained.save_pretrained(folder / "untrained", system, config.to_dict(), "# untrained")
    return folder / "untrained"


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.fixture(scope="module")
def script():
    return importlib.import_module("selfsup3d.commands.demo")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", tempfile.gettempdir())  # the script sets these: put back what was there
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--checkpoint"),
        (["--checkpoint", "nowhere"], "nowhere: no such file or folder"),
        (["--checkpoint", "x", "--port", "0"], "--port 0"),
        (["--checkpoint", "x", "--port", "web"], "--port"),
        (["--checkpoint", "x", "--examples", "nowhere"], "--examples nowhere: no such folder"),
        (["--checkpoint", "x", "--chekpoint", "y"], "--chekpoint"),
    ],
)
@pytest.mark.usefixtures("x")
def test_bad_input_is_a_message_and_exit_code_2(script, arguments, told, capsys):
    assert run(script.main, arguments) == 2
    assert told in capsys.readouterr().err.splitlines()[0]


@pytest.mark.usefixtures("x")
def test_without_gradio_the_message_says_how_to_get_it(script, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "selfsup3d.demo.page", raising=False)
    assert run(script.main, ["--checkpoint", "x"]) == 2
    assert "pip install -e '.[demo]'" in capsys.readouterr().err.splitlines()[0]


@pytest.mark.usefixtures("x")
def test_nohup_outlives_its_terminal(script, monkeypatch):
    handled = []
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN if number == signal.SIGHUP else None)
    monkeypatch.setattr(signal, "signal", lambda number, _: handled.append(number))
    assert run(script.main, ["--checkpoint", "x"]) != 0
    assert handled == [signal.SIGTERM]


# ------------------------------------------------------------------------------------------------------- in the browser


@pytest.fixture(scope="module")
def server(model):
    """The script in a process of its own; its address. When it is stopped, nothing of the uploads is left."""
    pytest.importorskip("gradio", reason="the demo needs gradio: pip install -e '.[demo]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as temporary:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--checkpoint", str(model), "--port", str(port), "--device", "cpu"],
            env={**os.environ, "TMPDIR": temporary, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            told, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in told
        assert told.startswith(f"http://127.0.0.1:{port}")
        assert "share" not in told  # gradio's advice to put the page on the internet
        assert not list(Path(temporary).glob("selfsup3d-demo-*"))


def _wait_for(port: int, process: subprocess.Popen) -> None:
    for _ in range(240):
        assert process.poll() is None, process.stdout.read()
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError("the demo did not start")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright (pip install playwright; its browsers are not needed)"
    )
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM} (apt-get install chromium)")
    with tempfile.TemporaryDirectory() as profile, playwright.sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            profile, executable_path=str(CHROMIUM), args=FLAGS, viewport={"width": 1360, "height": 900}
        )
        yield context
        context.close()


@pytest.fixture
def page(browser, server):
    """The page, opened afresh, with the first shipped image's results; what it asked for and complained about."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(server)
    page.wait_for_selector("#novel img")
    yield page
    page.close()


@pytest.fixture
def person(tmp_path):
    """An image to upload, of no shape that is shipped."""
    path = tmp_path / "my image.jpg"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize((160, 200)).save(path)
    return path


def image(page, name):
    """Address of a result's image; the server names images by their content."""
    return page.locator(f"#{name} img").get_attribute("src")


def wait_until_changed(page, name, before):
    page.wait_for_function(
        "([name, before]) => { const i = document.querySelector(`#${name} img`); return i && i.src !== before; }",
        arg=[name, before],
    )


def upload(page, path, name="image"):
    with page.expect_file_chooser() as chooser:
        page.locator(f"#{name}-upload").click()
    chooser.value.set_files(str(path))


def drawn(page):
    """What stands on the skeleton's canvas, as one string."""
    return page.evaluate("document.querySelector('#skeleton canvas').toDataURL()")


def on_skeleton(page, name):
    return page.evaluate(f"document.querySelector('#skeleton [data-{name}]').dataset.{name}")


@pytest.mark.slow
def test_the_page_opens_with_a_shipped_image_and_asks_nobody_else(page, server):
    assert on_skeleton(page, "joints") == "17"
    assert len({image(page, name) for name in ("image", "overlay", "parts", "novel")}) == 4
    assert page.locator("#image-examples img").count() == 8
    assert [url for url in page.asked if not url.startswith((server, "data:", "blob:"))] == []
    assert page.complaints == []


@pytest.mark.slow
def test_the_skeleton_turns_under_the_mouse_and_the_keys(page):
    box = page.locator("#skeleton canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before, angle = drawn(page), float(on_skeleton(page, "azimuth"))
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 80, middle[1] + 10, steps=4)
    page.mouse.up()
    turned = drawn(page)
    assert turned != before
    assert abs(float(on_skeleton(page, "azimuth")) - (angle - 0.8)) < 1e-3
    page.mouse.move(middle[0], middle[1] - 20)  # the button is up
    assert drawn(page) == turned
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(200)
    assert drawn(page) != turned
    page.locator("#skeleton canvas").dblclick()
    assert drawn(page) == before
    page.locator("#skeleton canvas").press("ArrowLeft")
    assert drawn(page) != before


@pytest.mark.slow
@pytest.mark.parametrize(("slider", "value"), [("azimuth", "-90"), ("elevation", "60"), ("distance", "1.6")])
def test_a_slider_changes_the_image(page, slider, value):
    before = image(page, "novel")
    number = page.locator(f"#{slider} input[type=number]")
    number.fill(value)
    number.press("Enter")
    wait_until_changed(page, "novel", before)


@pytest.mark.slow
def test_a_slider_is_dragged(page):
    before = image(page, "novel")
    box = page.locator("#azimuth input[type=range]").bounding_box()
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2)
    wait_until_changed(page, "novel", before)


@pytest.mark.slow
def test_an_upload_and_a_shipped_image_take_the_place(page, person, tmp_path):
    before, skeleton = {name: image(page, name) for name in ("image", "overlay", "parts", "novel")}, drawn(page)
    upload(page, person)
    for name, address in before.items():
        wait_until_changed(page, name, address)
    assert drawn(page) != skeleton
    uploaded = image(page, "parts")
    page.locator("#image-examples img").nth(2).click()
    wait_until_changed(page, "parts", uploaded)
    assert page.complaints == []


@pytest.mark.slow
def test_a_picture_is_taken_by_the_webcam(page):
    before = {name: image(page, name) for name in ("image", "overlay", "novel")}
    page.locator("#image-webcam button").first.click()
    page.locator("#image-camera [title='grant webcam access']").click()
    page.locator("#image-camera button[aria-label='capture photo']").click()
    for name, address in before.items():
        wait_until_changed(page, name, address)
    page.locator("#image-camera").wait_for(state="hidden")
    assert page.complaints == []


@pytest.mark.slow
def test_on_a_telephone_every_tab_is_in_reach_and_results_begin_on_the_first_screen(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.locator("#skeleton").bounding_box()["y"] < 844
    for name in ("Transfer", "Video", "Pose"):
        page.get_by_role("tab", name=name, exact=True).click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_the_pose_is_downloaded(page, tmp_path):
    starts = {"npz": b"PK", "bvh": b"HIERARCHY", "glb": b"glTF"}
    for kind, start in starts.items():
        with page.expect_download() as download:
            page.locator(f"#file-{kind}").click()
        download.value.save_as(tmp_path / f"pose.{kind}")
        assert (tmp_path / f"pose.{kind}").read_bytes().startswith(start)
        assert download.value.suggested_filename == f"pose.{kind}"
    with np.load(tmp_path / "pose.npz") as record:
        assert record["joints_3d"].shape == (1, 17, 3)


@pytest.mark.slow
def test_a_broken_upload_gets_a_message_and_the_next_one_works(page, person, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing of the kind")
    upload(page, broken)
    message = page.locator("#image-message [role=alert]")
    message.wait_for()
    assert message.inner_text().startswith("broken.png is not an image that can be read")
    page.wait_for_selector("#novel img", state="detached")
    assert on_skeleton(page, "joints") == "0"
    assert page.locator("#file-npz").is_disabled()
    assert "Traceback" not in page.content()
    upload(page, person)
    page.wait_for_selector("#novel img")
    message.wait_for(state="hidden")


@pytest.mark.slow
def test_large_files_and_other_kinds_are_turned_away(page, tmp_path):
    before = image(page, "novel")
    (tmp_path / "large.png").write_bytes(bytes(11 * 2**20))
    upload(page, tmp_path / "large.png")
    page.get_by_text("large.png is larger than 10 MB").wait_for()
    (tmp_path / "notes.txt").write_text("hello")
    upload(page, tmp_path / "notes.txt")
    page.get_by_text("Invalid file type: notes.txt").wait_for()
    assert image(page, "novel") == before


@pytest.mark.slow
def test_the_server_itself_refuses_what_is_too_large(server):
    import httpx

    reply = httpx.post(f"{server}/gradio_api/upload", files={"files": ("large.png", bytes(11 * 2**20))}, timeout=60)
    assert reply.status_code == 413


@pytest.mark.slow
def test_one_person_takes_the_pose_of_another(page, person):
    page.get_by_role("tab").nth(1).click()
    page.wait_for_selector("#transfer img")
    for change in (
        lambda: upload(page, person, "driving"),
        lambda: page.locator("#appearance-examples img").nth(4).click(),
        lambda: page.locator("#blend input[type=number]").fill("0.5"),
    ):
        before = image(page, "transfer")
        change()
        wait_until_changed(page, "transfer", before)
    assert page.complaints == []
