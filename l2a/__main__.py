"""`python -m l2a`, the same as `l2a`."""

import sys

from l2a.cli import main

if __name__ == "__main__":
    sys.exit(main())
