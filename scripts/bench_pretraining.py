"""Pretraining speed and memory at ALBERT-base's shape: one update here beside the same update with transformers' model.

    python scripts/bench_pretraining.py --json pretraining.json                  # rows of random tokens
    python scripts/bench_pretraining.py --corpus texts --tokenizer spiece.model  # rows of a corpus, and their making

An update is forward, backward, clipping and LAMB, the same optimizer for both, on the same batches from the same random
weights: the first losses must be equal. Ours runs unpadded with vocabulary logits at the masked places alone,
transformers' on padded rows. One row in ten is short. Tokens are real ones, padding is not counted. Each measurement is
a process of its own, memory is its peak, and the methods take turns.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from bench_training import BASE, speed  # isort: skip

from albert_torch import AlbertConfig, AlbertForPreTraining, AlbertTokenizer
from albert_torch.losses import IGNORE_INDEX
from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.objective import PretrainingObjective
from albert_torch.training.data import Batch, Inputs, collate
from albert_torch.training.optim import build_lamb

METHODS = {  # whose model, products in bfloat16
    "transformers float32": ("transformers", False),
    "albert_torch float32": ("albert_torch", False),
    "transformers bfloat16": ("transformers", True),
    "albert_torch bfloat16": ("albert_torch", True),
}
FEED = "rows made from the corpus, one process"
FEED_TOKENS = 2_000_000  # that this row is measured on
VOCAB, CLS, SEP, MASK = 30000, 2, 3, 4


def drawn(length: int, count: int) -> list[Inputs]:
    """Rows of random tokens: lengths as in pretraining, 15 % of the places masked."""
    draw = random.Random(length)
    rows = []
    for _ in range(count):
        size = draw.randint(5, length) if draw.random() < 0.1 else length
        half = size // 2
        ids = [draw.randrange(5, VOCAB) for _ in range(size)]
        ids[0], ids[half], ids[-1] = CLS, SEP, SEP
        chosen = set(
            draw.sample([*range(1, half), *range(half + 1, size - 1)], max(1, round(0.15 * size)))
        )
        rows.append(
            {
                "input_ids": [MASK if i in chosen else x for i, x in enumerate(ids)],
                "token_type_ids": [0] * (half + 1) + [1] * (size - half - 1),
                "labels": [x if i in chosen else IGNORE_INDEX for i, x in enumerate(ids)],
                "sentence_order_label": draw.getrandbits(1),
            }
        )
    return rows


def fed(args: argparse.Namespace, length: int, size: int) -> Any:
    """Batches of rows of the prepared corpus, without end."""
    from albert_torch.pretraining.dataloader import pretraining_batches
    from albert_torch.pretraining.examples import FIRST_POSITION, ExampleOptions, Examples
    from albert_torch.pretraining.shards import Shards

    tokenizer = AlbertTokenizer.from_pretrained(args.tokenizer)
    shards = Shards.open(Path(args.cache))
    examples = Examples(shards, tokenizer, ExampleOptions(max_length=length), seed=1)
    return (batch.examples for batch in pretraining_batches(examples, FIRST_POSITION, size))


def batches(args: argparse.Namespace, length: int) -> list[Batch]:
    """One for each update, made before the clock starts."""
    size, count = max(1, args.batch_tokens // length), args.skip + args.steps
    if args.cache:
        stream = fed(args, length, size)
        parts = [next(stream) for _ in range(count)]
    else:
        rows = drawn(length, size * count)
        parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    return [collate(part, 0) for part in parts]


def updates(args: argparse.Namespace, method: str, length: int) -> dict[str, float]:
    """Tokens a second of a method's updates, its peak memory, and its first loss."""
    whose, half = METHODS[method]
    torch.manual_seed(1)
    config = AlbertConfig(vocab_size=VOCAB, classifier_dropout_prob=0.0, **BASE)
    model: torch.nn.Module = AlbertForPreTraining(config, unpad=True)
    if whose == "transformers":
        import transformers

        theirs = transformers.AlbertForPreTraining(transformers.AlbertConfig(**config.to_dict()))
        theirs.load_state_dict(model.state_dict())
        model = theirs
    else:
        model = PretrainingObjective(model)
    optimizer = build_lamb(model.train(), PretrainingConfig())
    marks: list[tuple[float, int]] = []
    losses: list[float] = []
    tokens = 0
    for batch in batches(args, length):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = model(**batch)
        mine = whose == "albert_torch"
        loss = (
            found.mlm_loss / found.masked + found.sop_loss / found.examples if mine else found.loss
        )
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        del found, loss  # or the logits of an update live through the next one
        tokens += int(batch["attention_mask"].sum())
        marks.append((time.perf_counter(), tokens))
    return {**speed(marks, args.skip), "first_loss": losses[0]}


