"""`python -m lsdjax.serve '{"port": 0}'`: a server for programs that start one of their own."""

import sys

from lsdjax.serve.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
