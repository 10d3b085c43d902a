"""Measure the speed and the memory of fine-tuning on SST-2, compared with HF Trainer.

    python scripts/bench_training.py --data glue/SST-2 --tokenizer spiece.model --json training.json

HF Trainer trains the model of transformers. Each measurement is a process of its own, and the
methods take turns. Only real tokens are counted, not the padding. Memory is the peak of the
process. The weights are random, in the shape of ALBERT-base.
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
OURS: dict[str, dict[str, Any]] = {  # options of FinetuningConfig
    "albert_torch float32": {},
    "albert_torch bfloat16": {"dtype": "bfloat16"},
    "albert_torch float32 checkpointing": {"gradient_checkpointing": True},
    "albert_torch bfloat16 checkpointing": {"dtype": "bfloat16", "gradient_checkpointing": True},
    "albert_torch float32 padded": {"unpad": False, "batching": "random"},
}
THEIRS: dict[str, dict[str, Any]] = {  # options of transformers.TrainingArguments
    "HF Trainer float32": {},
    "HF Trainer bfloat16": {"bf16": True},
}
Marks = list[tuple[float, int]]  # for each step: the time at its end, and the tokens up to then


def sst2_config(args: argparse.Namespace, **options: Any) -> Any:
    """The config of a run on the sentences of `--file`."""
    from albert_torch.finetuning import FinetuningConfig

    return FinetuningConfig(
        task="sst2",
        tokenizer=args.tokenizer,
        data=args.data,
        train=args.file,
        dev="none",
        model_config=BASE,
        max_length=128,
        batch_size=args.batch_size,
        **options,
    )


def measure_ours(args: argparse.Namespace, options: dict[str, Any]) -> dict[str, float]:
    """Measure our trainer."""
    from albert_torch.finetuning.attempt import start_attempt
    from albert_torch.finetuning.finetune import load_datasets
    from albert_torch.finetuning.run_attempt import run_attempt, training_batches

    steps = args.skip + args.steps
    # One step more than is measured, because the last one also writes the checkpoint.
    config = sst2_config(args, steps=steps + 1, log_steps=10**6, save_steps=10**6, **options)
    datasets = load_datasets(config)
    times: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        attempt = start_attempt(config, Path(directory), datasets, 0, None)
        batches = training_batches(attempt.context, datasets.task, datasets.train, 0)
        num_tokens = [next(batches).num_tokens for _ in range(steps)]
        run_attempt(attempt, on_update=lambda step: times.append(time.perf_counter()))
    return summarize(list(zip(times[:steps], accumulate(num_tokens), strict=True)), args.skip)


def measure_theirs(args: argparse.Namespace, options: dict[str, Any]) -> dict[str, float]:
    """Measure HF Trainer with the model of transformers."""
    import transformers

    from albert_torch.finetuning.finetune import load_datasets

    datasets = load_datasets(sst2_config(args))
    model_config = transformers.AlbertConfig(
        vocab_size=len(datasets.task.tokenizer), embedding_size=128, **BASE
    )
    marks: Marks = []
    num_tokens = 0

    def collate(examples: list[dict[str, Any]]) -> Any:
        nonlocal num_tokens
        num_tokens += sum(len(example["input_ids"]) for example in examples)
        return datasets.task.tokenizer.pad(examples, return_tensors="pt")

    class MarkSteps(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append((time.perf_counter(), num_tokens))

    with tempfile.TemporaryDirectory() as directory:
        arguments = transformers.TrainingArguments(
            output_dir=directory,
            per_device_train_batch_size=args.batch_size,
            max_steps=args.skip + args.steps,
            learning_rate=1e-5,
            weight_decay=0.01,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            **options,
        )
        trainer = transformers.Trainer(
            model=transformers.AlbertForSequenceClassification(model_config),
            args=arguments,
            train_dataset=datasets.train.examples,
            data_collator=collate,
            callbacks=[MarkSteps()],
        )
        trainer.train()
    return summarize(marks, args.skip)


def summarize(marks: Marks, skip: int) -> dict[str, float]:
    """Tokens per second after the first `skip` steps, and the peak memory of this process."""
    (start_time, start_tokens), (end_time, end_tokens) = marks[skip - 1], marks[-1]
    num_tokens = end_tokens - start_tokens
    return {
        "tokens_per_second": num_tokens / (end_time - start_time),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "tokens": num_tokens,
    }


def measure_in_process(method: str) -> dict[str, float]:
    """Measure a method in a process of its own, with the options of this one."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", method]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{method}: {done.stderr[-2000:]}")
    measurement: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measurement


def print_table(args: argparse.Namespace, results: dict[str, list[dict[str, float]]]) -> None:
    """Print medians of the speed and maxima of the memory, also relative to the first method."""
    speed = {
        method: statistics.median(run["tokens_per_second"] for run in runs)
        for method, runs in results.items()
    }
    peak = {method: max(run["peak_bytes"] for run in runs) for method, runs in results.items()}
    first = next(iter(results))
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {args.file}, batch {args.batch_size}, {args.steps} steps, "
        f"median of {args.repeats}"
    )
    print("| method | tokens/s | relative | peak memory, MiB | relative |\n|---|---|---|---|---|")
    for method in results:
        print(
            f"| {method} | {speed[method]:.0f} | {speed[method] / speed[first]:.2f} "
            f"| {peak[method] / 2**20:.0f} | {peak[method] / peak[first]:.2f} |"
        )


def main() -> None:
    """Measure each method in turn, `--repeats` times, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="directory with the files of SST-2")
    parser.add_argument(
        "--tokenizer", required=True, help="spiece.model, a directory or a Hub name"
    )
    parser.add_argument(
        "--file", default="train.tsv", help="file to train on (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument(
        "--steps", type=int, default=20, help="measured steps (default: %(default)s)"
    )
    parser.add_argument(
        "--skip", type=int, default=3, help="steps before them (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--methods",
        default=",".join((*THEIRS, *OURS)),
        help="methods to measure, separated by commas (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of torch (default: its own choice)"
    )
    parser.add_argument("--json", metavar="FILE", help="write all measurements to a file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.one:
        is_theirs = args.one in THEIRS
        measurement = (
            measure_theirs(args, THEIRS[args.one])
            if is_theirs
            else measure_ours(args, OURS[args.one])
        )
        print(json.dumps(measurement))
        return
    methods = [method.strip() for method in args.methods.split(",")]
    unknown = set(methods) - {*OURS, *THEIRS}
    if unknown:
        parser.error(f"unknown methods {sorted(unknown)}; they are {', '.join((*THEIRS, *OURS))}")
    results: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    for _ in range(args.repeats):
        for method in methods:
            results[method].append(measure_in_process(method))
    print_table(args, results)
    if args.json:
        content = {"arguments": vars(args), "results": results}
        Path(args.json).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
