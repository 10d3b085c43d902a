"""Training speed and memory on SST-2 sentences: our trainer beside HF Trainer with transformers' ALBERT.

    python scripts/bench_training.py --data glue/SST-2 --tokenizer spiece.model --json training.json

Each measurement is a process of its own, and the methods take turns. Tokens are real ones, padding is not counted;
memory is the process's peak. Weights are random, of ALBERT-base's shape; rows are drawn from `--file`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
OURS: dict[str, dict[str, Any]] = {
    "albert_torch float32": {},
    "albert_torch bfloat16": {"dtype": "bfloat16"},
    "albert_torch float32 checkpointing": {"gradient_checkpointing": True},
    "albert_torch bfloat16 checkpointing": {"dtype": "bfloat16", "gradient_checkpointing": True},
    "albert_torch float32 padded": {"unpad": False, "batching": "random"},
}
THEIRS = {
    "HF Trainer float32": {},
    "HF Trainer bfloat16": {"bf16": True},
}


def ours(args: argparse.Namespace, changes: dict[str, Any]) -> dict[str, float]:
    """Tokens per second of our trainer."""
    from albert_torch.finetuning import FinetuningConfig
    from albert_torch.finetuning.attempt import start_attempt
    from albert_torch.finetuning.finetune import load_datasets
    from albert_torch.finetuning.trainer import run_attempt, training_batches

    steps = args.skip + args.steps
    config = FinetuningConfig(
        task="sst2",
        tokenizer=args.tokenizer,
        data=args.data,
        train=args.file,
        dev="none",
        model_config=BASE,
        max_length=128,
        batch_size=args.batch_size,
        steps=steps + 1,  # the last step writes a checkpoint, so it is not measured
        log_steps=10**6,
        save_steps=10**6,
        **changes,
    )
    datasets = load_datasets(config)
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        attempt = start_attempt(config, Path(folder), datasets, 0, None)
        batches = training_batches(attempt.context, datasets.task, datasets.train, 0)
        num_tokens = [next(batches).num_tokens for _ in range(steps)]
        run_attempt(attempt, on_update=lambda step: times.append(time.perf_counter()))
    return speed(list(zip(times[:steps], accumulate(num_tokens), strict=True)), args.skip)


def theirs(args: argparse.Namespace, changes: dict[str, Any]) -> dict[str, float]:
    """Tokens a second of HF Trainer with transformers' model."""
    import transformers

    from albert_torch.finetuning import FinetuningConfig
    from albert_torch.finetuning.finetune import load_datasets

    config = FinetuningConfig(
        task="sst2",
        tokenizer=args.tokenizer,
        data=args.data,
        train=args.file,
        dev="none",
        max_length=128,
    )
    datasets = load_datasets(config)
    model_config = transformers.AlbertConfig(
        vocab_size=len(datasets.task.tokenizer), embedding_size=128, **BASE
    )
    marks: list[tuple[float, int]] = []
    tokens = 0

    def collated(rows: list[dict[str, Any]]) -> Any:
        nonlocal tokens
        tokens += sum(len(row["input_ids"]) for row in rows)
        return datasets.task.tokenizer.pad(rows, return_tensors="pt")

    class Marks(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append((time.perf_counter(), tokens))

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder, per_device_train_batch_size=args.batch_size, max_steps=args.skip + args.steps,
            learning_rate=1e-5, weight_decay=0.01, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
            logging_strategy="no", **changes,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model=transformers.AlbertForSequenceClassification(model_config), args=arguments,
            train_dataset=datasets.train.examples, data_collator=collated, callbacks=[Marks()],
        )  # fmt: skip
        trainer.train()
    return speed(marks, args.skip)


def speed(marks: list[tuple[float, int]], skip: int) -> dict[str, float]:
    """From the time and the tokens at the end of each step."""
    (start, before), (end, after) = marks[skip - 1], marks[-1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "tokens_per_second": (after - before) / (end - start),
        "peak_bytes": peak,
        "tokens": after - before,
    }


def main() -> None:
    """Measure each method in turn, `--repeats` times, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="the directory of SST-2's files")
    parser.add_argument(
        "--tokenizer", required=True, help="spiece.model, a directory or a Hub name"
    )
    parser.add_argument(
        "--file", default="train.tsv", help="whose sentences to train on (default: train.tsv)"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="steps that are measured")
    parser.add_argument("--skip", type=int, default=3, help="steps before them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--methods",
        default=",".join((*THEIRS, *OURS)).replace(", ", "; "),
        help="separated by commas",
    )
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.one:
        found = theirs(args, THEIRS[args.one]) if args.one in THEIRS else ours(args, OURS[args.one])
        sys.stdout.write(json.dumps(found) + "\n")
        return
    methods = [name.strip().replace(";", ",") for name in args.methods.split(",")]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for _ in range(args.repeats):
        for name in methods:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, "TQDM_DISABLE": "1"}
            )
            if done.returncode:
                sys.exit(f"{name}: {done.stderr[-2000:]}")
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
    rate = {
        name: statistics.median(run["tokens_per_second"] for run in runs)
        for name, runs in results.items()
    }
    peak = {name: max(run["peak_bytes"] for run in runs) for name, runs in results.items()}
    first = methods[0]
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"{args.file}, batch {args.batch_size}, {args.steps} steps, median of {args.repeats}")  # fmt: skip
    print(
        "| method | tokens/s | to the first | peak memory, MiB | to the first |\n|---|---|---|---|---|"
    )
    for name in methods:
        print(f"| {name} | {rate[name]:.0f} | {rate[name] / rate[first]:.2f} | {peak[name] / 2**20:.0f} | "
              f"{peak[name] / peak[first]:.2f} |")  # fmt: skip
    if args.json:
        Path(args.json).write_text(
            json.dumps({"arguments": vars(args), "results": results}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
