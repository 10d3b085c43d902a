"""The `albert-torch` command: parse, call, print. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from albert_torch import __version__

if TYPE_CHECKING:
    from albert_torch.hub import Source
    from albert_torch.inference import Encoder

NANO = "albert-torch/nano"
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
    parser = argparse.ArgumentParser(
        "albert-torch", description="ALBERT in PyTorch: check, convert, train, run."
    )
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
    parser.add_argument(
        "--cache-dir", help="where downloads are kept (default: the Hub's own cache)"
    )
    parser.add_argument("--token", help="for private models (default: that of `hf auth login`)")
    parser.add_argument("--offline", action="store_true", help="use the cache alone")


def _source(name: str, args: argparse.Namespace) -> Source:
    from albert_torch.hub import Source

    return Source(
        name,
        args.revision,
        cache_dir=args.cache_dir,
        token=args.token,
        local_files_only=args.offline,
    )


# ---- parity ----


def _parity_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", metavar="NAME_OR_DIR",
        help="a directory or a Hub name such as albert/albert-base-v2; without one, checkpoints made for the occasion",
    )  # fmt: skip
    parser.add_argument(
        "--head", type=_names, metavar="LIST", help="such as Model,MaskedLM (default: all it fills)"
    )
    parser.add_argument("--dtype", type=_names, default=["float64", "float32", "bfloat16"], metavar="LIST",
                        help="of float64,float32,bfloat16,float16 (default: the first three)")  # fmt: skip
    parser.add_argument("--backend", type=_names, default=["eager", "sdpa", "unpad"], metavar="LIST",
                        help="of eager,sdpa,unpad (default: all)")  # fmt: skip
    parser.add_argument(
        "--text", metavar="FILE", help="one text a line, a tab between the two of a pair"
    )
    parser.add_argument("--tolerance", action="append", default=[], metavar="DTYPE=X",
                        help="replace the tolerance of a dtype; may be repeated")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write every measurement")
    parser.add_argument(
        "--html", metavar="FILE", help="write a page with the table and plots of error by layer"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of generated weights, random ids and labels (default: 0)",
    )
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
        heads=args.head
        and [name.removeprefix("AlbertFor").removeprefix("Albert") for name in args.head],
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
        raise ValueError(
            f"--tolerance {text}: write a dtype and a number, such as float32=1e-5"
        ) from None


# ---- convert ----


def _convert_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="a directory or a Hub name")
    parser.add_argument("directory", metavar="DST", help="the directory to write, made if need be")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="default: as it is"
    )
    _add_hub_options(parser)


def _convert(args: argparse.Namespace) -> int:
    import torch

    from albert_torch.checkpoints.convert import convert

    source = _source(args.source, args)
    convert(source, args.directory, args.dtype and getattr(torch, args.dtype))
    files = sorted(path.name for path in Path(args.directory).iterdir() if path.is_file())
    print(f"{source} -> {args.directory}: {', '.join(files)}")
    return EQUAL


# ---- finetune ----


def _finetune_options(parser: argparse.ArgumentParser) -> None:
    from albert_torch.cli import finetune as command

    command.add_options(parser)


def _finetune(args: argparse.Namespace) -> int:
    from albert_torch.cli import finetune as command

    print("\n".join(command.run(args)))
    return EQUAL


# ---- train-tokenizer, pretrain ----


def _train_tokenizer_options(parser: argparse.ArgumentParser) -> None:
    from albert_torch.cli import pretrain as command

    command.add_tokenizer_options(parser)


def _train_tokenizer(args: argparse.Namespace) -> int:
    from albert_torch.cli import pretrain as command

    print("\n".join(command.run_tokenizer(args)))
    return EQUAL


def _pretrain_options(parser: argparse.ArgumentParser) -> None:
    from albert_torch.cli import pretrain as command

    command.add_options(parser)


def _pretrain(args: argparse.Namespace) -> int:
    from albert_torch.cli import pretrain as command

    print("\n".join(command.run(args)))
    return EQUAL


# ---- the fast path: embed, classify, fill-mask, answer ----


def _encoder_options(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--model", default=default, required=default is None, metavar="NAME_OR_DIR",
        help="a directory or a Hub name" + (f" (default: {default}, which comes with the package)" if default else ""),
    )  # fmt: skip
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16", "float16", "int8")
    )
    parser.add_argument("--device", help="such as cuda (default: cpu)")
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="TOKENS",
        help="cut longer texts (default: the model's limit)",
    )
    _add_hub_options(parser)


def _encoder(args: argparse.Namespace, pooling: str = "mean") -> Encoder:
    import torch

    from albert_torch.hub import Source
    from albert_torch.inference import Encoder

    place = {"revision": args.revision, "cache_dir": args.cache_dir, "token": args.token}
    options: dict[str, Any] = {
        "dtype": getattr(torch, args.dtype),
        "device": args.device,
        "max_length": args.max_length,
    }
    return Encoder.from_pretrained(
        args.model, pooling=pooling, local_files_only=args.offline, **options, **place
    )


def _embed_options(parser: argparse.ArgumentParser) -> None:
    _encoder_options(parser, NANO)
    parser.add_argument(
        "input", metavar="IN", help="one text a line, or .jsonl or .parquet with a column of texts"
    )
    parser.add_argument(
        "output", metavar="OUT", help=".npy or .parquet; a run that was cut off goes on"
    )
    parser.add_argument("--pooling", default="mean", choices=("mean", "cls", "pooler", "max"))
    parser.add_argument("--column", default="text", help="of .jsonl and .parquet (default: text)")
    parser.add_argument("--normalize", action="store_true", help="vectors of length 1")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _embed(args: argparse.Namespace) -> int:
    from albert_torch.inference.encode_file import embed

    encoder, source, target = _encoder(args, args.pooling), Path(args.input), Path(args.output)
    count = embed(
        encoder, source, target, column=args.column, normalize=args.normalize, show=not args.quiet
    )
    print(f"{count} vectors of {encoder.config.hidden_size} numbers in {target}")
    return EQUAL


def _classify_options(parser: argparse.ArgumentParser) -> None:
    _encoder_options(parser, None)
    parser.add_argument(
        "input", metavar="IN", help="one text a line, or .jsonl or .parquet with a column of texts"
    )
    parser.add_argument("--column", default="text", help="of .jsonl and .parquet (default: text)")


def _classify(args: argparse.Namespace) -> int:
    import json

    from albert_torch.readers import read_texts

    texts = list(read_texts(Path(args.input), args.column))
    for scores in _encoder(args).classify(texts):
        print(json.dumps(scores, ensure_ascii=False))
    return EQUAL


def _fill_mask_options(parser: argparse.ArgumentParser) -> None:
    _encoder_options(parser, NANO)
    parser.add_argument("text", metavar="TEXT", help="with [MASK] where a word is to be")
    parser.add_argument(
        "--top-k", type=int, default=5, metavar="K", help="how many words (default: 5)"
    )


def _fill_mask(args: argparse.Namespace) -> int:
    for number, found in enumerate(_encoder(args).fill_mask(args.text, args.top_k), 1):
        print(
            "\n".join(f"mask {number}  {score:7.2%}  {token.lstrip('▁')}" for token, score in found)
        )
    return EQUAL


def _answer_options(parser: argparse.ArgumentParser) -> None:
    _encoder_options(parser, None)
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("context", metavar="FILE", help="the text to read, of any length")
    parser.add_argument(
        "--allow-no-answer", action="store_true", help="allow no answer (SQuAD 2.0)"
    )


def _answer(args: argparse.Namespace) -> int:
    context = Path(args.context).read_text(encoding="utf-8")
    answer = _encoder(args).answer(args.question, context, allow_no_answer=args.allow_no_answer)
    print(f"{answer.text}\n{answer.score:.2%}, characters {answer.start} to {answer.end}")
    return EQUAL


Options = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]
COMMANDS: tuple[tuple[str, str, Options, Run], ...] = (
    ("parity", "Compare every number with transformers' (0 equal, 1 different, 2 could not run).",
     _parity_options, _parity),
    ("convert", "Rewrite any readable checkpoint as model.safetensors and config.json.", _convert_options, _convert),
    ("finetune", "Fine-tune on a task, by a recipe.", _finetune_options, _finetune),
    ("train-tokenizer", "Train a SentencePiece vocabulary on texts.", _train_tokenizer_options, _train_tokenizer),
    ("pretrain", "Pretrain on texts, by a recipe.", _pretrain_options, _pretrain),
    ("embed", "Write a vector for each text of a file.", _embed_options, _embed),
    ("classify", "Print each text's labels and probabilities, a JSON object a line.", _classify_options, _classify),
    ("fill-mask", "Print the likeliest words for each [MASK] of a text.", _fill_mask_options, _fill_mask),
    ("answer", "Print the answer to a question from a file.", _answer_options, _answer),
)  # fmt: skip
