"""Real people, drawn by two models: another frame than those that show the person, and the same pose from the side.

    python -m selfsup3d.experiments.synthesis_pictures --before synth-v1 --after pictures-v1 --poses people-v1 \
        --root CLIPS --reference reference_2d.npz --clips sam2_juggle,sam2_dog_woman,intel_onebyone_p1,sports2d_jumpingjacks \
        --output assets/results/real_clips/synthesis.jpg

Four frames of the first half of a clip show the person, the middle frame of its second half asks for the pose. Heads are
blurred, in drawn images too: of the frame's pose where the reference has it, of a drawn pose where that pose has it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from selfsup3d.builders.systems import read_poses_by
from selfsup3d.errors import InputError
from selfsup3d.evaluation.reference_2d import Reference2D, load_reference
from selfsup3d.experiments.clip_pictures import without_head, write_jpg
from selfsup3d.inference.backdrop import background_of
from selfsup3d.inference.predictor import images_of
from selfsup3d.inference.synthesizer import Orbit, Synthesizer
from selfsup3d.inference.windows import cut, whole_frame
from selfsup3d.preparation.videos import find_clips
from selfsup3d.viz.sheets import labelled, tile, to_uint8

__all__ = ["clip_row", "main"]

_SHOWN = 4
_SIDE = 256


def clip_row(
    title: str, images: np.ndarray, reference: Reference2D, synthesizers: dict[str, Synthesizer]
) -> list[np.ndarray]:
    """One clip: a frame that shows the person, the frame asked for, and what each synthesizer makes of it.

    Args:
        title: of the clip. images: (T, S, S, 3) uint8 of a still camera. reference: its joints, px of the images.
        synthesizers: by name.
    """
    half, side = len(images) // 2, images.shape[1]
    shown, wanted = np.linspace(0, half - 1, _SHOWN).round().astype(int), half + (len(images) - half) // 2
    known = {k: without_head(images[k], reference.pixels[k]) for k in (int(shown[0]), wanted)}
    row = [
        labelled(_resized(image), text) for image, text in zip(known.values(), (title, "another frame"), strict=True)
    ]
    for name, synthesizer in synthesizers.items():
        person = synthesizer.encode(images[shown]).merged()
        body = synthesizer.encode(images[wanted]).body
        background = background_of(images, synthesizer.side)
        for text, seen in ((name, body), ("from 45 degrees", synthesizer.seen_by(body, [Orbit(45.0)]))):
            drawn = to_uint8(next(synthesizer.paint(person, seen, background)))
            drawn = without_head(drawn, seen.pixels[0].cpu().numpy() * synthesizer.scale)
            if seen is body:
                drawn = without_head(drawn, reference.pixels[wanted] * synthesizer.side / side)
            row.append(labelled(_resized(drawn), text))
    return row


def _resized(image: np.ndarray) -> np.ndarray:
    return cut(image, whole_frame(image), _SIDE)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--before", "--after", "--root", "--reference", "--output"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--poses", type=Path, help="another model, whose poses --after draws")
    parser.add_argument("--clips", required=True, help="names, joined by commas")
    args = parser.parse_args()
    before, after = (Synthesizer.from_pretrained(path, side=_SIDE) for path in (args.before, args.after))
    name = args.after.name
    if args.poses is not None:
        read_poses_by(after.system, args.poses)
        name = f"{name}, poses of {args.poses.name}"
    references, places = (
        load_reference(args.reference),
        {c.name.removesuffix("/frames"): c for c in find_clips(args.root)},
    )
    rows = []
    for clip in args.clips.split(","):
        if clip not in references or clip not in places:
            raise InputError(f"--clips {clip}: not in {args.root} and {args.reference}")
        images = np.stack([image for _, image in images_of(places[clip].path)])
        rows.append(clip_row(clip, images, references[clip], {args.before.name: before, name: after}))
    write_jpg(args.output, tile(rows))


if __name__ == "__main__":
    main()
