"""Measure what a corpus costs, by its size: memory and speed of tokenizing it and of reading it.

    python scripts/bench_corpus.py --megabytes 10,100,1000

The text is generated, tokenized into shards, and read back as pretraining examples. Each size runs
in a process of its own, with one thread. Memory is the amount by which a step raises the peak of
the process. Pages of mapped shards count, although the system can take them back at any time.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from albert_torch import AlbertTokenizer, __version__
from albert_torch.pretraining.dataloader import pretraining_batches
from albert_torch.pretraining.examples import FIRST_POSITION, ExampleOptions, Examples
from albert_torch.pretraining.prepare import prepare_shards
from albert_torch.pretraining.shards import Shards

CONSONANTS = "bcdfghjklmnprstvw"
VOWELS = ("a", "e", "i", "o", "u", "ea", "ou")
SYLLABLES = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
BATCH_SIZE = 32


def generate_sentences(count: int) -> list[str]:
    """Make sentences of 5 to 40 words; the k-th word is drawn with a probability ~ 1/k."""
    rng = random.Random(0)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(20_000)]
    weights = [1 / k for k in range(1, len(words) + 1)]
    return [
        " ".join(rng.choices(words, weights, k=rng.randint(5, 40))).capitalize() + "."
        for _ in range(count)
    ]


def generate_corpus(path: Path, size: int) -> None:
    """Write documents of 20 to 200 sentences, one per line, until there are `size` bytes."""
    rng, sentences = random.Random(1), generate_sentences(20_000)
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            document = rng.choices(sentences, k=rng.randint(20, 200))
            file.write("\n".join(document) + "\n\n")


def peak_memory() -> int:
    """Return the largest amount of memory that this process has used, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak_line = next(line for line in lines if line.startswith("VmHWM"))
    return int(peak_line.split()[1]) * 1024


def measure(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Tokenize the text in `folder`, then build examples with `args.example_tokens` tokens."""
    tokenizer = AlbertTokenizer.from_pretrained(args.tokenizer)
    tokenizer(generate_sentences(100))
    peak_before = peak_memory()
    start = time.perf_counter()
    shards = prepare_shards(folder / "cache", [folder / "text.txt"], tokenizer, progress=False)
    tokens_per_second = shards.tokens / (time.perf_counter() - start)
    peak_tokenizing = peak_memory()

    options = ExampleOptions(max_length=args.length)
    examples = Examples(Shards.open(folder / "cache"), tokenizer, options, seed=0)
    start, built_tokens = time.perf_counter(), 0
    for batch in pretraining_batches(examples, FIRST_POSITION, BATCH_SIZE):
        built_tokens += sum(len(example["input_ids"]) for example in batch.examples)
        if built_tokens >= args.example_tokens:
            break
    return {
        "tokens": shards.tokens,
        "tokenized_per_second": tokens_per_second,
        "built_per_second": built_tokens / (time.perf_counter() - start),
        "peak_before": peak_before,
        "peak_tokenizing": peak_tokenizing,
        "peak_reading": peak_memory(),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--megabytes", default="10,100,1000", help="sizes of the text, separated by commas"
    )
    parser.add_argument(
        "--tokenizer", default="albert-torch/nano", help="spiece.model, a directory or a Hub name"
    )
    parser.add_argument("--length", type=int, default=128, help="largest number of tokens per row")
    parser.add_argument(
        "--example-tokens",
        type=int,
        default=20_000_000,
        help="number of tokens to build examples from, in several epochs if necessary",
    )
    parser.add_argument(
        "--folder", help="directory for the texts (default: the system's temporary directory)"
    )
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # in the child processes
    return parser.parse_args()


def measure_in_new_process(folder: Path) -> dict[str, float]:
    """Run this script again, with the same arguments and one thread, on the text in `folder`."""
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *sys.argv[1:], "--measure", str(folder)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    if process.returncode:
        sys.exit(process.stderr)
    results: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return results


def main() -> None:
    """Generate and measure each size, and print a table."""
    args = parse_arguments()
    if args.measure:
        print(json.dumps(measure(args.measure, args)))
        return
    python, version = platform.python_version(), __version__
    print(f"{platform.machine()}, Python {python}, albert_torch {version}, length {args.length}\n")
    print(
        "| text, MB | tokens | tokenized/s | memory before, MB | tokenizing adds, MB "
        "| reading adds, MB | built/s |\n|---|---|---|---|---|---|---|"
    )
    for megabytes in map(float, args.megabytes.split(",")):
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            generate_corpus(folder / "text.txt", round(megabytes * 1e6))
            results = measure_in_new_process(folder)
        before, tokenizing, reading = (
            results[f"peak_{step}"] / 1e6 for step in ("before", "tokenizing", "reading")
        )
        print(
            f"| {megabytes:g} | {results['tokens']:,.0f} | {results['tokenized_per_second']:,.0f} "
            f"| {before:.0f} | {tokenizing - before:.0f} | {reading - tokenizing:.0f} "
            f"| {results['built_per_second']:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
