"""`selfsup3d eval-3dpw` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["eval-3dpw", *sys.argv[1:]]))
