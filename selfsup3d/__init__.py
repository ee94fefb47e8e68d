"""selfsup3d: self-supervised human image synthesis and 3D pose."""

__version__ = "0.1.0"
