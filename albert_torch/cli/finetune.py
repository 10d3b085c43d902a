"""The command line of fine-tuning, and what it shares with pretraining's: a recipe, and an option for each key."""

from __future__ import annotations

import argparse

from albert_torch.cli.options import add_recipe_options, recipe_of
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.finetune import finetune, summary_text
from albert_torch.finetuning.trainer import Result
from albert_torch.training.distributed import first_process


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `albert-torch finetune`: every key of `FinetuningConfig` is one, with its own check."""
    add_recipe_options(parser, FinetuningConfig, "configs/finetune/sst2.toml")


def run(args: argparse.Namespace) -> list[str]:
    """Train as the options say; lines to print.  Raises `ValueError`, `OSError` and `ImportError` with a sentence."""
    results = finetune(recipe_of(args, FinetuningConfig), args.out, resume=args.resume)
    if not first_process():
        return []
    return [
        *map(_line, results),
        *([summary_text(results)] if len(results) > 1 else []),
        f"written to {args.out}",
    ]


def _line(result: Result) -> str:
    ended = {"done": "finished", "early": "stopped early"}[
        result.ended
    ] + f" after {result.step} updates"
    best = (
        f"best {result.metric} {result.best:.2f} at update {result.best_step}"
        if result.best is not None
        else "no dev split"
    )
    restarts = f"; {result.attempt} restarts" if result.attempt else ""
    return f"{ended}, {best}{restarts}{'; collapsed to one class' if result.collapsed else ''}"
