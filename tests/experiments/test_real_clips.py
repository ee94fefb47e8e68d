import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from selfsup3d.errors import InputError
from selfsup3d.evaluation.reference_2d import Reference2D
from selfsup3d.evaluation.reference_2d_report import add_to_page, real_clips_text
from selfsup3d.experiments.clip_curve import add_to_curve
from selfsup3d.experiments.clip_pictures import clip_sheet, picture_rows, write_jpg
from selfsup3d.experiments.real_clips import ClipReading, facing_pose, measure_clips
from selfsup3d.inference.predictor import Predictor
from selfsup3d.structures.batch import PoseOutput
from selfsup3d.structures.skeleton import H36M_17, joint_index

SIDE, FRAMES = 96, 4


class Known(torch.nn.Module):
    """Sees the joints where they are in the whole frame; its keypoints lie `off` px of the crop beside them."""

    predict_requires = ("target",)

    def __init__(self, unit, off=0.0):
        super().__init__()
        self.unit, self.off = torch.nn.Parameter(torch.from_numpy(unit).float()), off

    def predict(self, batch, samples=1):
        count, size = len(batch.target), batch.target.shape[-1]
        pixels = (self.unit.detach() * size).expand(count, 17, 2)
        return PoseOutput(torch.zeros(count, 1, 17, 3), joints_2d=pixels[:, None], keypoints=pixels + self.off)


@pytest.fixture
def unit():
    """(17, 2) a standing person in units of the frame's side."""
    canonical = np.zeros((17, 3))
    for j, name in enumerate(H36M_17.joint_names):
        height = {"hip": 0.0, "knee": -0.4, "ankle": -0.8, "shoulder": 0.5, "elbow": 0.3, "wrist": 0.1}
        side, _, limb = name.partition("_")
        centre = {"spine": 0.25, "neck": 0.5, "nose": 0.6, "head": 0.7}
        canonical[j, 2] = height.get(limb, centre.get(name, 0.0))
        canonical[j, 1] = {"left": 0.2, "right": -0.2}.get(side, 0.0)
    return facing_pose(canonical) * 0.4 + 0.5


@pytest.fixture
def clips(tmp_path, unit):
    """Two clips: one of a whole body, one whose reference shows no legs; and one without a reference."""
    rng = np.random.default_rng(0)
    for name in ("walk", "sign", "other"):
        folder = tmp_path / "clips" / name / "frames"
        folder.mkdir(parents=True)
        for k in range(FRAMES):
            cv2.imwrite(str(folder / f"{k:04d}.png"), rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8))
    (tmp_path / "clips" / "clips.json").write_text(json.dumps({n: {"fps": 10} for n in ("walk", "sign", "other")}))
    references = {n: Reference2D(np.tile(unit * SIDE, (FRAMES, 1, 1)), np.ones((FRAMES, 17))) for n in ("walk", "sign")}
    for limb in ("knee", "ankle"):
        references["sign"].visibility[:, [joint_index(f"{s}_{limb}") for s in ("left", "right")]] = 0.0
    references["walk"].visibility[0] = 0.0
    return tmp_path / "clips", references


def test_keypoints_and_projected_joints_are_measured_apart_and_everything_is_counted(clips, unit):
    root, references = clips
    predictor = Predictor(Known(unit, off=3.0), 32, parts="none")  # 3 px of 32 are 9 of 96; a torso has 19.2
    result, frames = measure_clips(predictor, root, references, ClipReading(), guess=unit, progress=False)
    assert list(result["groups"]) == ["whole body", "upper body", "all"]
    whole = result["groups"]["whole body"]
    assert whole["clips"] == 1
    assert whole["rows"]["joints"]["pck_0.2"] == 1.0
    assert whole["rows"]["keypoints"]["pck_0.5"] == 0.0
    assert whole["rows"]["keypoints"]["error"] == pytest.approx(9 * 2**0.5 / 19.2, abs=1e-3)
    assert whole["rows"]["mean_pose_in_reference_box"]["pck_0.2"] == 1.0  # here the guess is the truth
    assert result["frames"] == 2 * FRAMES - 1
    assert result["skipped"]["frames_without_reference"] == 1
    assert result["skipped"]["clips_without_reference"] == ["other"]
    assert frames["person"].tolist() == ["sign"] * FRAMES + ["walk"] * FRAMES
    assert np.isnan(frames["pck_0.2"][FRAMES])
    assert "crop=whole" in real_clips_text(result)


