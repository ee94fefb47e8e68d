"""Data: where samples come from."""
