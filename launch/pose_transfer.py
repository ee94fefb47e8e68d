"""`selfsup3d pose-transfer` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["pose-transfer", *sys.argv[1:]]))
