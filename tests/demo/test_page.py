from types import SimpleNamespace

import numpy as np
import pytest

gr = pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")

from selfsup3d.demo.page import build_page, launch_page  # noqa: E402
from selfsup3d.errors import InputError  # noqa: E402


@pytest.fixture
def page(answers, images, tmp_path):
    return build_page(answers, images, tmp_path)


REQUEST = SimpleNamespace(session_hash="page")


def functions(page, name):
    """The functions of that name behind the page, each once."""
    return list({id(entry.fn): entry.fn for entry in page.fns.values() if entry.name == name}.values())


def test_a_image_is_looked_at_and_seen_from_elsewhere(page, images):
    look = functions(page, "look")[0]
    path, seen, skeleton, overlay, parts, *files, message = look({"path": str(images[0])}, "whole", REQUEST)
    assert path == str(images[0].resolve())
    assert len(files) == 3
    assert all(file["interactive"] for file in files)
    assert "joints" in skeleton
    assert overlay.shape == parts.shape
    assert not message["visible"]
    view = functions(page, "view")[0]
    assert not np.array_equal(view(seen, 0, 0, 1), view(seen, 90, 0, 1))


def test_a_broken_image_clears_the_page_and_is_told_as_plain_text(page, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not an image")
    for look in functions(page, "look"):
        arguments = ({"path": str(bad), "orig_name": "<b>bad</b>.png"}, "whole", REQUEST)
        *results, message = look(*arguments[: look.__code__.co_argcount])
        assert all(r is None or r["value"] is None for r in results)
        assert message["visible"]
        assert message["value"].startswith("&lt;b&gt;bad&lt;/b&gt;.png is not an image")


def test_nothing_is_shown_of_nothing(page):
    for look in functions(page, "look"):
        *results, message = look(*(None, "whole", REQUEST)[: look.__code__.co_argcount])
        assert all(r is None or r["value"] is None for r in results)
        assert not message["visible"]
    assert functions(page, "view")[0](None, 0, 0, 1) is None
    assert functions(page, "transfer")[0](None, None, 1) is None


def test_a_picture_of_the_webcam_takes_the_images_place(page, images, tmp_path):
    for taken in functions(page, "taken"):
        assert taken({"path": str(images[0]), "orig_name": "image.png"})[0] == str(images[0].resolve())
        assert "value" not in taken(None)[0]  # the picture was removed: what is shown stays
        with pytest.raises(InputError, match="not uploaded here"):
            taken({"path": __file__})


def test_a_page_without_shipped_images_builds(answers, tmp_path):
    assert build_page(answers, [], tmp_path).fns


def test_a_host_that_is_not_this_machines_is_bad_input(page, tmp_path, capfd):
    with pytest.raises(InputError, match=r"cannot serve on 192\.0\.2\.1:7999"):  # an address for documentation
        launch_page(page, "192.0.2.1", 7999, tmp_path, block=False)
    assert capfd.readouterr().err == ""


def test_a_taken_port_is_bad_input(page, tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="--port"):
            launch_page(page, "127.0.0.1", taken.getsockname()[1], tmp_path, block=False)
