import json

import numpy as np
import pytest

from selfsup3d.errors import InputError
from selfsup3d.preparation.boxes import find_box_file, read_boxes

ROWS = [
    {"frame": 2, "x": 10, "y": 20, "width": 30, "height": 60, "person": "anna"},
    {"frame": 6, "x": 18, "y": 20, "width": 30, "height": 64, "person": "anna"},
    {"frame": 40, "x": 0, "y": 0, "width": 5, "height": 9, "person": "anna"},
    {"frame": 3, "x": 1.5, "y": 2.5, "width": 3, "height": 4, "person": "bo"},
]


def _json(path, rows):
    path.write_text(json.dumps({"boxes": rows}), encoding="utf-8")
    return path


def _csv(path, rows):
    names = list(rows[0])
    path.write_text("\n".join([",".join(names), *(",".join(str(r[n]) for n in names) for r in rows)]))
    return path


@pytest.mark.parametrize("write", [_json, _csv])
def test_boxes_become_tracks_with_gaps_filled(tmp_path, write):
    tracks = read_boxes(write(tmp_path / f"walk.boxes.{write.__name__[1:]}", ROWS))
    assert [(t.person, t.first, len(t)) for t in tracks] == [("anna", 2, 5), ("anna", 40, 1), ("bo", 3, 1)]
    assert tracks[0].boxes[2].tolist() == [14.0, 20.0, 30.0, 62.0]
    assert np.allclose(tracks[2].boxes[0], [1.5, 2.5, 3, 4])


def test_person_may_be_left_out(tmp_path):
    (tmp_path / "a.boxes.csv").write_text("frame,x,y,width,height\n0,1,2,3,4\n1,1,2,3,4\n")
    (track,) = read_boxes(tmp_path / "a.boxes.csv")
    assert len(track) == 2


def test_the_box_file_stands_beside_its_video(tmp_path):
    (tmp_path / "walk.mp4").write_bytes(b"")
    assert find_box_file(tmp_path / "walk.mp4") is None
    expected = _json(tmp_path / "walk.boxes.json", ROWS)
    assert find_box_file(tmp_path / "walk.mp4") == expected
    (tmp_path / "run").mkdir()
    inside = _csv(tmp_path / "run" / "boxes.csv", ROWS)
    assert find_box_file(tmp_path / "run") == inside


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no boxes"),
        ("frame,x,y,width,height\n", "no boxes"),
        ("frame,x,y,width\n0,1,2,3\n", "row 0"),
        ("frame,x,y,width,height\n0,1,2,3,four\n", "row 0"),
        ("frame,x,y,width,height\n0,1,2,3,4\n1,1,2,0,4\n", "row 1"),
        ("frame,x,y,width,height\n0.5,1,2,3,4\n", "row 0"),
        ("frame,x,y,width,height\n-1,1,2,3,4\n", "row 0"),
        ("frame,x,y,width,height\n0,nan,2,3,4\n", "row 0"),
        ("frame,x,y,width,height\n0,1,2,inf,4\n", "row 0"),
    ],
)
def test_bad_csv(tmp_path, content, words):
    (tmp_path / "a.boxes.csv").write_text(content)
    with pytest.raises(InputError, match=words) as error:
        read_boxes(tmp_path / "a.boxes.csv")
    assert "a.boxes.csv" in str(error.value)


@pytest.mark.parametrize("content", ["{", "3", '{"boxes": 3}', '{"boxes": [3]}', "[]", '[{"frame": 0}]', '{"a": 1}'])
def test_bad_json(tmp_path, content):
    (tmp_path / "a.boxes.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.boxes\.json"):
        read_boxes(tmp_path / "a.boxes.json")


def test_no_text_at_all(tmp_path):
    (tmp_path / "a.boxes.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match="cannot be read"):
        read_boxes(tmp_path / "a.boxes.csv")
