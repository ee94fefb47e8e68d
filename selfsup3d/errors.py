"""The error that a person gets for bad input. Scripts print its message alone and exit with code 2."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Input that cannot be used. The message names the file or key, what was expected and what to do."""
