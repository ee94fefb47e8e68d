"""Experiments: sweeps of runs, learning curves, releases."""
