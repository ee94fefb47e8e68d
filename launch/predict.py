"""`selfsup3d predict` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["predict", *sys.argv[1:]]))
