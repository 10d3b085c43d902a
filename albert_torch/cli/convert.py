"""`albert-torch convert`: rewrite a checkpoint in the standard layout."""

from __future__ import annotations

import argparse
from pathlib import Path

from albert_torch.cli.options import MODEL_HELP, add_hub_arguments, source_of

SUMMARY = "Rewrite any readable checkpoint as model.safetensors and config.json."
EXAMPLES = """\
examples:
  albert-torch convert runs/sst2 exported
  albert-torch convert albert/albert-base-v2 albert-bf16 --dtype bfloat16
  albert-torch convert runs/sst2-lora merged     (merges adapter and base model)

It reads model.safetensors and pytorch_model.bin, sharded or not, with old parameter names (gamma,
beta) and prefixes (module., albert.). Heads, dtype and tokenizer are kept. The adapter of a run
with --lora-rank is merged into its base model; with --lora-per-depth the layers then differ, and
the result is larger. `albert-torch parity DST` checks that transformers computes the same numbers
from the result.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `albert-torch convert`."""
    parser.add_argument(
        "source", metavar="SRC", help=f"{MODEL_HELP}; also what fine-tuning with --lora-rank wrote"
    )
    parser.add_argument(
        "directory", metavar="DST", help="the directory to write; it is created if necessary"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="precision of the weights (default: as in the checkpoint)",
    )
    add_hub_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Convert, and say which files were written."""
    import torch

    from albert_torch.checkpoints.convert import convert

    source = source_of(args.source, args)
    dtype = None if args.dtype is None else getattr(torch, args.dtype)
    convert(source, args.directory, dtype)
    print(f"{source} -> {args.directory}: {', '.join(written_files(args.directory))}")
    return 0


def written_files(directory: str) -> list[str]:
    """Return the names of the files in a directory, sorted."""
    return sorted(path.name for path in Path(directory).iterdir() if path.is_file())
