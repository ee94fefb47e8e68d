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
        ("frame,x,y,width\n0,1,2,3\n", "no column 'height'"),
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


BOXES = [[0, 72, 1, 250, 256], [9, 80.5, 1, 250, 256]]


def _text(mark=",", names=("frame", "x", "y", "width", "height"), point="."):
    rows = [[str(v).replace(".", point) for v in row] for row in BOXES]
    return "\n".join(mark.join(row) for row in [names, *rows]) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        _text(";"),
        _text(";", point=","),
        _text("\t"),
        _text(", "),
        _text(names=("Frame", "X", "Y", "WIDTH", "Height")),
        _text(names=("frame_id", "left", "top", "w", "h")),
        "\ufeff" + _text(),
        "frame,x1,y1,x2,y2\n0,72,1,322,257\n9,80.5,1,330.5,257\n",
        "frame,x_min,y_min,x_max,y_max\n0,72,1,322,257\n9,80.5,1,330.5,257\n",
        _text(names=("frame", "bbox_left", "bbox_top", "bbox_width", "bbox_height")),
        _text(" "),
        "1 7 72 1 250 256 1 -1 -1 -1\n10 7 80.5 1 250 256 1 -1 -1 -1\n",
        "1,7,72,1,250,256,1,-1,-1,-1\n10,7,80.5,1,250,256,1,-1,-1,-1\n",
        "1,-1,72,1,250,256,0.9,-1,-1,-1\n10,-1,80.5,1,250,256,0.9,-1,-1,-1\n",
        "\n" + _text().replace("\n", "\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_dialects_of_csv_give_the_same_boxes(tmp_path, text, encoding):
    (tmp_path / "a.csv").write_bytes(
        text.removeprefix("\ufeff").encode(encoding) if encoding == "utf-16" else text.encode()
    )
    (track,) = read_boxes(tmp_path / "a.csv")
    assert (track.first, len(track)) == (0, 10)
    np.testing.assert_allclose(track.boxes[[0, 9]], [row[1:] for row in BOXES])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frame,x,y,width,hight\n0,1,2,3,4\n", r"no column 'height'; the first line has frame, x, y, width, hight"),
        ("frame,x,y,width,height\n0,0.1,0.2,0.3,0.8\n", "shares of the image and not pixels; multiply x and width"),
        ("0,1,2,3,4\n", "5 columns without a header; name them in a first line: frame,x,y,width,height"),
        ("frame,x,y,width,height,person\n0,1,2,3,4,a\n0,1,2,3,5,a\n", "frame 0 has 2 boxes of 'a'"),
    ],
)
def test_other_tables_are_refused_with_the_remedy(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_boxes(tmp_path / "a.csv")


def test_ignored_rows_of_mot_do_not_count(tmp_path):
    (tmp_path / "a.csv").write_text("1,1,5,5,9,9,1,1,1\n2,2,50,5,9,9,0,1,1\n")
    assert [track.person for track in read_boxes(tmp_path / "a.csv")] == ["1"]


def test_several_boxes_without_names_are_joined_by_overlap(tmp_path):
    rows = [f"{n},{x + n},5,40,90" for n in range(6) for x in (0, 300)]
    (tmp_path / "a.csv").write_text("\n".join(["frame,x,y,width,height", *rows]))
    tracks = read_boxes(tmp_path / "a.csv")
    assert sorted((t.first, len(t), t.boxes[0, 0], t.boxes[-1, 0]) for t in tracks) == [(0, 6, 0, 5), (0, 6, 300, 305)]
