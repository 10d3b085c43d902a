"""Compare every number with transformers': the same options as `albert-torch parity`."""

import sys

from albert_torch.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["parity", *sys.argv[1:]]))
