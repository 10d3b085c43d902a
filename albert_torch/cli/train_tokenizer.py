"""`albert-torch train-tokenizer`: a vocabulary from texts."""

from __future__ import annotations

import argparse

SUMMARY = "Train a SentencePiece vocabulary on your texts."
EXAMPLES = """\
examples:
  albert-torch train-tokenizer texts --out tokenizer --vocab-size 6000
  albert-torch train-tokenizer corpus.jsonl.zst more.txt --column body --out tokenizer
  albert-torch train-tokenizer wikimedia/wikipedia:20231101.de --out german \\
      --keep-accents

The result is a directory with tokenizer.json, for `albert-torch pretrain --tokenizer DIR`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `albert-torch train-tokenizer`."""
    parser.add_argument(
        "corpus",
        nargs="+",
        metavar="PATH",
        help="text files, JSON lines (.jsonl) and Parquet files, the first two also compressed "
        "(.gz, .zst); directories of them; Hub data sets (org/name[:config][@revision])",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="the directory to write the tokenizer to"
    )
    group = parser.add_argument_group("vocabulary")
    group.add_argument(
        "--vocab-size", type=int, default=30000, metavar="N", help="number of pieces"
    )
    group.add_argument(
        "--keep-case", action="store_true", help="distinguish capitals from small letters"
    )
    group.add_argument("--keep-accents", action="store_true", help="distinguish é from e")
    group.add_argument(
        "--character-coverage",
        type=float,
        default=0.99995,
        metavar="SHARE",
        help="share of the text whose characters are in the vocabulary; rarer ones are unknown",
    )
    files = parser.add_argument_group("input options")
    files.add_argument("--encoding", default="utf-8", help="encoding of text files")
    files.add_argument(
        "--column", default="text", help="the column of JSON lines and data sets that holds texts"
    )


def run(args: argparse.Namespace) -> int:
    """Train the tokenizer, and say how many pieces it has."""
    from albert_torch.pretraining.corpus import CorpusFormat
    from albert_torch.pretraining.vocab import VocabularyOptions, train_tokenizer

    tokenizer = train_tokenizer(
        args.corpus,
        args.out,
        VocabularyOptions(
            vocab_size=args.vocab_size,
            do_lower_case=not args.keep_case,
            keep_accents=args.keep_accents,
            character_coverage=args.character_coverage,
        ),
        CorpusFormat(encoding=args.encoding, column=args.column),
        progress=not args.quiet,
    )
    print(f"{len(tokenizer)} pieces in {args.out}")
    return 0
