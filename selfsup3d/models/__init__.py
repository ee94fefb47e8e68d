"""Models: systems that train, their networks and shared modules."""
