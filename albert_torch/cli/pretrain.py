"""The command lines of pretraining: `train-tokenizer`, and `pretrain` with an option for each key of its recipe."""

from __future__ import annotations

import argparse

from albert_torch.cli.options import add_recipe_options, recipe_of
from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.pretrain import pretrain
from albert_torch.pretraining.vocab import train_tokenizer
from albert_torch.training.distributed import first_process


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `albert-torch pretrain`: every key of `PretrainingConfig` is one, with its own check."""
    add_recipe_options(parser, PretrainingConfig, "configs/pretrain/base-v2.toml")


def run(args: argparse.Namespace) -> list[str]:
    """Train as the options say; lines to print.  Raises `ValueError`, `OSError` and `ImportError` with a sentence."""
    recipe = recipe_of(args, PretrainingConfig)
    result = pretrain(recipe, args.out, resume=args.resume)
    if not first_process():
        return []
    scores = ", ".join(
        f"{name.removeprefix('dev_')} {value:.4f}" for name, value in result.scores.items()
    )
    ended = f"finished after {result.step} updates" + (f"; held out: {scores}" if scores else "")
    return [ended, f"written to {args.out}"]


def add_tokenizer_options(parser: argparse.ArgumentParser) -> None:
    """The options of `albert-torch train-tokenizer`."""
    parser.add_argument(
        "corpus",
        nargs="+",
        metavar="PATH",
        help="files or directories with text, or a Hub data set",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="where the tokenizer goes")
    parser.add_argument(
        "--vocab-size", type=int, default=30000, metavar="N", help="pieces in all (default: 30000)"
    )
    parser.add_argument("--keep-case", action="store_true", help="tell capitals from small letters")
    parser.add_argument("--keep-accents", action="store_true", help="tell é from e")
    parser.add_argument("--character-coverage", type=float, default=0.99995, metavar="SHARE",
                        help="of the text; the rarest other characters are unknown (default: 0.99995)")  # fmt: skip
    parser.add_argument("--encoding", default="utf-8", help="of text files (default: utf-8)")
    parser.add_argument(
        "--column", default="text", help="of JSON lines and data sets (default: text)"
    )


def run_tokenizer(args: argparse.Namespace) -> list[str]:
    """Train as the options say; lines to print.  Raises `ValueError`, `OSError` and `ImportError` with a sentence."""
    tokenizer = train_tokenizer(
        args.corpus,
        args.out,
        vocab_size=args.vocab_size,
        lowercase=not args.keep_case,
        keep_accents=args.keep_accents,
        character_coverage=args.character_coverage,
        encoding=args.encoding,
        column=args.column,
    )
    return [f"{len(tokenizer)} pieces in {args.out}"]
