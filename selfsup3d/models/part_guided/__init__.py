"""The part-guided system and its networks."""
