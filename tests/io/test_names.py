import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from selfsup3d.errors import InputError
from selfsup3d.io.names import clean_component, clean_relative, file_name, fitting, printable, printable_streams


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../../victim", "a\\b", "C:x", "a\0b", "a\x1b[31m", " a", "x" * 300, 5, None]
)
def test_what_is_no_single_component_is_refused(name):
    with pytest.raises(InputError, match=r"index.npz"):
        clean_component(name, "index.npz")


@pytest.mark.parametrize("name", ["54138969", "Walking 1", "танец 中", "a.mp4", "...", "-x"])
def test_names_of_people_and_files_are_accepted(name):
    assert clean_component(name, "x") == name


@given(st.text())
def test_a_clean_component_stays_in_its_folder(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    try:
        name = clean_component(text, "x")
    except InputError:
        return
    assert (folder / name).parent == folder
    assert (folder / name).resolve().parent == folder.resolve()


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a/../../b", "\\x", "a/b\0", "a\\..\\b", None])
def test_paths_that_leave_their_folder_are_refused(path):
    with pytest.raises(InputError):
        clean_relative(path, "index.npz")


@pytest.mark.parametrize("path", ["", "S9/Videos/Walking 1.54138969.mp4", "seq/img_{:06d}.jpg", "a/./b"])
def test_paths_below_a_folder_are_accepted(path):
    assert clean_relative(path, "x") == path


def test_over_long_names_are_cut_and_stay_apart():
    names = {fitting("ж" * 300 + str(k)) for k in range(10)}
    assert len(names) == 10
    assert all(len(name.encode()) <= 200 for name in names)
    assert fitting("walk") == "walk"


def test_people_of_any_name_get_files_of_their_own(tmp_path):
    people = ["anna", "a/b", "a_b", "a b", "../x", "x" * 400, "x" * 401, "\udcff", "ж 1", "0"]
    for person in people:
        (tmp_path / f"person_{file_name(person)}.json").touch()
    assert len(list(tmp_path.iterdir())) == len(people)
    assert file_name("anna") == "anna"


def test_escape_codes_become_visible():
    assert printable("a\x1b]0;title\x07\u202eb\r") == "a\\x1b]0;title\\x07\\u202eb\\r"
    assert printable("Łódź 中\n\tx") == "Łódź 中\n\tx"
    assert printable("\udcff") == "\\udcff"


def test_a_line_break_in_a_name_makes_no_further_line():
    error = pickle.loads(pickle.dumps(InputError("a\nall is well.png: no image", "b\nc: absent")))
    assert str(error) == "a\\nall is well.png: no image\nb\\nc: absent"


def test_whoever_prints_a_name_the_terminal_gets_text(capsys):
    evil = "a\x1b]0;title\x07\rb\x9b2J\udcff"
    with printable_streams():
        print(f"{evil}: skipped")
        tqdm.write(f"skipped: {evil}", file=sys.stderr)
        for _ in tqdm(range(2), desc=evil, mininterval=0):
            pass
    told = capsys.readouterr()
    for text in told:
        assert not {"\x1b", "\x07", "\x9b"} & set(text.replace("\x1b[A", ""))
        assert "\\x1b]0;title\\x07" in text
        assert "\rb" not in text
    assert "100%" in told.err


def test_bars_keep_their_moves(capsys):
    with printable_streams():
        bars = [tqdm(range(1), position=k, mininterval=0) for k in range(2)]
        for bar in bars:
            bar.update()
            bar.close()
    assert "\x1b[A" in capsys.readouterr().err
