"""`selfsup3d novel-view` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["novel-view", *sys.argv[1:]]))
