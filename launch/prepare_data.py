"""`selfsup3d prepare-data` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["prepare-data", *sys.argv[1:]]))
