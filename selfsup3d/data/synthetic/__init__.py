"""synth-v1: rendered people with exact ground truth, drawn from a hashed specification."""
