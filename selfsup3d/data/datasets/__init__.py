"""Datasets with labels, as they are distributed: Human3.6M, MPI-INF-3DHP, 3DPW."""
