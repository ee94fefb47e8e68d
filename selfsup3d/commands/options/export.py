"""A trained model for other runtimes, or predicted poses for animation programs.

    selfsup3d export --checkpoint runs/v1 --output exported/
    selfsup3d export --checkpoint runs/v1 --output given/ --formats model --results test.json
    selfsup3d export --poses out/poses.npz --output out/ --formats bvh glb

From a checkpoint: encoder.onnx and decoder.onnx, whose results on onnxruntime are compared with torch's (at most 1e-4
apart, or exit code 1), and prediction.pt2 (torch.export of the whole prediction); and, where asked for, model/, a model to
give away: weights in half precision, config without paths, a card with the results that selfsup3d evaluate --json wrote.
From poses that selfsup3d predict wrote: pose.bvh and pose.glb, or pose.trc, pose.c3d and angles.csv. ONNX needs the
extra `export`.

A pose from encoder.onnx, without this package (`crop` is an (S, S, 3) uint8 RGB array of one person):

    import json, numpy as np, onnxruntime
    session = onnxruntime.InferenceSession("encoder.onnx")
    facts = session.get_modelmeta().custom_metadata_map  # joint_names, default_K, image_size, meaning.<tensor>
    images = crop.transpose(2, 0, 1)[None].astype(np.float32) / 255  # (1, 3, S, S)
    K = np.float32([json.loads(facts["default_K"])])  # or the crop's own: K decides about the depth
    names = [output.name for output in session.get_outputs()]
    pose = dict(zip(names, session.run(None, {"images": images, "K": K})))
    for joint, (x, y, z) in zip(facts["joint_names"].split(","), pose["joints_3d"][0]):
        print(f"{joint:15} {x:7.3f} {y:7.3f} {z:7.3f}")  # metres, camera axes, from the pelvis
    print("pelvis", pose["translation"][0], "pixels", pose["joints_2d"][0, 0])
"""

from __future__ import annotations

import argparse
from pathlib import Path

from selfsup3d.cli import Parser

__all__ = ["MODEL_FORMATS", "POSE_FORMATS", "parse"]

MODEL_FORMATS = {"onnx": ("encoder.onnx", "decoder.onnx"), "pt2": ("prediction.pt2",), "model": ("model",)}
POSE_FORMATS = {
    "bvh": ("pose.bvh",), "glb": ("pose.glb",), "trc": ("pose.trc",), "c3d": ("pose.c3d",), "angles": ("angles.csv",)
}  # fmt: skip
"""Format -> the files that are written."""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.checkpoint(required=False)
    parser.add_argument("--poses", type=Path, help="poses.npz of `selfsup3d predict`")
    parser.output()
    parser.add_argument(
        "--formats", nargs="+", choices=[*MODEL_FORMATS, *POSE_FORMATS], help="default: onnx pt2, or bvh glb"
    )
    parser.add_argument("--results", nargs="+", type=Path, default=[], help="for the card of a model")
    parser.add_argument("--about", default="", help="a paragraph for that card: how the model came about")
    parser.number("--fps", float, above=0, help="of poses that have no frame rate")
    parser.add_argument("--ground", action="store_true", help="put the feet on the floor (y = 0), facing +z")
    parser.number(
        "--max-gap", float, least=0, default=0.5,
        help="seconds without the person over which poses are interpolated; longer gaps hold or are blank (default: 0.5)",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if (args.checkpoint is None) == (args.poses is None):
        parser.error("give either --checkpoint (a model) or --poses (predicted poses)")
    fitting = MODEL_FORMATS if args.poses is None else POSE_FORMATS
    args.formats = args.formats or (["onnx", "pt2"] if args.poses is None else ["bvh", "glb"])
    for name in args.formats:
        if name not in fitting:
            parser.error(f"--formats {name}: comes from {'--poses' if name in POSE_FORMATS else '--checkpoint'}")
    return args