def test_the_half_with_the_higher_confidence_is_told_where_a_model_is_calibrated(clips, unit):
    class Sure(Known):
        """Surer of the joints above the hips, which it sees rightly; the others are 40 px of 96 off."""

        def predict(self, batch, samples=1):
            found = super().predict(batch, samples)
            above = self.unit.detach()[:, 1] < 0.5
            pixels = found.joints_2d + torch.where(above, 0.0, 40 / SIDE * batch.target.shape[-1])[:, None]
            return replace(found, joints_2d=pixels, confidence=(0.5 + 0.4 * above).expand(len(batch.target), 17))

    root, references = clips
    predictor = Predictor(Sure(unit), 32, parts="none")
    result, _ = measure_clips(predictor, root, references, ClipReading(), progress=False)
    whole = result["groups"]["whole body"]["rows"]
    names = ("joints", "joints_surer_half", "joints_other_half")
    assert [whole[name]["pck_0.5"] for name in names] == [pytest.approx(10 / 17), 1.0, 0.0]
    assert "the half with the higher confidence" in real_clips_text(result)
    plain, _ = measure_clips(Predictor(Known(unit), 32, parts="none"), root, references, ClipReading(), progress=False)
    assert "joints_surer_half" not in plain["groups"]["all"]["rows"]


def test_cropped_readings_come_back_in_full_frame_pixels(clips, unit):
    """The system puts its joints at fixed places of whatever it is shown, so a crop moves them with it."""
    root, references = clips
    seen = []

    class Watching(Known):
        def predict(self, batch, samples=1):
            seen.append(batch.target)
            return super().predict(batch, samples)

    result, _ = measure_clips(
        Predictor(Watching(unit), 32, parts="none"), root, references, ClipReading("reference", 1.0), progress=False
    )
    extent = np.ptp(unit, axis=0).max() * SIDE  # a square as high as the person, about their middle
    torso = (unit[0] - unit[joint_index("neck")])[1]
    offset = (unit - 0.5) * extent + 0.5 * (unit.min(0) + unit.max(0)) * SIDE - unit * SIDE
    row = result["clips"]["walk"]["rows"]["joints"]
    assert row["error"] == pytest.approx(np.linalg.norm(offset, axis=-1).mean() / (torso * SIDE), abs=0.05)
    assert len(seen) == 2


def test_wrong_clips_and_lengths_are_refused(clips, unit):
    root, references = clips
    predictor = Predictor(Known(unit), 32, parts="none")
    with pytest.raises(InputError, match=r"wlak.*walk"):
        measure_clips(predictor, root, references, ClipReading(), clips=["wlak"], progress=False)
    with pytest.raises(InputError, match=r"other.*the reference does not"):
        measure_clips(predictor, root, references, ClipReading(), clips=["other"], progress=False)
    short = {"walk": Reference2D(references["walk"].pixels[1:], references["walk"].visibility[1:])}
    with pytest.raises(InputError, match="4 frames, the reference of 'walk' has 3"):
        measure_clips(predictor, root, short, ClipReading(), progress=False)
    with pytest.raises(InputError, match="none of its 3 clips has a reference"):
        measure_clips(predictor, root, {"x": references["walk"]}, ClipReading(), progress=False)


