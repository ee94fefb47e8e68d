"""`selfsup3d benchmark` as a script."""

import sys

from selfsup3d.commands import start

if __name__ == "__main__":
    sys.exit(start(["benchmark", *sys.argv[1:]]))
