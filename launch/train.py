"""`selfsup3d train` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["train", *sys.argv[1:]]))