def test_a_page_keeps_one_result_of_each_model_and_reading(clips, unit, tmp_path):
    root, references = clips
    predictor = Predictor(Known(unit), 32, parts="none")
    page = tmp_path / "page.md"
    for name, crop in (("a", "whole"), ("a", "reference"), ("b", "whole"), ("a", "whole")):
        result, _ = measure_clips(predictor, root, references, ClipReading(crop), progress=False)
        add_to_page(page, {**result, "checkpoint": name})
    told = page.read_text()
    assert told.count("\n## ") == 3
    assert told.count("crop=reference") == 2  # in the table, and above its own
    (tmp_path / "page.json").write_text("[]")
    with pytest.raises(InputError, match="not the data of a page"):
        add_to_page(page, {**result, "checkpoint": "a"})


def test_each_clip_is_handed_over_as_it_was_read_and_drawn_in_eight_frames_at_most(clips, unit, tmp_path):
    root, references = clips
    seen = {}
    predictor = Predictor(Known(unit), 32, parts="none")
    measure_clips(predictor, root, references, ClipReading(), progress=False, seen=seen.__setitem__)
    assert {name: len(posed) for name, posed in seen.items()} == {"walk": FRAMES, "sign": FRAMES}
    rows = picture_rows(seen["walk"], references["walk"], cell=64)
    assert len(rows) == FRAMES
    plain = picture_rows([replace(frame, joints_2d=None) for frame in seen["walk"]], references["walk"], cell=64)
    assert all((drawn != bare).any() for drawn, bare in zip(rows, plain, strict=True))
    many = Reference2D(np.tile(references["walk"].pixels, (5, 1, 1)), np.tile(references["walk"].visibility, (5, 1)))
    assert len(picture_rows(seen["walk"] * 5, many)) == 8
    nowhere = Reference2D(np.full((FRAMES, 17, 2), np.nan), np.zeros((FRAMES, 17)))
    clear = picture_rows([replace(frame, joints_2d=None) for frame in seen["walk"]], nowhere, cell=64)
    head = np.rint((unit[joint_index("nose")] + unit[joint_index("head")]) / 2 * 64).astype(int)
    near = np.s_[head[1] - 3 : head[1] + 4, head[0] - 3 : head[0] + 4]
    assert all(np.std(blurred[near]) < 0.5 * np.std(sharp[near]) for blurred, sharp in zip(plain, clear, strict=True))
    assert all((blurred[-8:] == sharp[-8:]).all() for blurred, sharp in zip(plain, clear, strict=True))
    sheet = clip_sheet({"walk": {"before": plain, "after": rows}, "sign": {"after": rows}})
    assert sheet.shape[0] > 3 * 64
    write_jpg(tmp_path / "sheet.jpg", sheet)
    assert cv2.imread(str(tmp_path / "sheet.jpg")).shape == sheet.shape
    with pytest.raises(OSError, match="draw fewer clips"):
        write_jpg(tmp_path / "sheet.jpg", sheet, most=1000)


def test_a_curve_keeps_one_point_of_each_run_and_count_and_is_drawn(clips, unit, tmp_path):
    root, references = clips
    told = []
    for off in (0.0, 9.0):
        predictor = Predictor(Known(unit, off), 32, parts="none")
        told.append(measure_clips(predictor, root, references, ClipReading(), progress=False)[0])
    file = tmp_path / "curve.json"
    for run, images, result in (("a", 100, told[1]), ("a", 1000, told[0]), ("a", 100, told[0]), ("b", 10, told[1])):
        written = add_to_curve(file, run, images, result)
    points = json.loads(file.read_text())["points"]
    assert [(p["run"], p["images"], p["keypoints, PCK@0.2"]) for p in points] == [
        ("a", 100, 1.0), ("a", 1000, 1.0), ("b", 10, 0.0),
    ]  # fmt: skip
    assert written == [file, tmp_path / "curve.png"]
    assert (tmp_path / "curve.png").is_file()
    file.write_text('{"points": 3}')
    with pytest.raises(InputError, match="not the points of a curve"):
        add_to_curve(file, "a", 1, told[0])
