"""`selfsup3d demo` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["demo", *sys.argv[1:]]))
