"""`python -m selfsup3d`: the commands, as the installed `selfsup3d` has them."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start())
