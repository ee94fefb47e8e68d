"""The training loop, checkpoints, monitor."""
