"""Readers of raw motion capture: ASF/AMC, BVH, exponential maps, C3D, AMASS; all give one `Recording`."""
