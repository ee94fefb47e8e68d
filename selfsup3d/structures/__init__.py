"""Structures: what is passed around."""
