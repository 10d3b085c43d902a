"""The `albert-torch` command: parse, call, print. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from albert_torch import __version__
from albert_torch.hub import Source

EQUAL, DIFFERENT, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code.  `argv` None: the arguments of this process."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = _parser(argv).parse_args(argv)
    args.command = shlex.join(["albert-torch", *argv])
    try:
        code: int = args.run(args)
        return code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, ImportError) as error:  # CheckpointError is a ValueError
        if args.debug:
            raise
        print(f"albert-torch {args.subcommand}: {error}", file=sys.stderr)
        return COULD_NOT_RUN


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("albert-torch", description="ALBERT in PyTorch: check, convert, train, run.")
    parser.add_argument("--version", action="version", version=f"albert-torch {__version__}")
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    for name, summary, add_options, run in COMMANDS:
        command = commands.add_parser(name, help=summary, description=summary)
        if name in argv:  # the options of the others would cost their imports
            add_options(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(run=run)
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _add_hub_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--cache-dir", help="where downloads are kept (default: the Hub's own cache)")
    parser.add_argument("--token", help="for private models (default: that of `hf auth login`)")
    parser.add_argument("--offline", action="store_true", help="use the cache alone")


def _source(name: str, args: argparse.Namespace) -> Source:
    return Source(name, args.revision, cache_dir=args.cache_dir, token=args.token, local_files_only=args.offline)


# ---- parity ----


def _parity_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", metavar="NAME_OR_DIR",
        help="a directory or a Hub name such as albert/albert-base-v2; without one, checkpoints made for the occasion",
    )  # fmt: skip
    parser.add_argument("--head", type=_names, metavar="LIST", help="such as Model,MaskedLM (default: all it fills)")
    parser.add_argument("--dtype", type=_names, default=["float64", "float32", "bfloat16"], metavar="LIST",
                        help="of float64,float32,bfloat16,float16 (default: the first three)")  # fmt: skip
    parser.add_argument("--backend", type=_names, default=["eager", "sdpa", "unpad"], metavar="LIST",
                        help="of eager,sdpa,unpad (default: all)")  # fmt: skip
    parser.add_argument("--text", metavar="FILE", help="one text a line, a tab between the two of a pair")
    parser.add_argument("--tolerance", action="append", default=[], metavar="DTYPE=X",
                        help="replace the tolerance of a dtype; may be repeated")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write every measurement")
    parser.add_argument("--html", metavar="FILE", help="write a page with the table and plots of error by layer")
    parser.add_argument("--seed", type=int, default=0, help="of generated weights, random ids and labels (default: 0)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    _add_hub_options(parser)


def _parity(args: argparse.Namespace) -> int:
    import torch

    from albert_torch import parity
    from albert_torch.parity import report as reports

    if args.threads is not None:
        if args.threads < 1:
            raise ValueError(f"--threads {args.threads}: give a number above 0")
        torch.set_num_threads(args.threads)
    for option in ("json", "html"):  # before minutes of work, not after
        if (file := getattr(args, option)) and not Path(file).parent.is_dir():
            raise FileNotFoundError(f"--{option} {file}: there is no directory {Path(file).parent}")
    if args.html:
        reports.plotting()
    report = parity.check(
        None if args.model is None else _source(args.model, args),
        heads=args.head and [name.removeprefix("AlbertFor").removeprefix("Albert") for name in args.head],
        dtypes=args.dtype,
        backends=args.backend,
        tolerances=dict(map(_tolerance, args.tolerance)),
        text=args.text,
        seed=args.seed,
        progress=lambda step: print(step, file=sys.stderr, flush=True),
    )
    print(reports.table(report))
    if args.json:
        Path(args.json).write_text(reports.to_json(report, args.command), encoding="utf-8")
    if args.html:
        Path(args.html).write_text(reports.to_html(report, args.command), encoding="utf-8")
    return EQUAL if report.equal else DIFFERENT


def _tolerance(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ValueError(f"--tolerance {text}: write a dtype and a number, such as float32=1e-5") from None


# ---- convert ----


def _convert_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="a directory or a Hub name")
    parser.add_argument("directory", metavar="DST", help="the directory to write, made if need be")
    _add_hub_options(parser)


def _convert(args: argparse.Namespace) -> int:
    from albert_torch.saving import convert

    source = _source(args.source, args)
    convert(source, args.directory)
    files = sorted(path.name for path in Path(args.directory).iterdir() if path.is_file())
    print(f"{source} -> {args.directory}: {', '.join(files)}")
    return EQUAL


# ---- finetune ----


def _finetune_options(parser: argparse.ArgumentParser) -> None:
    from albert_torch.training import command

    command.add_options(parser)


def _finetune(args: argparse.Namespace) -> int:
    from albert_torch.training import command

    print("\n".join(command.run(args)))
    return EQUAL


Options = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]
COMMANDS: tuple[tuple[str, str, Options, Run], ...] = (
    ("parity", "Compare every number with transformers' (0 equal, 1 different, 2 could not run).",
     _parity_options, _parity),
    ("convert", "Rewrite any readable checkpoint as model.safetensors and config.json.", _convert_options, _convert),
    ("finetune", "Fine-tune on a task, by a recipe.", _finetune_options, _finetune),
)  # fmt: skip
