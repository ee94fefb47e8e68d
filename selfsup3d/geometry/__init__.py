"""Geometry: rotations, cameras, kinematics, alignment. Pure functions of tensors, any leading batch dimensions."""
