"""Speed beside peers: one file a kernel, collected in `registry`, run by `selfsup3d benchmark`."""
