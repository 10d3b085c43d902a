"""`python -m albert_torch` is the `albert-torch` command."""

import sys

from albert_torch.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
