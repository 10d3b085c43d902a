"""Measure the speed and the memory of a pretraining update, compared with transformers.

    python scripts/bench_pretraining.py --json pretraining.json                  # random tokens
    python scripts/bench_pretraining.py --corpus texts --tokenizer spiece.model  # a corpus

An update is forward, backward, clipping and LAMB. Both methods have the same optimizer, batches and
initial weights, in the shape of ALBERT-base, so that their first losses must be equal. Our model
computes only real tokens, and logits over the vocabulary only for masked tokens. One example in ten
is short. Only real tokens are counted, not the padding. Each measurement is a process of its own,
memory is its peak, and the methods take turns. With a corpus, the speed at which examples are made
is measured too.
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
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from bench_training import BASE, Marks, summarize  # isort: skip

from albert_torch import AlbertConfig, AlbertForPreTraining, AlbertTokenizer
from albert_torch.losses import IGNORE_INDEX
from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.objective import PretrainingObjective
from albert_torch.training.data import Batch, Inputs, collate
from albert_torch.training.optim import build_lamb

LIBRARIES = ("transformers", "albert_torch")
METHODS = [f"{library} {dtype}" for dtype in ("float32", "bfloat16") for library in LIBRARIES]
DATA_METHOD = "making examples of the corpus, one process"
DATA_TOKENS = 2_000_000  # tokens that DATA_METHOD is measured on
VOCAB, CLS, SEP, MASK = 30000, 2, 3, 4


def random_examples(max_length: int, count: int) -> list[Inputs]:
    """Examples of random tokens, with lengths as in pretraining and 15 % of the tokens masked."""
    rng = random.Random(max_length)
    examples = []
    for _ in range(count):
        length = rng.randint(5, max_length) if rng.random() < 0.1 else max_length
        middle = length // 2
        ids = [rng.randrange(5, VOCAB) for _ in range(length)]
        ids[0], ids[middle], ids[-1] = CLS, SEP, SEP
        ordinary = [*range(1, middle), *range(middle + 1, length - 1)]
        masked = set(rng.sample(ordinary, max(1, round(0.15 * length))))
        examples.append(
            {
                "input_ids": [MASK if i in masked else x for i, x in enumerate(ids)],
                "token_type_ids": [0] * (middle + 1) + [1] * (length - middle - 1),
                "labels": [x if i in masked else IGNORE_INDEX for i, x in enumerate(ids)],
                "sentence_order_label": rng.getrandbits(1),
            }
        )
    return examples


def corpus_batches(args: argparse.Namespace, length: int) -> Iterator[list[Inputs]]:
    """Batches of examples of the tokenized corpus, without end."""
    from albert_torch.pretraining.dataloader import pretraining_batches
    from albert_torch.pretraining.examples import FIRST_POSITION, ExampleOptions, Examples
    from albert_torch.pretraining.shards import Shards

    tokenizer = AlbertTokenizer.from_pretrained(args.tokenizer)
    shards = Shards.open(Path(args.cache))
    examples = Examples(shards, tokenizer, ExampleOptions(max_length=length), seed=1)
    batches = pretraining_batches(examples, FIRST_POSITION, examples_per_batch(args, length))
    return (batch.examples for batch in batches)


def examples_per_batch(args: argparse.Namespace, length: int) -> int:
    """The number of examples of a batch with `--batch-tokens` tokens."""
    return max(1, args.batch_tokens // length)


def make_batches(args: argparse.Namespace, length: int) -> list[Batch]:
    """A batch for each update."""
    count, size = args.skip + args.steps, examples_per_batch(args, length)
    if args.cache:
        stream = corpus_batches(args, length)
        batches = [next(stream) for _ in range(count)]
    else:
        examples = random_examples(length, size * count)
        batches = [examples[i : i + size] for i in range(0, len(examples), size)]
    return [collate(batch, 0) for batch in batches]


def build_model(library: str) -> nn.Module:
    """The model of a library, with the same weights for both."""
    torch.manual_seed(1)
    config = AlbertConfig(vocab_size=VOCAB, classifier_dropout_prob=0.0, **BASE)
    ours = AlbertForPreTraining(config, unpad=True)
    if library == "albert_torch":
        return PretrainingObjective(ours)
    import transformers

    theirs = transformers.AlbertForPreTraining(transformers.AlbertConfig(**config.to_dict()))
    theirs.load_state_dict(ours.state_dict())
    model: nn.Module = theirs
    return model


def compute_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The sum of both losses, each a mean."""
    if isinstance(model, PretrainingObjective):
        sums = model(**batch)
        return sums.mlm_loss / sums.masked + sums.sop_loss / sums.examples
    loss: Tensor = model(**batch).loss
    return loss


def measure_updates(args: argparse.Namespace, method: str, length: int) -> dict[str, float]:
    """Measure the updates of a method; also returns the first loss."""
    library, dtype = method.split()
    model = build_model(library)
    optimizer = build_lamb(model.train(), PretrainingConfig())
    marks: Marks = []
    losses: list[float] = []
    num_tokens = 0
    for batch in make_batches(args, length):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = compute_loss(model, batch)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        del loss  # otherwise the logits stay in memory during the next update
        num_tokens += int(batch["attention_mask"].sum())
        marks.append((time.perf_counter(), num_tokens))
    return {**summarize(marks, args.skip), "first_loss": losses[0]}


def measure_data(args: argparse.Namespace, length: int) -> dict[str, float]:
    """Measure planning, masking and collating on one thread."""
    torch.set_num_threads(1)
    num_tokens = 0
    marks: Marks = [(time.perf_counter(), 0)]
    batches = corpus_batches(args, length)
    while num_tokens < DATA_TOKENS:
        num_tokens += int(collate(next(batches), 0)["attention_mask"].sum())
        marks.append((time.perf_counter(), num_tokens))
    return summarize(marks, 1)


