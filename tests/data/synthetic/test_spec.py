from __future__ import annotations

import numpy as np
import pytest

from selfsup3d.data.synthetic.spec import KINDS, NAMESPACES, PRESETS, Code, clip_length, code, preset_named, spec_hash
from selfsup3d.errors import InputError

PINNED = {
    "tiny-test": "21a6ae4b2ef0d3e4d0a7ba38708c35511d84dc8aaa9ec3255b386b5cd53df1f4",
    "quickstart": "e5b7e498d4c0817206641e322f88c70ad430741aa144f3eb28a0342fbd8c6258",
    "v1": "09cbc940c31b1a96e2f34421b82bb56ec8bd85425c1e18d8cdcf089b55ef8603",
}


@pytest.mark.parametrize("name", PINNED)
def test_the_specification_is_pinned(name: str) -> None:
    assert spec_hash(preset_named(name)) == PINNED[name]


def test_codes_are_pinned() -> None:
    assert code("train", "person", 3)[:6].tolist() == [39226, 57759, 36305, 55545, 12159, 30186]
    assert code("test", "motion", 0)[:6].tolist() == [47053, 43792, 54274, 39914, 53019, 5263]


def test_no_two_things_share_a_code() -> None:
    codes = np.stack([code(n, k, i) for n in NAMESPACES for k in KINDS for i in range(40)])
    starts = codes[:, :8].astype(np.uint64)
    assert len(np.unique(starts, axis=0)) == len(codes)


def test_codes_are_uniform() -> None:
    values = np.concatenate([code("train", "person", i) for i in range(200)]) / 65536.0
    counts, _ = np.histogram(values, bins=16, range=(0, 1))
    expected = len(values) / 16
    assert ((counts - expected) ** 2 / expected).sum() < 37.7  # chi-squared, 15 degrees of freedom, p = 0.001


def test_splits_are_as_large_as_promised() -> None:
    def frames(name: str, split: str) -> int:
        preset = preset_named(name)
        return sum(clip_length(preset, split, clip) for clip in range(preset.clips(split)))

    assert frames("quickstart", "val") >= 500
    assert frames("v1", "val") >= 500
    assert frames("v1", "test") >= 1000
    assert 3000 <= frames("quickstart", "train") <= 4000


def test_clip_lengths_keep_to_the_preset() -> None:
    for preset in PRESETS.values():
        lengths = {clip_length(preset, "val", clip) for clip in range(preset.val)}
        assert min(lengths) >= preset.shortest
        assert max(lengths) <= preset.longest


def test_a_code_reads_what_it_says() -> None:
    draw = Code(np.array([0, 32768, 65535, 16384, 49152, 1], dtype=np.uint16))
    assert draw.uniform(2.0, 4.0) == 2.0
    assert draw.uniform(2.0, 4.0) == 3.0
    assert draw.integer(7) == 6
    assert draw.chance(0.3)
    assert draw.pick(("a", "b", "c"), (1, 1, 2)) == "c"
    assert draw.pick(("a", "b")) == "a"
    with pytest.raises(ValueError, match="used up"):
        draw.unit()


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(InputError, match="quickstart"):
        preset_named("quikstart")
    with pytest.raises(InputError, match="train, val or test"):
        preset_named("v1").clips("validation")
