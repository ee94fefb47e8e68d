import json

import cv2
import numpy as np
import pytest
import torch

from selfsup3d.demo import answers as module
from selfsup3d.demo import results
from selfsup3d.demo.answers import SHOWN
from selfsup3d.demo.viewer import script, skeleton_json
from selfsup3d.errors import InputError
from selfsup3d.inference.records import load_record
from selfsup3d.structures.skeleton import H36M_17


def test_a_look_holds_pose_images_and_files(answers, images):
    look = answers.look(images[0], "whole", "me.png")
    person = look.seen.person
    assert np.allclose(look.joints, person.body.posed[0].numpy())
    assert np.allclose(look.joints[0], 0, atol=1e-6)
    for image in (look.overlay, look.parts, look.seen.image):
        assert image.shape == (SHOWN, SHOWN, 3)
        assert image.dtype == np.uint8
    assert not np.array_equal(look.overlay, look.seen.image)
    assert [path.name for path in look.files] == ["pose.npz", "pose.bvh", "pose.glb"]
    record = load_record(look.files[0])
    assert np.allclose(record.joints_3d[0], look.joints, atol=1e-6)
    assert record.source == "me.png"
    assert look.files[1].read_text().startswith("HIERARCHY")
    assert look.files[2].read_bytes().startswith(b"glTF")


def test_the_framing_changes_what_the_network_sees(answers, images):
    whole, middle = (answers.encode(images[1], framing) for framing in ("whole", "middle"))
    assert not np.array_equal(whole.image, middle.image)
    assert not torch.allclose(whole.person.appearance, middle.person.appearance)


def test_pixels_of_the_files_are_those_of_the_uploaded_image(answers, tmp_path):
    """A wide image whose middle square is the first one: the joints lie where they do there, moved by the margin."""
    square = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    wide = np.zeros((96, 200, 3), np.uint8)
    wide[:, 52:148] = square
    for name, image in (("square", square), ("wide", wide)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    records = {n: load_record(answers.look(tmp_path / f"{n}.png", "middle").files[0]) for n in ("square", "wide")}
    size = answers.synthesizer.size
    seen = answers.encode(tmp_path / "square.png", "middle").person.body.pixels[0].numpy()
    np.testing.assert_allclose(records["square"].joints_2d[0], seen * 96 / size, atol=1e-3)
    np.testing.assert_allclose(records["wide"].joints_2d - records["square"].joints_2d, [[[52, 0]] * 17], atol=1e-3)
    assert records["wide"].windows.tolist() == [[52, 0, 96]]


def test_the_view_from_where_it_was_taken_is_the_reconstruction_and_others_differ(answers, images, synthesizer):
    seen = answers.encode(images[0], "whole")
    home = answers.view(seen, 0, 0, 1)
    painted = next(synthesizer.paint(seen.person, seen.person.body))
    differ = np.abs(home.astype(int) - module._shown(painted))
    assert differ.max() <= 1  # grey level: a camera turned by nothing rounds
    for moved in ((60, 0, 1), (0, 40, 1), (0, 0, 1.6)):
        assert not np.array_equal(answers.view(seen, *moved), home)
    with pytest.raises(InputError):
        answers.view(seen, 0, 0, 0)


def test_transfer_goes_from_the_own_pose_to_the_others(answers, images, synthesizer):
    a, b = (answers.encode(path, "whole") for path in images)
    shown = [answers.transfer(a, b, share) for share in (0.0, 0.5, 1.0)]
    own = module._shown(next(synthesizer.paint(a.person, a.person.body)))
    assert np.abs(shown[0].astype(int) - own).max() <= 2  # through limb vectors and back
    assert not np.array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[1], shown[2])
    assert np.array_equal(answers.transfer(a, b, 7.0), shown[2])


def test_only_the_newest_files_are_kept(answers, images, monkeypatch):
    monkeypatch.setattr(results, "_KEPT", 2)
    looks = [answers.look(images[0], "whole") for _ in range(4)]
    assert len(list(answers.results.folder.glob("*/pose-*"))) == 2
    assert all(path.is_file() for path in looks[-1].files)


def test_the_skeleton_reaches_the_canvas_upright_and_centred(answers, images):
    joints = answers.look(images[0], "whole").joints
    told = json.loads(skeleton_json(joints))
    points = np.array(told["joints"])
    assert np.allclose(points.max(0) + points.min(0), 0, atol=1e-3)
    edges = lambda p: [np.linalg.norm(p[a] - p[b]) for a, b in H36M_17.bones]  # noqa: E731
    assert np.allclose(edges(points), edges(joints), atol=1e-3)
    assert np.argmin(joints[:, 1]) == np.argmax(points[:, 2])  # the topmost stays the topmost: camera y points down
    assert len(told["colours"]) == len(told["bones"]) == 16
    assert "http" not in script()  # nothing comes from elsewhere
