"""Priors: unpaired 3D poses and cameras."""
