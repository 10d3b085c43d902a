"""Compare the start-up costs with those of transformers: importing, loading, tokenizing.

    python scripts/bench_core.py [--tokenizer DIR_OR_SPIECE_MODEL] [--texts FILE] [--repeats 7]

Every figure is a median over fresh processes, which run in turn. Loading: seconds of
`from_pretrained` for the base shape, without imports, and the peak memory that it adds until every
weight has been read, as a multiple of the size of the file. Tokenizing: sentences per second on
one thread, in padded batches of 32.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from albert_torch import AlbertConfig, AlbertForMaskedLM, AlbertTokenizer, __version__

IMPORT = (
    "import time, torch; t = time.perf_counter(); import {library}; print(time.perf_counter() - t)"
)
LOAD = """
import sys, time
from {library} import AlbertForMaskedLM
def peak():
    lines = open("/proc/self/status")
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
before, t = peak(), time.perf_counter()
model = AlbertForMaskedLM.from_pretrained(sys.argv[1])
seconds = time.perf_counter() - t
sum(float(p.sum()) for p in model.parameters())
print(seconds, peak() - before)
"""
TOKENIZE = """
import sys, time
{load}
lines = open(sys.argv[2], encoding="utf-8").read().splitlines()
batches = [lines[i:i + 32] for i in range(0, len(lines), 32)]
for batch in batches:
    tokenizer(batch, padding=True)
rates = []
for options in ({{}}, {{"return_tensors": "pt"}}):
    t = time.perf_counter()
    for batch in batches:
        tokenizer(batch, padding=True, **options)
    rates.append(len(lines) / (time.perf_counter() - t))
print(*rates)
"""
LOAD_TOKENIZER = "from {library} import {name} as T\ntokenizer = T.from_pretrained(sys.argv[1])"
LOADERS = {
    library: LOAD_TOKENIZER.format(library=library, name=name)
    for library, name in (("albert_torch", "AlbertTokenizer"), ("transformers", "AutoTokenizer"))
}


def run(code: str, *arguments: str) -> list[float]:
    """Run code in a fresh process and return the numbers that it prints last."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAYON_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(number) for number in result.stdout.splitlines()[-1].split()]


def both(code: dict[str, str], repeats: int, *arguments: str) -> dict[str, list[float]]:
    """Run the code of each library in turn; return the medians over `repeats` runs."""
    results: dict[str, list[list[float]]] = {name: [] for name in code}
    for _ in range(repeats):
        for name, text in code.items():
            results[name].append(run(text, *arguments))
    return {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in results.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokenizer", help="a directory with a tokenizer, or a spiece.model")
    parser.add_argument("--texts", help="one sentence a line")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    libraries = ("albert_torch", "transformers")
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"albert_torch {__version__}"
    )
    times = both({name: IMPORT.format(library=name) for name in libraries}, args.repeats)
    print(
        "import, without torch's own: "
        + ", ".join(f"{name} {times[name][0]:.3f} s" for name in libraries)
    )
    with tempfile.TemporaryDirectory() as folder:
        AlbertForMaskedLM(AlbertConfig.preset("albert-base-v2")).save_pretrained(folder)
        size = (Path(folder) / "model.safetensors").stat().st_size
        loads = both({name: LOAD.format(library=name) for name in libraries}, args.repeats, folder)
        for name in libraries:
            seconds, peak = loads[name]
            print(
                f"load {size / 1e6:.0f} MB, {name}: {seconds * 1e3:.1f} ms, "
                f"peak + {peak / size:.2f} x the file"
            )
        if args.tokenizer and args.texts:
            AlbertTokenizer.from_pretrained(args.tokenizer).save_pretrained(folder)
            code = {name: TOKENIZE.format(load=load) for name, load in LOADERS.items()}
            rates = both(code, args.repeats, folder, args.texts)
            for name in libraries:
                lists, tensors = rates[name]
                print(
                    f"tokenize, {name}: {lists:,.0f} sentences/s to lists, "
                    f"{tensors:,.0f} to tensors"
                )


if __name__ == "__main__":
    main()