def making(args: argparse.Namespace, length: int) -> dict[str, float]:
    """Tokens a second of planning, masking and collating, on one thread."""
    torch.set_num_threads(1)
    marks = [(time.perf_counter(), 0)]
    for rows in fed(args, length, max(1, args.batch_tokens // length)):
        marks.append(
            (time.perf_counter(), marks[-1][1] + int(collate(rows, 0)["attention_mask"].sum()))
        )
        if marks[-1][1] >= FEED_TOKENS:
            return speed(marks, 1)
    raise AssertionError("a feed does not end")


def one(args: argparse.Namespace, method: str, length: int) -> dict[str, float]:
    """A measurement in a process of its own."""
    command = [
        sys.executable,
        __file__,
        *sys.argv[1:],
        "--cache",
        args.cache,
        "--one",
        method,
        str(length),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "TQDM_DISABLE": "1"}
    )
    if done.returncode:
        sys.exit(f"{method}, rows of {length}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(length: int, results: dict[str, list[dict[str, float]]]) -> None:
    """Print the lines of one length, compared with the first method."""
    rates = {
        name: statistics.median(run["tokens_per_second"] for run in runs)
        for name, runs in results.items()
    }
    peaks = {name: max(run["peak_bytes"] for run in runs) for name, runs in results.items()}
    first = next(iter(results))
    for name in results:
        print(f"| {length} | {name} | {rates[name]:.0f} | {rates[name] / rates[first]:.2f} | {peaks[name] / 2**20:.0f} "
              f"| {peaks[name] / peaks[first]:.2f} |")  # fmt: skip
    losses = {
        name: runs[0]["first_loss"]
        for name, runs in results.items()
        if name != FEED and not METHODS[name][1]
    }
    if any(
        not math.isclose(loss, next(iter(losses.values())), rel_tol=1e-4)
        for loss in losses.values()
    ):
        sys.exit(f"the methods do not compute the same, their first losses are {losses}")


def measure(args: argparse.Namespace) -> None:
    """All methods in turn, `--repeats` times, a table, and the file."""
    methods = [name.strip() for name in args.methods.split(",")]
    if unknown := [name for name in methods if name not in METHODS]:
        sys.exit(f"no method {', '.join(unknown)}; there are {', '.join(METHODS)}")
    methods += [FEED] if args.cache else []
    lengths = [int(length) for length in args.lengths.split(",")]
    results: dict[int, dict[str, list[dict[str, float]]]] = {
        n: {name: [] for name in methods} for n in lengths
    }
    for _ in range(args.repeats):
        for length in lengths:
            for name in methods:
                results[length][name].append(one(args, name, length))
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {args.threads} threads, torch {torch.__version__}, "
          f"transformers {metadata.version('transformers')}, batches of {args.batch_tokens} tokens, padding counted, "
          f"{args.steps} updates after {args.skip}, median of {args.repeats}\n{shlex.join(sys.argv)}\n")  # fmt: skip
    print(
        "| rows of | method | tokens/s | to the first | peak memory, MiB | to the first |\n|---|---|---|---|---|---|"
    )
    for length in lengths:
        table(length, results[length])
    if args.json:
        Path(args.json).write_text(
            json.dumps({"arguments": vars(args), "results": results}, indent=2) + "\n"
        )


def main() -> None:
    """Read the options, prepare the corpus if there is one, and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lengths", default="128,512", help="tokens of a full row, separated by commas"
    )
    parser.add_argument("--batch-tokens", type=int, default=2048, help="rows x length of an update")
    parser.add_argument("--steps", type=int, default=4, help="updates that are measured")
    parser.add_argument("--skip", type=int, default=1, help="updates before them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", default="transformers float32,albert_torch float32",
                        help=f"separated by commas, of: {', '.join(METHODS)}")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--corpus", help="texts to make rows of, prepared anew; measures the making of rows too"
    )
    parser.add_argument("--cache", default="", help="a prepared corpus in place of texts")
    parser.add_argument(
        "--tokenizer", help="of the corpus: spiece.model, a directory or a Hub name"
    )
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.skip < 1:
        parser.error(f"--skip {args.skip} must be at least 1: the clock starts when an update ends")
    if (args.corpus or args.cache) and not args.tokenizer:
        parser.error("rows of a corpus need --tokenizer")
    if args.one:
        method, length = args.one[0], int(args.one[1])
        found = making(args, length) if method == FEED else updates(args, method, length)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.corpus and not args.cache:
            from albert_torch.pretraining.corpus import CorpusFormat
            from albert_torch.pretraining.prepare import prepare_shards

            started, tokenizer = (
                time.perf_counter(),
                AlbertTokenizer.from_pretrained(args.tokenizer),
            )
            corpus_format = CorpusFormat("file", "sentences")
            shards = prepare_shards(Path(folder), [args.corpus], tokenizer, corpus_format)
            seconds = time.perf_counter() - started
            print(
                f"corpus tokenized once: {shards.tokens} tokens in {seconds:.1f} s, {shards.tokens / seconds:.0f}/s"
            )
            args.cache = folder
        measure(args)


if __name__ == "__main__":
    main()
