"""`albert-torch parity`: compare every number with transformers."""

from __future__ import annotations

import argparse
import sys

from albert_torch.cli.options import (
    MODEL_HELP,
    add_hub_arguments,
    add_threads_argument,
    apply_threads,
    check_writable,
    source_of,
)

SUMMARY = "Compare every number that a model computes with transformers."
EXAMPLES = """\
examples:
  albert-torch parity                     (the packaged model and generated ones)
  albert-torch parity albert/albert-base-v2
  albert-torch parity runs/sst2 --dtype float64 --backend sdpa --text my-texts.txt
  albert-torch parity runs/sst2 --html parity.html --json parity.json

Hidden states, attentions, pooled output, logits, loss, gradients and token ids are compared. The
exit code is 0 if all are equal within the tolerance of their dtype, 1 if one differs, and 2 if the
check could not run. It needs transformers: pip install 'albert-torch[parity]'
"""
EQUAL, DIFFERENT = 0, 1


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `albert-torch parity`."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="NAME_OR_DIR",
        help=f"{MODEL_HELP} (default: the packaged model, and generated checkpoints)",
    )
    what = parser.add_argument_group("what to compare")
    what.add_argument(
        "--head",
        type=_names,
        metavar="LIST",
        help="such as Model,MaskedLM (default: all that the checkpoint has weights for)",
    )
    what.add_argument(
        "--dtype",
        type=_names,
        default="float64,float32,bfloat16",
        metavar="LIST",
        help="of float64, float32, bfloat16 and float16",
    )
    what.add_argument(
        "--backend",
        type=_names,
        default="eager,sdpa,unpad",
        metavar="LIST",
        help="ways to compute attention; unpad leaves out padding",
    )
    what.add_argument(
        "--text",
        metavar="FILE",
        help="texts to compare on, one per line, a tab between the two of a pair",
    )
    what.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="DTYPE=X",
        help="replace the tolerance of a dtype, such as float32=1e-5; may be repeated",
    )
    what.add_argument(
        "--seed", type=int, default=0, help="for generated weights, random ids and labels"
    )
    add_threads_argument(what)
    reports = parser.add_argument_group("reports")
    reports.add_argument("--json", metavar="FILE", help="write every measurement")
    reports.add_argument(
        "--html", metavar="FILE", help="write a page with the table, and plots of errors by layer"
    )
    add_hub_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Compare, print the table, and return 0 if all numbers are equal and 1 otherwise."""
    tolerances = dict(_tolerance(text) for text in args.tolerance)
    apply_threads(args)
    check_writable(args.json, "--json")
    check_writable(args.html, "--html")

    from albert_torch import parity
    from albert_torch.files import atomic_write_text
    from albert_torch.parity.html import to_html
    from albert_torch.parity.plots import import_matplotlib
    from albert_torch.parity.report import format_table, to_json

    if args.html is not None:
        import_matplotlib()
    options = parity.ParityOptions(
        heads=_head_names(args.head),
        dtypes=args.dtype,
        backends=args.backend,
        tolerances=tolerances,
        texts=args.text,
        seed=args.seed,
    )
    report = parity.check(
        None if args.model is None else source_of(args.model, args),
        options,
        progress=None if args.quiet else _show_progress,
    )
    print(format_table(report))
    if args.json is not None:
        atomic_write_text(args.json, to_json(report, args.command_line))
    if args.html is not None:
        atomic_write_text(args.html, to_html(report, args.command_line))
    return EQUAL if report.equal else DIFFERENT


def _head_names(names: list[str] | None) -> list[str] | None:
    """Accept the names of classes, such as AlbertForMaskedLM, for MaskedLM."""
    if names is None:
        return None
    return [name.removeprefix("AlbertFor").removeprefix("Albert") for name in names]


def _tolerance(text: str) -> tuple[str, float]:
    dtype, _, value = text.partition("=")
    try:
        return dtype, float(value)
    except ValueError:
        raise ValueError(
            f"--tolerance {text}: write a dtype and a number, such as float32=1e-5"
        ) from None


def _show_progress(step: str) -> None:
    print(step, file=sys.stderr, flush=True)
