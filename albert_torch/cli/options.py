"""Groups of options that several commands share, and what becomes of them."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from albert_torch.hub import Source
    from albert_torch.inference import Encoder

NANO = "albert-torch/nano"  # as in albert_torch.hub, which takes long to import
ENCODER_DTYPES = ("float32", "bfloat16", "float16", "int8")
MODEL_HELP = "a directory, or a name on the Hub such as albert/albert-base-v2"


# ---- every command ----


def add_general_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    group = parser.add_argument_group("general options")
    group.add_argument(
        "--quiet", action="store_true", help="no progress and no log; warnings and errors remain"
    )
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    group.add_argument(
        "--plugin",
        metavar="MODULE",
        action="append",
        help="import a module or a .py file first, to use the heads and tasks it defines; may be "
        "repeated",
    )


def configure_logging(args: argparse.Namespace) -> None:
    """Send warnings to standard error, and the progress of training unless `--quiet` is given.

    Of the processes of a launcher, only the first one logs.
    """
    trains = getattr(args, "trains", False)
    level = logging.INFO if trains and not args.quiet else logging.WARNING
    if os.environ.get("RANK", "0") != "0":
        level = logging.ERROR
    logging.basicConfig(
        level=level, format="%(asctime)s %(message)s" if trains else "%(levelname)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)


# ---- models ----


def add_hub_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a name is looked up on the Hub."""
    group = parser.add_argument_group("Hub options")
    group.add_argument("--revision", help="branch, tag or commit on the Hub")
    group.add_argument(
        "--cache-dir", metavar="DIR", help="where downloads are kept (default: the Hub's cache)"
    )
    group.add_argument("--token", help="for private models (default: that of `hf auth login`)")
    group.add_argument(
        "--offline", action="store_true", help="use only local files and the cache, no network"
    )


def source_of(name: str, args: argparse.Namespace) -> Source:
    """Return the model that `name` and the Hub options stand for."""
    from albert_torch.hub import Source

    return Source(
        name,
        args.revision,
        cache_dir=args.cache_dir,
        token=args.token,
        local_files_only=args.offline,
    )


def add_model_arguments(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add `--model`, which is required if there is no default, and how it is computed."""
    group = parser.add_argument_group("model options")
    group.add_argument(
        "--model",
        default=default,
        required=default is None,
        metavar="NAME_OR_DIR",
        help=f"{MODEL_HELP}; also a directory that fine-tuning wrote, with or without --lora-rank",
    )
    group.add_argument(
        "--max-length",
        type=int,
        metavar="TOKENS",
        help="cut longer texts (default: the model's limit)",
    )
    group.add_argument(
        "--dtype",
        default="float32",
        choices=ENCODER_DTYPES,
        help="precision of the computation; float16 is for GPUs, int8 for CPUs",
    )
    group.add_argument("--device", help="such as cpu, cuda, cuda:1 or mps (default: cpu)")
    add_threads_argument(group)


def add_threads_argument(parser: argparse._ActionsContainer) -> None:
    """Add `--threads`."""
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)"
    )


def apply_threads(args: argparse.Namespace) -> None:
    """Set the number of threads.

    Raises:
        ValueError: The number is not positive.
    """
    import torch

    if args.threads is None:
        return
    if args.threads < 1:
        raise ValueError(f"--threads {args.threads}: give a number above 0")
    torch.set_num_threads(args.threads)


def device_of(name: str | None) -> torch.device | None:
    """Return the device called `name`, after a trial; None stays None.

    Raises:
        ValueError: There is no such kind of device, or this machine or this torch has none.
    """
    import torch

    if name is None:
        return None
    try:
        device = torch.device(name)
        if device.type == "meta":  # it has no numbers to compute with
            raise RuntimeError
    except RuntimeError:
        raise ValueError(
            f"--device {name}: torch knows no such device; use cpu, cuda, cuda:1, mps, ..."
        ) from None
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"--device {name}: not usable here ({reason})") from None
    return device


def load_encoder(args: argparse.Namespace, **options: Any) -> Encoder:
    """Return the encoder that the model options describe.

    Args:
        args: The parsed options of `add_model_arguments` and `add_hub_arguments`.
        options: Further arguments of `Encoder.from_pretrained`.
    """
    import torch

    apply_threads(args)
    device = device_of(args.device)

    from albert_torch.inference import Encoder

    return Encoder.from_pretrained(
        args.model,
        dtype=getattr(torch, args.dtype),
        device=device,
        max_length=args.max_length,
        revision=args.revision,
        cache_dir=args.cache_dir,
        token=args.token,
        local_files_only=args.offline,
        **options,
    )


def batch_options(args: argparse.Namespace) -> dict[str, int]:
    """Return `--batch-tokens` as an argument of the encoder's methods, if it was given.

    Raises:
        ValueError: The number is not positive.
    """
    if args.batch_tokens is None:
        return {}
    if args.batch_tokens < 1:
        raise ValueError(f"--batch-tokens {args.batch_tokens}: give a number above 0")
    return {"batch_tokens": args.batch_tokens}


# ---- files ----


def check_writable(path: str | None, option: str) -> None:
    """Check that a file can be written before minutes of work, not after them.

    Raises:
        FileNotFoundError: The directory of the file does not exist.
    """
    if path is not None and not Path(path).parent.is_dir():
        raise FileNotFoundError(
            f"{option} {path}: the directory {Path(path).parent} does not exist"
        )
