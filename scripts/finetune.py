"""Fine-tune by a recipe: the same command as `albert-torch finetune`, for a clone.

Under `torchrun` or `accelerate launch` it trains on several processes.
"""

import sys

from albert_torch.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["finetune", *sys.argv[1:]]))
