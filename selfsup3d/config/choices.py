"""Words between which flags and settings let one choose. Nothing heavy is imported here: --help needs them."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "EVALUATED", "UP_AXES", "Annotation", "Averaging", "ClipCrop", "CropMode", "Detector", "JointSource", "KeypointFormat", "Keypoints", "PartSource", "PoseDetectorName",
    "SaliencyMethod", "WindowMode",
]  # fmt: skip

Annotation = Literal["metric", "universal"]
"""Joints of MPI-INF-3DHP: in metres, or scaled to one body."""

JointSource = Literal["smpl_24", "h36m_14"]
"""Joints of 3DPW: of the body model, or regressed from its surface."""

Keypoints = Literal["projected", "detected"]
"""2D joints for lifters: the truth's projection, or the dataset's detections."""

KeypointFormat = Literal["coco", "openpose", "mediapipe", "mmpose"]
"""Files of 2D keypoints."""

WindowMode = Literal["auto", "boxes", "motion", "detector", "whole"]
"""How people are found in what a model sees."""

CropMode = Literal["auto", "motion", "boxes", "whole", "detector"]
"""How people are found in videos that are prepared for training."""

Detector = Literal["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn"]
"""Detectors of torchvision."""

PoseDetectorName = Literal["mediapipe", "rtmlib", "torchvision", "model"]
"""Detectors of 2D keypoints at run time: BlazePose, RTMPose or RTMO, Keypoint R-CNN, this project's label-free model."""

SaliencyMethod = Literal["auto", "background", "static", "grabcut", "network"]
"""How masks of people are found."""

PartSource = Literal["puppet", "decoder", "none"]
"""Parts of an overlay: the predicted pose's puppet, or the decoder's segmentation."""

ClipCrop = Literal["whole", "motion", "reference"]
"""What of a real video's frames is read where a 2D reference is the measure."""

Averaging = Literal["none", "mirror", "mirror_crops", "mirror_fine"]
"""Predictions of an image that are averaged: one; with the mirrored image's; with those of three crops of both; with the
mirrored image's, left and right told by a finer look at both."""

UP_AXES = ("x", "y", "z", "-x", "-y", "-z")
"""Axes of motion capture that may point up."""

EVALUATED = {
    "synthetic": ("val", "test", "train"),
    "synth-mocap": ("test", "val"),
    "people": ("val",),
    "projected": ("val", "test"),
    "h36m": ("test", "train", "all"),
    "mpi_inf_3dhp": ("test", "train", "all"),
    "3dpw": ("test", "val", "train", "all"),
    "videos": ("all",),
    "shards": ("test",),
}
"""Datasets that a system can be measured on -> their splits, the usual one first."""
