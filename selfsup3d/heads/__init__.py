"""Pieces that several heads share."""
