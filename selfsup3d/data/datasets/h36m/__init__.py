"""Human3.6M in the layouts it is distributed and passed round in."""
