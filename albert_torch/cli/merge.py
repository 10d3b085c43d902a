"""`albert-torch merge`: a plain checkpoint from a base model and a LoRA adapter."""

from __future__ import annotations

import argparse

from albert_torch.cli.convert import written_files
from albert_torch.cli.options import MODEL_HELP, add_hub_arguments, source_of

SUMMARY = "Merge a LoRA adapter and its base model into a plain checkpoint."
EXAMPLES = """\
examples:
  albert-torch finetune sst2 --data glue/SST-2 --out runs/sst2-lora --lora-rank 8
  albert-torch merge runs/sst2-lora merged
  albert-torch merge runs/sst2-lora merged --base-model models/albert-base-v2

The result needs neither the base model nor the adapter, and transformers loads it. An adapter that
all layers share becomes part of the shared weights. With --lora-per-depth the layers differ, so
they cannot share weights any longer: --expand then writes separate weights for each layer.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `albert-torch merge`."""
    parser.add_argument(
        "directory", metavar="DIR", help="the directory that fine-tuning with --lora-rank wrote"
    )
    parser.add_argument(
        "out", metavar="OUT", help="the directory to write; it is created if necessary"
    )
    parser.add_argument(
        "--base-model",
        metavar="NAME_OR_DIR",
        help=f"the model that was fine-tuned: {MODEL_HELP} (default: as the run recorded it)",
    )
    parser.add_argument(
        "--expand",
        action="store_true",
        help="for a run with --lora-per-depth: write a larger checkpoint with unshared layers",
    )
    add_hub_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Merge, and say which files were written."""
    from albert_torch.finetuning.lora import merge_adapter

    source = source_of(args.directory, args)
    merge_adapter(source, args.out, expand=args.expand, base_model=args.base_model)
    print(f"{source} -> {args.out}: {', '.join(written_files(args.out))}")
    return 0
