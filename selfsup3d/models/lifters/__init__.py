"""2D-to-3D lifters."""
