import json
import os

import pytest

from selfsup3d.io.files import atomic_path, no_trace, visible_files, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_trace(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_there_until_the_end(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("x")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "x"


def test_not_a_number_is_no_json(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_text_is_utf8(tmp_path):
    write_text(tmp_path / "ü.txt", "Wärme")
    assert (tmp_path / "ü.txt").read_bytes() == "Wärme".encode()


def test_a_failure_leaves_no_empty_folders_of_its_own(tmp_path):
    def body(folder, files):
        with no_trace(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                (folder / file).write_text("x")
            raise ValueError

    def fail(folder, *files):
        with pytest.raises(ValueError):
            body(folder, files)

    fail(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "a").mkdir()
    fail(tmp_path / "a")
    assert (tmp_path / "a").exists()
    fail(tmp_path / "a" / "b" / "c", "d")
    assert (tmp_path / "a" / "b" / "c" / "d").exists()


def test_links_to_folders_are_followed_once(tmp_path):
    (tmp_path / "data" / "sub" / ".hidden").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for place in ("data/b.bvh", "data/a.bvh", "data/.c.bvh", "data/sub/d.bvh", "data/sub/.hidden/e", "elsewhere/f.bvh"):
        (tmp_path / place).write_text("")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "data")
    found = {
        folder.relative_to(tmp_path / "data").as_posix(): names for folder, names in visible_files(tmp_path / "data")
    }
    assert found == {".": ["a.bvh", "b.bvh"], "link": ["f.bvh"], "sub": ["d.bvh"]}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_no_files_and_broken_links_are(tmp_path):
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    (tmp_path / "broken.mp4").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert list(visible_files(tmp_path)) == [(tmp_path, ["a.mp4", "broken.mp4", "link.mp4"])]
