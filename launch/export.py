"""`selfsup3d export` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["export", *sys.argv[1:]]))