def measure_in_process(args: argparse.Namespace, method: str, length: int) -> dict[str, float]:
    """Measure a method in a process of its own, with the options of this one."""
    command = [sys.executable, __file__, *sys.argv[1:], "--cache", args.cache]
    command += ["--one", method, str(length)]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{method}, length {length}: {done.stderr[-2000:]}")
    measurement: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measurement


def print_rows(length: int, results: dict[str, list[dict[str, float]]]) -> None:
    """Print the rows of one length, also relative to the first method."""
    speed = {
        method: statistics.median(run["tokens_per_second"] for run in runs)
        for method, runs in results.items()
    }
    peak = {method: max(run["peak_bytes"] for run in runs) for method, runs in results.items()}
    first = next(iter(results))
    for method in results:
        is_update = method != DATA_METHOD  # only updates can be compared
        relative_speed = f"{speed[method] / speed[first]:.2f}" if is_update else ""
        relative_peak = f"{peak[method] / peak[first]:.2f}" if is_update else ""
        print(
            f"| {length} | {method} | {speed[method]:.0f} | {relative_speed} "
            f"| {peak[method] / 2**20:.0f} | {relative_peak} |"
        )


def check_first_losses(results: dict[str, list[dict[str, float]]]) -> None:
    """Exit if the methods in float32 do not compute the same first loss."""
    losses = {
        method: runs[0]["first_loss"]
        for method, runs in results.items()
        if method.endswith("float32")
    }
    expected = next(iter(losses.values()), 0.0)
    if not all(math.isclose(loss, expected, rel_tol=1e-4) for loss in losses.values()):
        sys.exit(f"the methods do not compute the same: their first losses are {losses}")


def measure_all(args: argparse.Namespace, methods: list[str]) -> None:
    """Measure all methods in turn, `--repeats` times; print a table and write the file."""
    lengths = [int(length) for length in args.lengths.split(",")]
    results: dict[int, dict[str, list[dict[str, float]]]] = {
        length: {method: [] for method in methods} for length in lengths
    }
    for _ in range(args.repeats):
        for length in lengths:
            for method in methods:
                results[length][method].append(measure_in_process(args, method, length))
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, {args.threads} threads, "
        f"torch {torch.__version__}, transformers {metadata.version('transformers')}, "
        f"batches of {args.batch_tokens} tokens with padding, {args.steps} updates after "
        f"{args.skip}, median of {args.repeats}\n{shlex.join(sys.argv)}\n"
    )
    print("| length | method | tokens/s | relative | peak memory, MiB | relative |")
    print("|---|---|---|---|---|---|")
    for length in lengths:
        print_rows(length, results[length])
        check_first_losses(results[length])
    if args.json:
        content = {"arguments": vars(args), "results": results}
        Path(args.json).write_text(json.dumps(content, indent=2) + "\n")


def tokenize_corpus(args: argparse.Namespace, directory: str) -> None:
    """Tokenize the texts of `--corpus` once for all measurements."""
    from albert_torch.pretraining.corpus import CorpusFormat
    from albert_torch.pretraining.prepare import prepare_shards

    tokenizer = AlbertTokenizer.from_pretrained(args.tokenizer)
    started = time.perf_counter()
    corpus_format = CorpusFormat("file", "sentences")
    shards = prepare_shards(Path(directory), [args.corpus], tokenizer, corpus_format)
    seconds = time.perf_counter() - started
    print(
        f"corpus tokenized: {shards.tokens} tokens in {seconds:.1f} s, "
        f"{shards.tokens / seconds:.0f} tokens/s"
    )
    args.cache = directory


def parse_arguments() -> tuple[argparse.ArgumentParser, Any]:
    """The options, and the parser for its errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lengths", default="128,512", help="tokens per example (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-tokens", type=int, default=2048, help="tokens per update (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=4, help="measured updates (default: %(default)s)"
    )
    parser.add_argument(
        "--skip", type=int, default=1, help="updates before them (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--methods",
        default="transformers float32,albert_torch float32",
        help=f"separated by commas, from: {', '.join(METHODS)} (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--corpus", help="text files to make examples of")
    parser.add_argument("--cache", default="", help="a tokenized corpus, in place of --corpus")
    parser.add_argument("--tokenizer", help="spiece.model, a directory or a Hub name")
    parser.add_argument("--json", metavar="FILE", help="write all measurements to a file")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    return parser, parser.parse_args()


def main() -> None:
    """Read the options, tokenize the corpus if there is one, and measure."""
    parser, args = parse_arguments()
    torch.set_num_threads(args.threads)
    if args.skip < 1:
        parser.error(f"--skip {args.skip} must be at least 1: time is measured between updates")
    if (args.corpus or args.cache) and not args.tokenizer:
        parser.error("a corpus needs --tokenizer")
    if args.one:
        method, length = args.one[0], int(args.one[1])
        is_data = method == DATA_METHOD
        measurement = (
            measure_data(args, length) if is_data else measure_updates(args, method, length)
        )
        print(json.dumps(measurement))
        return
    methods = [method.strip() for method in args.methods.split(",")]
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        parser.error(f"unknown methods {', '.join(unknown)}; they are {', '.join(METHODS)}")
    with tempfile.TemporaryDirectory() as directory:
        if args.corpus and not args.cache:
            tokenize_corpus(args, directory)
        measure_all(args, [*methods, DATA_METHOD] if args.cache else methods)


if __name__ == "__main__":
    main()
