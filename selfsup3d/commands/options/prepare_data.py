"""Prepare a dataset: verify its folder, build its index, look it over.

    selfsup3d prepare-data --dataset h36m --root H36M --every 5 --output h36m.npz --check sheets/
    selfsup3d prepare-data --dataset mpi_inf_3dhp --root 3DHP --annotation universal --workers 4
    selfsup3d prepare-data --dataset 3dpw --root 3DPW --check sheets/
    selfsup3d prepare-data --dataset 3dpw --root 3DPW --regressor J_regressor_h36m.npy --body-model male=m.npz \\
        --body-model female=f.npz --output h36m14.npz
    selfsup3d prepare-data --dataset mocap --root CMU --output mocap.npz
    selfsup3d prepare-data --dataset videos --root VIDEOS --output clips/ --size 128
    selfsup3d prepare-data --dataset videos --root VIDEOS --output clips/ --size 64 --detector mediapipe \\
        --detector-weights pose_landmarker_full.task
    selfsup3d prepare-data --dataset h36m --root H36M --backgrounds --shards shards/ --size 256
    selfsup3d prepare-data --dataset prepared --root ~/.cache/selfsup3d --verify

No image is copied, except into --shards. An interrupted run goes on where it stopped. --verify only looks: of a dataset
it lists what is missing, where people get it and under which licence; clips and shards that were prepared ("prepared":
all in --root; "videos": those in --output) are compared with their checksums, and what was altered is named.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from selfsup3d.cli import Parser
from selfsup3d.config.choices import Annotation, CropMode, JointSource, PoseDetectorName, SaliencyMethod

__all__ = ["parse"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    names = ("h36m", "mpi_inf_3dhp", "3dpw", "mocap", "videos", "prepared")
    parser.add_argument("--dataset", choices=names, required=True)
    parser.add_argument("--root", type=Path, required=True, help="the dataset's folder")
    parser.add_argument("--output", type=Path, help="index (npz); mocap: the npz; videos: the folder of clips (needed)")
    parser.add_argument("--verify", action="store_true", help="only look: what is missing, damaged or was altered")
    parser.add_argument("--check", type=Path, help="write counts, statistics and a sheet with projected joints there")
    parser.number("--rows", int, least=1, default=12, help="of the sheet (default: 12)")
    parser.number("--workers", int, least=0, default=0, help="processes; 0 = this one")
    parser.number("--max-failed", int, least=0, default=20, help="unreadable files that are left out (default: 20)")
    parser.number("--every", int, least=1, default=1, help="keep every n-th frame of a recording")
    parser.add_argument("--backgrounds", action="store_true", help="fit the backgrounds of still cameras now")
    parser.add_argument("--shards", type=Path, help="copy crops into WebDataset shards there")
    parser.number("--size", int, least=1, default=128, help="of crops in shards and clips, px (default: 128)")
    parser.number("--per-shard", int, least=1, default=2000, help="crops in a shard (default: 2000)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    group = parser.add_argument_group("Human3.6M")
    group.add_argument("--cameras", type=Path, help="metadata.xml, cameras.h5, h36m_dataset.py or cameras.json")
    group.add_argument("--detections", type=Path, help="data_2d_h36m_*.npz")
    group = parser.add_argument_group("MPI-INF-3DHP")
    group.add_argument("--annotation", choices=get_args(Annotation), default="metric")
    group.add_argument("--views", type=int, nargs="+", help="training cameras; default: the usual eight")
    group = parser.add_argument_group("3DPW")
    group.add_argument("--joints", choices=get_args(JointSource), default="smpl_24")
    group.add_argument("--regressed", type=Path, help="npz of the h36m_14 joints")
    parser.number(
        "--min-detected", int, group=group, least=0, default=0, help="leave out frames with fewer detected 2D joints"
    )
    group.add_argument("--regressor", type=Path, help="write the h36m_14 joints: J_regressor_h36m.npy")
    group = parser.add_argument_group("videos")
    group.add_argument("--crop", choices=get_args(CropMode), default="auto", help="how people are found")
    group.add_argument("--saliency", choices=get_args(SaliencyMethod), default="auto", help="how masks are found")
    group.add_argument("--crop-weights", help="torchvision weights for --crop detector")
    group.add_argument(
        "--detector", choices=get_args(PoseDetectorName),
        help="store 2D keypoints beside the clips, and person masks where it makes any (for configs/videos_2d.yaml)",
    )  # fmt: skip
    group.add_argument("--detector-weights", type=Path, nargs="+", default=[], metavar="FILE", help="its file")
    group.add_argument("--segmenter", help="torchvision weights for --saliency network")
    parser.number(
        "--max-fps",
        float,
        group=group,
        above=0,
        default=15.0,
        help="frames are skipped down to this rate (default: 15)",
    )
    group = parser.add_argument_group("motion capture")
    parser.number("--fps", float, group=group, above=0, default=20.0, help="of the npz (default: 20)")
    parser.motion(group)
    group.add_argument("--skeleton", type=Path, help="BVH whose bone lengths exponential maps take")
    group.add_argument("--retarget", type=Path, help="npz whose mean bone lengths every recording takes")
    group.add_argument("--body-model", action="append", default=[], metavar="GENDER=FILE", help="SMPL family, npz")
    return parser.parse_args(argv)
