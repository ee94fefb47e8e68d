"""The errors that a person gets for bad input. Scripts print the message alone and exit with code 2."""

__all__ = ["FatalInputError", "InputError", "RunFailedError"]


class InputError(ValueError):
    """Input that cannot be used. The message names the file or key, what was expected and what to do.

    Each argument is a line. Line breaks within one, of a file's name for instance, are written as `\\n`.
    """

    def __str__(self) -> str:
        return "\n".join(str(line).replace("\n", "\\n") for line in self.args)


class FatalInputError(InputError):
    """Concerns the whole run and not one sample (a limit of the machine, altered data): training does not draw another
    sample in its place."""


class RunFailedError(RuntimeError):
    """A run that ended for no fault of its input (a worker killed, a hang). Scripts print the message and exit with 1."""
