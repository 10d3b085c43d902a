"""What a corpus costs, by its size: text is generated, tokenized into shards, and read back as rows of pretraining.

    python scripts/bench_corpus.py --megabytes 10,100,1000

Each size is a process of its own, with one thread. Memory is the peak that a step adds to what the process held before;
pages of the mapped shards count, though the system may take them back at any time.
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
from albert_torch.pretraining.dataloader import feed
from albert_torch.pretraining.examples import Examples, Position
from albert_torch.pretraining.shards import Shards, prepare

SYLLABLES = [
    consonant + vowel
    for consonant in "bcdfghjklmnprstvw"
    for vowel in ("a", "e", "i", "o", "u", "ea", "ou")
]


def sentences(count: int) -> list[str]:
    """Sentences of 5 to 40 words, the k-th most frequent word being drawn in proportion to 1/k."""
    draw = random.Random(0)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(20_000)]
    weights = [1 / (k + 1) for k in range(len(words))]
    return [
        " ".join(draw.choices(words, weights, k=draw.randint(5, 40))).capitalize() + "."
        for _ in range(count)
    ]


def generate(path: Path, size: int) -> None:
    """Documents of 20 to 200 sentences, one a line, with a blank line between, `size` bytes or a little more."""
    draw, some = random.Random(1), sentences(20_000)
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            file.write("\n".join(draw.choices(some, k=draw.randint(20, 200))) + "\n\n")


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def measure(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Tokenize the text in `folder`, then read `--row-tokens` tokens of it as rows."""
    tokenizer = AlbertTokenizer.from_pretrained(args.tokenizer)
    tokenizer(sentences(100))
    found: dict[str, float] = {"before": peak()}
    clock = time.perf_counter()
    shards = prepare(folder / "cache", [folder / "text.txt"], tokenizer, progress=False)
    found |= {
        "tokens": shards.tokens,
        "rate": shards.tokens / (time.perf_counter() - clock),
        "tokenizing": peak(),
    }
    examples = Examples(Shards.open(folder / "cache"), tokenizer, max_length=args.length, seed=0)
    clock, seen = time.perf_counter(), 0
    for rows, _ in feed(examples, Position(), 32):
        seen += sum(len(row["input_ids"]) for row in rows)
        if seen >= args.row_tokens:
            break
    return found | {"row_rate": seen / (time.perf_counter() - clock), "reading": peak()}


def main() -> None:
    """Generate and measure each size, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--megabytes", default="10,100,1000", help="sizes of the text, separated by commas"
    )
    parser.add_argument(
        "--tokenizer", default="albert-torch/nano", help="spiece.model, a directory or a Hub name"
    )
    parser.add_argument("--length", type=int, default=128, help="tokens of a full row")
    parser.add_argument(
        "--row-tokens",
        type=int,
        default=20_000_000,
        help="how much is read back, over and over if need be",
    )
    parser.add_argument(
        "--folder",
        help="where the texts go for the time (default: the system's temporary directory)",
    )
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        sys.stdout.write(json.dumps(measure(args.one, args)) + "\n")
        return
    print(
        f"{platform.machine()}, Python {platform.python_version()}, albert_torch {__version__}, rows of {args.length}\n"
    )
    print(
        "\n| text, MB | tokens | tokenized/s | memory before, MB | tokenizing adds | reading adds | read/s |"
    )
    print("|---|---|---|---|---|---|---|")
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    for size in map(float, args.megabytes.split(",")):
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            generate(folder / "text.txt", round(size * 1e6))
            command = [sys.executable, __file__, *sys.argv[1:], "--one", str(folder)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            found = json.loads(done.stdout.splitlines()[-1])
            before, after, last = (
                found[name] / 1e6 for name in ("before", "tokenizing", "reading")
            )
            print(f"| {size:g} | {found['tokens']:,} | {found['rate']:,.0f} | {before:.0f} | {after - before:.0f} "
                  f"| {last - after:.0f} | {found['row_rate']:,.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
