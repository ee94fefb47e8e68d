"""Config: every setting of a run, one file a topic."""
