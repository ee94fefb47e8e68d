from pathlib import Path

import pytest

from selfsup3d.config.run import Config
from selfsup3d.experiments.release import model_card, save_release

PEOPLE = {
    "system": {
        "kind": "part_guided",
        "supervision": "pretrain",
        "pretrain": {"source": "people"},
        "backbone_weights": "/somewhere/imagenet.safetensors",
    },
    "data": {"kind": "people", "prior": "/somewhere/motions.npz", "backgrounds": "/somewhere/photographs"},
}


def test_the_card_of_a_model_of_rendered_people_names_each_assumption():
    card = model_card(Config.model_validate(PEOPLE))
    for told in (
        "rendered 3D people",
        "photographs that show nobody",
        "no label of a real image",
        "motion capture (motions.npz) (60 %), and procedural",
        "imagenet.safetensors, trained with class labels",
        "has not learned to paint",
    ):
        assert told in card
    assert "/somewhere" not in card


@pytest.mark.parametrize("source", ["puppet", "people"])
def test_the_card_says_which_shapes_were_assumed(source):
    values = {"system": {"kind": "part_guided", "pretrain": {"source": source}}, "data": {"kind": "videos"}}
    assumed = {"puppet": "assumes one 2D puppet", "people": "assumes rendered 3D people"}
    card = model_card(Config.model_validate(values))
    assert assumed[source] in card
    assert sum(text in card for text in assumed.values()) == 1


def test_a_released_model_of_people_names_no_path(tmp_path, monkeypatch):
    written = {}

    def keep(folder: Path, system: object, config: dict, card: str, half: bool) -> None:
        written.update(config)

    monkeypatch.setattr("selfsup3d.io.pretrained.save_pretrained", keep)
    save_release(tmp_path, Config.model_validate(PEOPLE), None, [])  # type: ignore[arg-type]
    assert written["data"]["prior"] == "motions.npz"
    assert "/somewhere" not in str(written)
