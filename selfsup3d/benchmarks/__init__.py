"""Speed beside peers, one file a kernel."""
