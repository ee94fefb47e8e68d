"""Preparation: what happens once before training."""
