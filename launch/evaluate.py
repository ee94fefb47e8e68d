"""`selfsup3d evaluate` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["evaluate", *sys.argv[1:]]))
