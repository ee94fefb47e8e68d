"""`selfsup3d sweep` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["sweep", *sys.argv[1:]]))
