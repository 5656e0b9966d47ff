"""`python -m lsdjax`."""

import sys

from lsdjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
