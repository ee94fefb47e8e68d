"""A package of its own, so that a dependency that installs a folder of this name does not stand in its place."""
