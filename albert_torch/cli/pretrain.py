"""`albert-torch pretrain`: train an ALBERT on texts, by a recipe."""

from __future__ import annotations

import argparse
import dataclasses

from albert_torch.cli.recipe_options import (
    add_recipe_arguments,
    add_run_arguments,
    load_recipe,
    resume_hint,
)

SUMMARY = "Pretrain a model on your texts, by a recipe."
EXAMPLES = """\
examples:
  albert-torch train-tokenizer texts --out tokenizer --vocab-size 6000
  albert-torch pretrain nano --tokenizer tokenizer --corpus texts --out runs/mine
  albert-torch pretrain base-v2 --corpus texts --dev held-out.txt --out runs/base
  torchrun --nproc-per-node 4 -m albert_torch pretrain base-v2 --corpus texts \\
      --out runs/base

The corpus is tokenized once. The directory of the run then holds the model in the layout of the
Hub, its tokenizer, metrics.jsonl, the recipe that ran, and last.pt, from which --resume continues.
"""
TOPICS = {
    "model": (
        "model",
        "tokenizer",
        "model_config",
        "dropout",
        "ffn_dropout_prob",
        "sinusoidal_position_init",
    ),
    "corpus": (
        "corpus",
        "dev",
        "cache",
        "document_separator",
        "sentence_splitting",
        "encoding",
        "column",
        "num_workers",
    ),
    "training examples": (
        "max_length",
        "short_seq_prob",
        "masked_lm_prob",
        "max_ngram_size",
        "random_next_sentence",
    ),
    "optimisation": (
        "steps",
        "batch_size",
        "gradient_accumulation_steps",
        "optimizer",
        "learning_rate",
        "warmup_steps",
        "lr_decay_power",
        "weight_decay",
        "adam_beta1",
        "adam_beta2",
        "adam_eps",
        "max_grad_norm",
        "seed",
    ),
    "speed and memory": ("dtype", "unpad", "gradient_checkpointing", "parallel"),
    "evaluation and records": (
        "eval_steps",
        "max_dev_examples",
        "save_steps",
        "log_steps",
        "tensorboard",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `albert-torch pretrain`."""
    from albert_torch.pretraining.config import PretrainingConfig

    add_run_arguments(parser, "base-v2")
    add_recipe_arguments(parser, dataclasses.fields(PretrainingConfig), TOPICS)


def run(args: argparse.Namespace) -> int:
    """Train, and print the last scores."""
    from albert_torch.pretraining.config import PretrainingConfig
    from albert_torch.pretraining.pretrain import pretrain
    from albert_torch.training.distributed import first_process

    names = [field.name for field in dataclasses.fields(PretrainingConfig)]
    config = load_recipe(args, PretrainingConfig, "pretrain", names)
    with resume_hint(args):
        result = pretrain(config, args.out, resume=args.resume)
    if first_process():
        scores = ", ".join(
            f"{name.removeprefix('dev_')} {value:.4f}" for name, value in result.scores.items()
        )
        evaluation = f"; on the dev texts: {scores}" if scores else ""
        print(f"finished after {result.step} steps{evaluation}")
        print(f"written to {args.out}")
    return 0
